import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_same, experiment

from creagen_jax import checkpoint, config, flops, generation, rundir, training, update
from creagen_jax.models import _language
from creagen_jax.types import TrainState, UserError

# Between them: dropout, a carried state, accumulation, an average, Muon, a state on the host.
CHANGES = {
    "markov": {},
    "lstm": {
        "data": {"order": "consecutive"},
        "model": {"dropout": 0.2},
        "optim": {"ema": 0.9, "accumulate": 2},
    },
    "gru": {"optim": {"schedule": "linear"}},
    "transformer": {"model": {"dropout": 0.1}, "optim": {"name": "muon", "ema": 0.99}},
}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return helpers.write_text(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    """whole(family) -> the experiment, and the directory of a run without interruption."""
    runs = {}

    def make(family):
        if family not in runs:
            exp = experiment(family, words, **CHANGES[family])
            run = tmp_path_factory.mktemp("runs") / family
            assert helpers.train(exp, run) == 0
            runs[family] = exp, run
        return runs[family]

    return make


def samples(run: Path) -> list[str]:
    model = generation.load(run)
    return [s.text for s in generation.draw(model, generation.Request(length=20), num=2, seed=5)]


# --- resume --------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", CHANGES)
def test_a_run_stopped_and_resumed_is_the_run_without_a_stop(family, whole, tmp_path):
    exp, one = whole(family)
    two = tmp_path / "run"
    # Between two checkpoints, two logged losses, and the two halves of an accumulated update.
    assert helpers.train(exp, two, stop_at=3) == 0
    assert checkpoint.steps(two / "checkpoints") == [3]
    assert helpers.train(exp, two) == 0
    assert_same(helpers.states(exp, one)[8], helpers.states(exp, two)[8])
    lines = helpers.metrics(two)
    assert helpers.without_seconds(lines) == helpers.without_seconds(helpers.metrics(one))
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)
    assert samples(one) == samples(two)


def test_a_finished_run_is_left_as_it_is(whole, capsys):
    exp, run = whole("lstm")
    before = (run / "metrics.jsonl").read_text()
    assert helpers.train(exp, run) == 0
    assert "is finished: 8 steps" in capsys.readouterr().out
    assert (run / "metrics.jsonl").read_text() == before


# --- one step ------------------------------------------------------------------------------------


def bigrams():
    """A family in ten lines: a table of logits, with some noise."""

    def forward(params, batch, rng, carry):
        logits_BTV = params["table"][batch["x"][:, :-1]]
        return logits_BTV + 0.1 * jax.random.normal(rng, logits_BTV.shape), carry

    def init(rng, cfg, spec, tx):
        return TrainState.create({"table": jax.random.normal(rng, (spec.vocab, spec.vocab))}, tx)

    def make_step(cfg, spec, tx):
        return _language.make_step(forward, tx)

    return SimpleNamespace(HOST=False, init=init, make_step=make_step)


def test_the_compiled_step_is_the_plain_step_and_keeps_the_average(words):
    exp = experiment("lstm", words, optim={"ema": 0.9, "warmup": 0})
    job = dataclasses.replace(training.prepare(exp), family=bigrams())
    state, compiled = training._build(job)
    plain = update.make_step(job.experiment, job.family, job.spec, steps=job.steps)
    batches = [job.modality.train_batch(job.dataset, seed=0, step=n, size=8) for n in range(3)]
    there, theirs = plain(state, jax.tree.map(jnp.asarray, batches[0]))
    ema = helpers.arrays(state.params)
    for number, batch in enumerate(batches):
        state, ours = compiled(state, batch)
        if number == 0:
            np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=1e-5)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), state, there)
        params = helpers.arrays(state.params)
        decay = min(0.9, (1 + number) / (10 + number))
        ema = {key: decay * ema[key] + (1 - decay) * params[key] for key in ema}
    assert (int(state.step), int(state.skipped)) == (3, 0)
    for key, value in helpers.arrays(state.eval_params).items():
        np.testing.assert_allclose(value, ema[key], atol=1e-6)


# --- what is kept --------------------------------------------------------------------------------


def test_the_best_checkpoint_is_the_one_that_scored_best(words, tmp_path):
    # A learning rate at which the loss goes up and down.
    exp = experiment("lstm", words, optim={"learning_rate": 0.3}, train={"eval_every": 1})
    assert helpers.train(exp, tmp_path / "run") == 0
    scored = {
        line["step"]: line["loss"]
        for line in helpers.metrics(tmp_path / "run")
        if line.get("windows") == "some"
    }
    best = min(scored, key=scored.get)
    assert list(scored) == list(range(1, 9))
    assert set(checkpoint.steps(tmp_path / "run" / "checkpoints")) >= {best, 8}
    job = training.prepare(exp)
    like, _ = training._build(job)
    state, _ = checkpoint.restore(tmp_path / "run" / "checkpoints" / str(best), like)
    evaluate = training._evaluator(job)
    for _ in range(2):  # the same windows every time
        assert evaluate(state.eval_params, "validation", limit=8)["loss"] == scored[best]
    assert generation.load(tmp_path / "run").step == best


def test_training_stops_early_and_keeps_best_and_last(words, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_evaluator", helpers.scores([3.0, 2.0, 2.5, 2.4, 2.3, 1.0]))
    train = {"steps": 100, "eval_every": 2, "save_every": 1, "patience": 3}
    exp = experiment("lstm", words, train=train)
    assert helpers.train(exp, tmp_path / "run") == 0
    assert checkpoint.steps(tmp_path / "run" / "checkpoints") == [4, 9, 10]
    meta = checkpoint.read_meta(tmp_path / "run" / "checkpoints" / "10")
    assert (meta["best_step"], meta["best_loss"], meta["finished"]) == (4, 2.0, True)
    assert helpers.metrics(tmp_path / "run")[-1]["step"] == 4
    assert helpers.train(exp, tmp_path / "run") == 0  # does not go on


@pytest.mark.parametrize("stop_at", [0, 3, 7])
def test_every_nth_checkpoint_stays_also_after_a_resume(words, tmp_path, monkeypatch, stop_at):
    monkeypatch.setattr(training, "_evaluator", helpers.scores([2.0, 1.0, 3.0]))
    train = {"steps": 13, "eval_every": 5, "save_every": 4, "keep_every": 3}
    exp = experiment("lstm", words, train=train)
    for last in (stop_at, 0):
        assert helpers.train(exp, tmp_path / "run", stop_at=last) == 0
    # Multiples of 3, whether or not they are of 4; step 10 is the best; 12 and 13 are the newest.
    assert checkpoint.steps(tmp_path / "run" / "checkpoints") == [3, 6, 9, 10, 12, 13]


def test_from_a_resume_on_others_may_stay(words, tmp_path):
    exp = experiment("lstm", words, train={"save_every": 1})
    helpers.train(exp, tmp_path / "run", stop_at=3)
    helpers.train(config.replace(exp, train={"keep_every": 2}), tmp_path / "run")
    assert set(checkpoint.steps(tmp_path / "run" / "checkpoints")) >= {2, 4, 6, 7, 8}


def test_checkpoints_cannot_stay_a_negative_number_of_steps_apart(words):
    with pytest.raises(UserError, match=r"--train.keep_every is -1; choose 0 or more"):
        config.check(experiment("lstm", words, train={"keep_every": -1}))


def test_before_any_evaluation_the_last_checkpoint_is_the_best(words, tmp_path):
    exp = experiment("lstm", words)
    assert helpers.train(exp, tmp_path / "run", stop_at=3) == 0
    reports = []
    assert generation.load(tmp_path / "run", report=reports.append).step == 3
    assert not reports


def test_without_a_validation_split_the_last_is_the_best(words, tmp_path):
    exp = experiment("lstm", words, data={"validation": 0.0})
    assert helpers.train(exp, tmp_path / "run") == 0
    assert {line["split"] for line in helpers.metrics(tmp_path / "run")} == {"train"}
    assert generation.load(tmp_path / "run").step == 8


# --- the run directory ---------------------------------------------------------------------------


def test_a_changed_flag_is_refused_with_the_difference(whole):
    exp, run = whole("lstm")
    changed = config.replace(exp, model={"width": 32}, optim={"beta1": 0.5}, seed=7)
    line = r"model.width: 16 -> 32; optim.beta1: 0.9 -> 0.5; seed: 0 -> 7.*--overwrite"
    with pytest.raises(UserError, match=line):
        helpers.train(changed, run)


def test_changed_data_is_refused(words, tmp_path):
    copy = tmp_path / "words.txt"
    copy.write_text(words.read_text())
    exp = experiment("lstm", copy)
    helpers.train(exp, tmp_path / "run", stop_at=1)
    copy.write_text(words.read_text().replace("one", "two", 1))
    with pytest.raises(UserError, match=r"holds another experiment \(fingerprint"):
        helpers.train(exp, tmp_path / "run")


def test_what_is_only_shown_and_kept_may_change(whole, tmp_path):
    exp, one = whole("gru")
    free = config.replace(exp, train={"log_every": 1, "save_every": 3, "sample_every": 5})
    helpers.train(exp, tmp_path / "run", stop_at=4)
    helpers.train(free, tmp_path / "run")
    assert_same(helpers.states(exp, one)[8], helpers.states(exp, tmp_path / "run")[8])
    assert (tmp_path / "run" / "samples" / "step_000005.txt").read_text().strip()


def test_overwrite_starts_anew(words, tmp_path):
    run = tmp_path / "run"
    helpers.train(experiment("lstm", words), run, stop_at=2)
    changed = experiment("lstm", words, data={"validation": 0.2})
    helpers.train(changed, run, overwrite=True, stop_at=1)
    assert checkpoint.steps(run / "checkpoints") == [1]
    assert rundir.read(run)["experiment"] == changed


@pytest.mark.parametrize("content", ["notes.txt", "data/photo.png", "config.json"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_is_no_run_is_never_touched(words, tmp_path, content, overwrite):
    theirs = tmp_path / "home" / content
    theirs.parent.mkdir(parents=True)
    theirs.write_text('{"model_type": "gpt2"}')
    with pytest.raises(UserError, match="is not a run directory"):
        helpers.train(experiment("lstm", words), tmp_path / "home", overwrite=overwrite)
    assert [path for path in (tmp_path / "home").rglob("*") if path.is_file()] == [theirs]


def test_a_run_interrupted_while_it_was_made_is_made_anew(words, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    exp = experiment("lstm", words)
    with monkeypatch.context() as patch:
        patch.setattr(training.data.get("text"), "save", killed)
        with pytest.raises(KeyboardInterrupt):
            helpers.train(exp, tmp_path / "run")
    assert helpers.train(exp, tmp_path / "run", stop_at=1) == 0


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_run_directory_that_cannot_be_made_is_one_line(words, tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"is not a run directory|cannot write"):
        helpers.train(experiment("lstm", words), tmp_path / name)


# --- what is written and shown -------------------------------------------------------------------


def test_metrics_have_the_documented_fields(whole):
    _, run = whole("lstm")
    lines = helpers.metrics(run)  # strictly JSON
    assert {line["split"] for line in lines} == {"train", "validation"}
    for line in lines:
        assert {"step", "split", "loss", "seconds"} <= line.keys()
        if line["split"] == "validation":
            assert line["nats_per_char"] == line["loss"]  # a token is a character here
            assert line["bits_per_byte"] == pytest.approx(line["loss"] / math.log(2))
    assert [line["step"] for line in lines if line["split"] == "train"] == [2, 4, 6, 8]
    assert [line["windows"] for line in lines[-2:]] == ["all", "sliding"]


def test_utilisation_is_logged_where_the_peak_is_known(words, tmp_path, monkeypatch):
    exp = experiment("lstm", words, train={"steps": 4, "log_every": 1})
    monkeypatch.setattr(flops, "peak", lambda devices: 1e9 * len(devices))
    assert helpers.train(exp, tmp_path / "run") == 0
    first, *later = [line for line in helpers.metrics(tmp_path / "run") if line["split"] == "train"]
    assert "mfu" not in first  # of which the most is compilation
    shares = []
    for before, line in zip([first, *later], later, strict=False):
        # Seconds at the peak: the same for each step.
        shares.append(line["mfu"] * (line["seconds"] - before["seconds"]))
    np.testing.assert_allclose(shares, shares[0], rtol=1e-6)
    width, vocab, tokens = exp.model.width, 20, exp.train.batch * exp.data.length
    least = 3 * 2 * tokens * width * (2 * 4 * width)  # of the gates, forward and backward
    most = 3 * 2 * tokens * width * (2 * 4 * width + 4 * vocab)
    assert least * exp.model.depth / 1e9 <= shares[0] <= most * exp.model.depth / 1e9


def test_metrics_cut_short_by_a_crash_are_mended(words, tmp_path):
    exp = experiment("lstm", words)
    helpers.train(exp, tmp_path / "run", stop_at=4)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "split": "train", "loss": 1.0}\n{"step": 6, "spl')
    helpers.train(exp, tmp_path / "run", stop_at=5)
    assert [line["step"] for line in helpers.metrics(tmp_path / "run")] == [2, 4, 4]


def test_a_dry_run_tells_sizes_and_time_and_writes_nothing(words, tmp_path, capsys):
    exp = experiment("lstm", words)
    assert helpers.train(exp, tmp_path / "run", dry_run=True) == 0
    assert not (tmp_path / "run").exists()
    out = capsys.readouterr().out
    shown = json.loads(out[out.index("\n{") : out.rindex("}") + 1])
    assert config.from_json(shown) == exp
    vocab, width = 14, 16
    count = 2 * vocab * width + vocab + 2 * width * 4 * width + 4 * width
    assert f"parameters: {count:,}\n" in out
    assert "MiB" in out and "8 steps take about" in out


def test_a_batch_that_is_no_number_is_refused(words, tmp_path):
    with pytest.raises(UserError, match=r"--train.batch is 0"):
        helpers.train(experiment("lstm", words, train={"batch": 0}), tmp_path / "run")


def test_a_token_out_of_range_is_refused(words, tmp_path, monkeypatch):
    """A gather on the device would clamp it in silence."""
    job = training.prepare(experiment("lstm", words))
    real = job.modality.train_batch

    def broken(*args, **kwargs):
        batch = real(*args, **kwargs)
        batch["x"][0, 0] = job.spec.vocab
        return batch

    monkeypatch.setattr(job.modality, "train_batch", broken)
    with pytest.raises(UserError, match=r"batch 0: `x` has an id outside 0 \.\. "):
        helpers.train(experiment("lstm", words), tmp_path / "run")
