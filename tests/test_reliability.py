"""Faults, injected: what a run does when it is killed, interrupted, or damaged."""

import dataclasses
import resource
import shutil
import signal
import time
from pathlib import Path

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from helpers import assert_same, experiment
from PIL import Image

from creagen_jax import checkpoint, cli, config, generation, synthesis, training, update
from creagen_jax.config import Experiment, Optim, Train
from creagen_jax.data import audio, captioned, music
from creagen_jax.models import diffusion, gan, lstm, seq2seq, transformer
from creagen_jax.types import UserError


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return helpers.write_text(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    """The experiment, and a run of it without a fault."""
    exp = experiment("lstm", words)
    run = tmp_path_factory.mktemp("runs") / "whole"
    helpers.train(exp, run)
    return exp, run


def command(exp: config.Experiment, run: Path) -> int:
    """Training as `train.py` does it: returns the exit code."""
    return cli.run(lambda argv: helpers.train(exp, run))


# --- resume, whatever the data -------------------------------------------------------------------

DIT = diffusion.Config(network="dit", width=8, depth=1, heads=2, patch=4, source_depth=1)
MEL = {"rate": 4000, "seconds": 0.08, "hop": 40, "window": 128, "bands": 16}
RESUMED = {
    "sound, diffusion": (audio.Config(**MEL, shift=0.02), DIT),
    "sound, gan": (audio.Config(**MEL), gan.Config(latent=4, width=8, levels=(1,), blocks=0)),
    "sound, lstm": (
        audio.Config(form="tokens", rate=2000, seconds=0.02),
        lstm.Config(width=16, depth=1),
    ),
    "music, transformer": (
        music.Config(length=32, transpose=3),
        transformer.Config(width=16, depth=1, heads=2, context=32, dropout=0.1),
    ),
    "harmony, seq2seq": (
        music.Config(length=48, transpose=3, harmonise=True),
        seq2seq.Config(cell="gru", width=16, depth=1),
    ),
    "captions, diffusion": (captioned.Config(length=8, vocab=300, flip=True, probe=0.0), DIT),
}


def write_sounds(folder: Path) -> Path:
    """Noise of two classes."""
    rng = np.random.default_rng(0)
    for i in range(40):
        (folder / "ab"[i % 2]).mkdir(exist_ok=True)
        soundfile.write(folder / "ab"[i % 2] / f"{i}.wav", rng.uniform(-0.5, 0.5, 320), 4000)
    return folder


def write_voices(folder: Path) -> Path:
    """Pieces of four voices, in the splits of a published chorale file."""
    rng, splits = np.random.default_rng(0), {}
    for name, count in {"train": 12, "valid": 4, "test": 4}.items():
        splits[name] = np.empty(count, object)
        for i in range(count):
            splits[name][i] = np.array([70.0, 62, 55, 48]) + rng.integers(0, 5, (16, 4))
    np.savez(folder / "voices.npz", **splits)
    return folder / "voices.npz"


def write_captioned(folder: Path) -> Path:
    """Pictures whose file names are captions."""
    rng = np.random.default_rng(0)
    for color, rgb in {"red": (255, 0, 0), "blue": (0, 0, 255), "grey": (99, 99, 99)}.items():
        for size in ("big", "small", "wide", "high", "round", "flat"):
            pixels = (rgb + rng.integers(0, 9, (8, 8, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{size}_{color}.png")
    return folder


WRITE = {
    "sound": write_sounds,
    "music": write_voices,
    "harmony": write_voices,
    "captions": write_captioned,
}


def drawn(run: Path) -> list[np.ndarray]:
    """Two samples."""
    model, kind = generation.load(run), generation.kind(run)
    if kind == "autoregressive":
        request = generation.Request(length=8)
        return [np.asarray(each.text) for each in generation.draw(model, request, num=2, seed=5)]
    request = synthesis.REQUESTS[kind]()
    if kind == "diffusion":
        request = dataclasses.replace(request, sampling=synthesis.QUICK)
    return [part.images for part in synthesis.draw(model, request, num=2, seed=5)]


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_of_any_data_stopped_and_resumed_is_the_run_without_a_stop(name, tmp_path):
    (data, model), folder = RESUMED[name], tmp_path / "data"
    folder.mkdir()
    exp = Experiment(
        data=dataclasses.replace(data, path=str(WRITE[name.partition(",")[0]](folder))),
        model=model,
        optim=Optim(learning_rate=1e-2, warmup=2, ema=0.9, clip=0.0),
        train=Train(steps=8, batch=8, log_every=2, eval_every=4, eval_windows=8, save_every=4),
    )
    one, two = tmp_path / "one", tmp_path / "two"
    assert helpers.train(exp, one) == 0
    assert helpers.train(exp, two, stop_at=3) == 0  # between checkpoints and logged losses
    assert checkpoint.steps(two / "checkpoints") == [3]
    assert helpers.train(exp, two) == 0
    like, _ = training._build(training.prepare(exp))
    states = [
        helpers.arrays(checkpoint.restore(run / "checkpoints" / "8", like)[0]) for run in (one, two)
    ]
    assert any(key.startswith(".ema") for key in states[0])
    assert_same(*states)
    ours, theirs = (helpers.without_seconds(helpers.metrics(run)) for run in (one, two))
    assert ours == theirs and {line["split"] for line in ours} >= {"train", "validation"}
    np.testing.assert_equal(drawn(one), drawn(two))


# --- updates that are not finite -----------------------------------------------------------------


@pytest.fixture
def poison(monkeypatch):
    """poison(first, last): the steps first .. last of an LSTM's training make NaN parameters."""

    def install(first, last):
        real = lstm.make_step

        def make_step(cfg, spec, tx):
            inner = real(cfg, spec, tx)

            def step(state, batch, rng):
                new, metrics = inner(state, batch, rng)
                bad = (first <= state.step) & (state.step <= last)
                params = jax.tree.map(lambda p: jnp.where(bad, jnp.nan, p), new.params)
                return new.replace(params=params), {
                    **metrics,
                    "loss": jnp.where(bad, jnp.inf, metrics["loss"]),
                    "grad_norm": jnp.where(bad, jnp.inf, metrics["grad_norm"]),
                }

            return step

        monkeypatch.setattr(lstm, "make_step", make_step)

    return install


def test_exactly_the_update_that_is_not_finite_is_skipped(words, poison):
    exp = experiment("lstm", words, optim={"ema": 0.9, "accumulate": 2})
    poison(3, 3)
    job = training.prepare(exp)
    state, step = training._build(job)
    for number in range(6):
        before = helpers.arrays(state)
        state, _ = step(state, job.modality.train_batch(job.dataset, seed=0, step=number, size=8))
        after = helpers.arrays(state)
        same = {key for key in before if np.array_equal(before[key], after[key])}
        changed = set(before) - same
        if number == 3:
            assert changed == {".step", ".skipped", ".skipped_in_row"}
        else:
            assert any(key.startswith(".opt_state") for key in changed)
        assert int(state.step) == number + 1
        assert int(state.skipped) == (number >= 3)
        assert int(state.skipped_in_row) == (number == 3)
        assert all(np.isfinite(leaf).all() for leaf in after.values() if leaf.dtype.kind == "f")


def test_a_skipped_update_is_logged_and_training_goes_on(words, poison, tmp_path, recwarn):
    poison(3, 3)
    exp = experiment("lstm", words, train={"log_every": 1})
    assert helpers.train(exp, tmp_path / "run") == 0
    lines = [line for line in helpers.metrics(tmp_path / "run") if line["split"] == "train"]
    assert [line["skipped"] for line in lines] == [0, 0, 0, 1, 1, 1, 1, 1]
    assert [line["loss"] is None for line in lines] == [number == 3 for number in range(8)]
    assert not [warning for warning in recwarn if warning.category is RuntimeWarning]


def test_ten_in_a_row_stop_the_run_with_the_last_checkpoint_intact(words, poison, tmp_path):
    poison(6, 10**6)
    exp = experiment("lstm", words, train={"steps": 100, "save_every": 5, "eval_every": 100})
    with pytest.raises(UserError, match=r"10 updates in a row .* up to step 16; intact.*10, 15"):
        helpers.train(exp, tmp_path / "run")
    states = helpers.states(exp, tmp_path / "run")
    assert list(states) == [10, 15]
    assert all(np.isfinite(leaf).all() for leaf in states[15].values() if leaf.dtype.kind == "f")
    assert states[15][".skipped"] == 9


# --- signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_and_the_run_goes_on(whole, tmp_path, monkeypatch, number):
    exp, one = whole
    real = update.compiled

    def compiled(*args):
        step = real(*args)

        def signalled(state, batch):
            if int(state.step) == 4:
                signal.raise_signal(number)
            return step(state, batch)

        return signalled

    handler = signal.getsignal(number)
    with monkeypatch.context() as patch:
        patch.setattr(update, "compiled", compiled)
        assert command(exp, tmp_path / "run") == 128 + number
    assert signal.getsignal(number) is handler
    assert checkpoint.steps(tmp_path / "run" / "checkpoints")[-1] == 5
    assert command(exp, tmp_path / "run") == 0
    assert_same(helpers.states(exp, one)[8], helpers.states(exp, tmp_path / "run")[8])
    ours, theirs = (helpers.without_seconds(helpers.metrics(r)) for r in (one, tmp_path / "run"))
    assert ours == theirs


def test_a_second_signal_stops_at_once():
    # A shell's background job is started with Ctrl-C ignored; here it is not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), training._Interrupt():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


# --- damaged checkpoints -------------------------------------------------------------------------


def damage(run: Path, step: int) -> None:
    file = run / "checkpoints" / str(step) / "meta.json"
    file.write_text(file.read_text()[:-3])


def test_a_damaged_checkpoint_is_named_and_training_goes_on_before_it(whole, tmp_path, capsys):
    exp, one = whole
    run = shutil.copytree(one, tmp_path / "run")
    damage(run, 8)
    # To a last step that no interval saves: the damaged one there has to be replaced.
    exp = config.replace(exp, train={"save_every": 100, "eval_every": 100})
    assert helpers.train(exp, run) == 0
    out = capsys.readouterr().out
    assert "damaged checkpoint 8 passed over" in out and "meta.json" in out
    assert "resuming at step 4 of 8" in out
    assert_same(helpers.states(exp, one)[8], helpers.states(exp, run)[8])


def test_sampling_passes_over_damaged_checkpoints(whole, tmp_path):
    run = shutil.copytree(whole[1], tmp_path / "run")
    damage(run, 8)
    reports = []
    assert generation.load(run, report=reports.append).step == 4
    assert "meta.json" in reports[0]


def test_a_damaged_best_checkpoint_does_not_stop_the_last_evaluation(
    words, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(training, "_evaluator", helpers.scores([1.0, 2.0]))
    exp = experiment("lstm", words)
    helpers.train(exp, tmp_path / "run", stop_at=7)
    damage(tmp_path / "run", 4)  # the best one
    assert helpers.train(exp, tmp_path / "run") == 0
    assert "damaged checkpoint 4 passed over" in capsys.readouterr().out
    assert helpers.metrics(tmp_path / "run")[-1]["step"] == 8


# --- kill -9 -------------------------------------------------------------------------------------

KILLS = 20
INTERVAL = 5


def test_killed_at_random_moments_a_run_loses_one_interval_at_most(words, tmp_path):
    rng = np.random.default_rng(0)
    run, output = tmp_path / "run", tmp_path / "output"
    folder = run / "checkpoints"
    steps = {"steps": 3000, "eval_every": 3000, "log_every": 1, "eval_windows": 8}
    exp = experiment("lstm", words, train=steps)
    killed = config.replace(exp, train={"save_every": INTERVAL})
    for number in range(KILLS):
        resumed = max(checkpoint.steps(folder), default=0)
        process = helpers.start(command, killed, run, output=output)
        if number % 4:  # in the middle of training and saving
            while not checkpoint.steps(folder) or checkpoint.steps(folder)[-1] <= resumed:
                assert process.is_alive(), output.read_text()
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.4))
        else:  # or at any moment of the start
            time.sleep(rng.uniform(0, 2.5))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, output.read_text()
        logged = max((line["step"] for line in training.logging.read(run)), default=0)
        found = checkpoint.newest(folder, lambda path: checkpoint.read_meta(path), pytest.fail)
        step = found["step"] if found else 0
        hidden = [path.name for path in folder.glob(".*")]
        print(f"kill {number + 1:2d}: at step {logged:3d}, resumes at {step:3d}, left {hidden}")
        assert step >= resumed
        assert logged - step <= INTERVAL
    # To the end, and one more without any fault: they only save less often.
    one = tmp_path / "one"
    exp = config.replace(exp, train={"save_every": 3000})
    assert helpers.train(exp, run) == helpers.train(exp, one) == 0
    assert_same(helpers.states(exp, one)[3000], helpers.states(exp, run)[3000])
    ours, theirs = (helpers.without_seconds(helpers.metrics(r)) for r in (one, run))
    assert ours == theirs
    assert not list(folder.glob(".*"))


# --- a full disk ---------------------------------------------------------------------------------


def command_with_small_files(exp: config.Experiment, run: Path, most: int) -> int:
    """As if the disk were full: no file may grow beyond `most` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    return command(exp, run)


def error_of(output: Path) -> str:
    """The one line of an error."""
    text = output.read_text()
    assert "Traceback" not in text, text
    (line,) = [line for line in text.splitlines() if line.startswith("error:")]
    assert text.strip().endswith(line), text
    return line


def test_a_full_disk_while_saving_is_one_line_and_costs_no_checkpoint(words, tmp_path):
    run, output = tmp_path / "run", tmp_path / "output"
    exp = experiment("lstm", words, model={"width": 64})  # 80 kB of parameters
    helpers.train(exp, run, stop_at=3)
    environment = {"JAX_ENABLE_COMPILATION_CACHE": "false"}  # its files would not fit either
    process = helpers.start(
        command_with_small_files, exp, run, 40_000, output=output, environment=environment
    )
    assert helpers.finish(process, output) == 2
    line = error_of(output)
    assert "checkpoints/4: File too large; intact checkpoints: 3" in line
    assert checkpoint.steps(run / "checkpoints") == [3]
    assert helpers.train(exp, run) == 0  # there is room again
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["4", "8"]


def test_a_full_disk_while_logging_is_one_line(words, tmp_path):
    run, output = tmp_path / "run", tmp_path / "output"
    train = {"steps": 400, "save_every": 400, "eval_every": 400, "log_every": 1}
    exp = experiment("lstm", words, train=train)
    helpers.train(exp, run, stop_at=3)
    environment = {"JAX_ENABLE_COMPILATION_CACHE": "false"}  # its files would not fit either
    process = helpers.start(
        command_with_small_files, exp, run, 30_000, output=output, environment=environment
    )
    assert helpers.finish(process, output) == 2
    assert "cannot write" in error_of(output) and "File too large" in error_of(output)
    assert checkpoint.newest(run / "checkpoints", checkpoint.read_meta, pytest.fail)["step"] == 3
