"""Eight devices, and two processes, train what one device trains."""

import signal
import socket
from pathlib import Path

import helpers
import jax
import numpy as np
import pytest
from helpers import experiment

from creagen_jax import checkpoint, cli, config, generation, parallel, training

EIGHT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
FSDP = {"placement": "fsdp"}
RUNS = {
    "lstm_replicated": ("lstm", {}),
    "lstm_fsdp": ("lstm", {"train": FSDP}),
    "transformer_fsdp": ("transformer", {"train": FSDP}),
}


def tiny(family: str, words: Path, **changes) -> config.Experiment:
    """Matrices just large enough to be sharded; no evaluation but the last."""
    exp = experiment(family, words, model={"width": 32}, train={"log_every": 1, "eval_every": 8})
    return config.replace(exp, **changes)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return helpers.write_text(tmp_path_factory.mktemp("data"))


# --- eight devices -------------------------------------------------------------------------------


def train_on_eight(words: Path, folder: Path) -> int:
    """In a process of its own: the runs above, and the second half of one begun on one device."""
    assert jax.device_count() == 8
    for name, (family, changes) in RUNS.items():
        exp = tiny(family, words, **changes)
        assert helpers.train(exp, folder / name, stop_at=6 if name == "lstm_fsdp" else 0) == 0
    assert helpers.train(tiny("lstm", words, train=FSDP), folder / "begun_on_one") == 0
    assert len(generation.draw(generation.load(folder / "begun_on_one"), REQUEST, num=2, seed=0))
    check_sharding(tiny("transformer", words, train=FSDP, optim={"ema": 0.9}))
    exp = tiny("lstm", words, train={"batch": 12})
    return cli.run(lambda argv: helpers.train(exp, folder / "odd"))


def check_sharding(exp: config.Experiment) -> None:
    """Large leaves lie in eight parts, before a step and after it, and the average with them."""
    job = training.prepare(exp)
    state, step = training._build(job)
    state, _ = step(state, job.modality.train_batch(job.dataset, seed=0, step=0, size=8))
    for tree in (state.params, state.ema, state.opt_state):
        large = [leaf for leaf in jax.tree.leaves(tree) if leaf.size >= parallel.SMALLEST_SHARDED]
        assert large
        for leaf in large:
            assert leaf.sharding.shard_shape(leaf.shape) != leaf.shape
            assert leaf.addressable_shards[0].data.size == leaf.size // 8


REQUEST = generation.Request(length=16)


@pytest.fixture(scope="module")
def eight(words, tmp_path_factory):
    """The folder of the runs on eight devices; what that process printed is in `output`."""
    folder = tmp_path_factory.mktemp("eight")
    helpers.train(tiny("lstm", words), folder / "begun_on_one", stop_at=4)
    process = helpers.start(
        train_on_eight, words, folder, output=folder / "output", environment=EIGHT
    )
    code = helpers.finish(process, folder / "output")
    assert code == 2, (
        folder / "output"
    ).read_text()  # that of its last command, with a batch of 12
    return folder


@pytest.fixture(scope="module")
def one(words, tmp_path_factory):
    """one(family) -> a run on one device."""
    runs = {}

    def make(family):
        if family not in runs:
            runs[family] = tmp_path_factory.mktemp("one") / family
            helpers.train(tiny(family, words), runs[family])
        return runs[family]

    return make


def assert_same_losses(a: Path, b: Path) -> None:
    ours, theirs = (
        {(line["step"], line["split"], line.get("windows")): line["loss"] for line in lines}
        for lines in (helpers.metrics(a), helpers.metrics(b))
    )
    assert ours.keys() == theirs.keys()
    for key, loss in ours.items():
        np.testing.assert_allclose(loss, theirs[key], atol=1e-5, err_msg=str(key))


@pytest.mark.parametrize("name", RUNS)
def test_eight_devices_have_the_losses_of_one(eight, one, words, name):
    family, changes = RUNS[name]
    if name == "lstm_fsdp":  # its second half is trained here: its checkpoint came from eight
        assert helpers.train(tiny(family, words, **changes), eight / name) == 0
    assert_same_losses(one(family), eight / name)


def test_a_run_begun_on_one_device_goes_on_on_eight(eight, one):
    assert "resuming at step 4 of 8" in (eight / "output").read_text()
    assert_same_losses(one("lstm"), eight / "begun_on_one")


def test_a_run_of_eight_devices_is_sampled_on_one(eight, one):
    for name, (family, _) in RUNS.items():
        ours, theirs = (generation.load(run) for run in (eight / name, one(family)))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), ours.params, theirs.params
        )
        assert len(generation.draw(ours, REQUEST, num=2, seed=0)) == 2


def test_a_batch_that_does_not_divide_is_refused(eight):
    line = (eight / "output").read_text().strip().splitlines()[-1]
    assert line == (
        "error: a batch of 12 does not divide over 8 devices; "
        "choose --train.batch as a multiple of 8"
    )
    assert not (eight / "odd").exists()


# --- the rule ------------------------------------------------------------------------------------


def test_small_and_odd_leaves_are_copied_and_the_longest_axis_is_cut():
    mesh = jax.sharding.AbstractMesh((8,), ("data",))
    shapes = {"small": (8, 8), "odd": (4099, 3), "long": (64, 4096), "tall": (4096, 64)}
    state = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
    got = parallel.state_shardings(mesh, state, "fsdp")
    axes = {name: [axis is not None for axis in got[name].spec] for name in shapes}
    assert axes == {
        "small": [False, False],
        "odd": [False, False],
        "long": [False, True],
        "tall": [True, False],
    }
    copies = parallel.state_shardings(mesh, state, "replicated")
    assert all(sharding.is_fully_replicated for sharding in copies.values())


# --- two processes -------------------------------------------------------------------------------


def train_together(
    exp: config.Experiment, run: Path, port: int, number: int, stop_at: int = 0
) -> int:
    """One of two processes with a device each; number 1 gets a SIGTERM before step `stop_at`."""
    parallel.join(f"localhost:{port},2,{number}")
    assert jax.device_count() == 2
    make = training._batches

    def interrupted(job, start):
        for step, batch in enumerate(make(job, start), start + 1):
            if step == stop_at and number == 1:
                signal.raise_signal(signal.SIGTERM)
            yield batch

    training._batches = interrupted
    code = helpers.train(exp, run)
    jax.distributed.shutdown()
    return code


def together(exp: config.Experiment, run: Path, folder: Path, stop_at: int = 0) -> list[int]:
    """The exit codes of two processes that train one run."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    outputs = [folder / "output0", folder / "output1"]
    processes = [
        helpers.start(train_together, exp, run, port, number, stop_at, output=output)
        for number, output in enumerate(outputs)
    ]
    return [helpers.finish(*pair) for pair in zip(processes, outputs, strict=True)]


def test_two_processes_have_the_losses_of_one(words, one, tmp_path):
    run = tmp_path / "run"
    exp = tiny("lstm", words, train={"sample_every": 8, **FSDP})
    assert together(exp, run, tmp_path) == [0, 0]
    assert_same_losses(one("lstm"), run)
    assert checkpoint.steps(run / "checkpoints") == [4, 8]
    assert generation.load(run).step == 8
    assert (run / "samples" / "step_000008.txt").read_text().strip()


def test_a_signal_to_one_of_two_processes_stops_both_at_one_step(words, tmp_path):
    run = tmp_path / "run"
    exp = tiny("lstm", words, train={"steps": 40, "save_every": 40, "eval_every": 40})
    assert together(exp, run, tmp_path, stop_at=3) == [143, 143]
    assert checkpoint.steps(run / "checkpoints") == [training.AGREE_EVERY]
