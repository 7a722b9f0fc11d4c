"""Tiny experiments, and what tests ask of the run directories that they leave."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from creagen_jax import checkpoint, config, models, rundir, scoring, training
from creagen_jax.config import Experiment, Optim, Train
from creagen_jax.data import image, pairs, text

MODELS = {
    "markov": {"order": 3},
    "lstm": {"width": 16, "depth": 1},
    "gru": {"width": 16, "depth": 1},
    "transformer": {"width": 16, "depth": 1, "heads": 2, "context": 16},
}
OTHERS = {  # which have tests of their own
    "seq2seq": {"width": 16},
    "text_gan": {"width": 16, "depth": 1, "discriminator_width": 8, "pretrain": 4, "warm": 2},
}
PICTURES = {
    "gan": {"latent": 4, "width": 8, "levels": (1,), "blocks": 0},
    "diffusion": {"network": "dit", "width": 8, "depth": 1, "heads": 2, "patch": 2},
}


def no_reference(*_) -> dict:
    """Instead of `scoring.reference`, which takes seconds and has tests of its own."""
    return {}


def train(*args, **kwargs) -> int:
    """`training.train` without the reference line."""
    real, scoring.reference = scoring.reference, no_reference
    try:
        return training.train(*args, **kwargs)
    finally:
        scoring.reference = real


def scores(losses: list[float]) -> Callable:
    """Instead of `training._evaluator`: the losses of the evaluations, one after the other, before
    the final ones."""
    losses = iter(losses)
    return lambda job: (
        lambda params, split, **how: {"loss": 9.0 if "overlap" in how else next(losses)}
    )


def write_text(folder: Path, characters: int = 4000, seed: int = 0) -> Path:
    """A file of random words: a stream of a small vocabulary."""
    path = Path(folder) / "words.txt"
    words = np.random.default_rng(seed).choice(["one ", "two ", "three\n", "four, "], characters)
    path.write_text("".join(words)[:characters])
    return path


def made_pictures(count: int, shape: tuple[int, int, int] = (8, 8, 1), classes: int = 2):
    """Noisy pictures [N, H, W, C] uint8, of class c darker than of class c + 1, and the classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % classes
    noise = rng.integers(0, 200 // classes, (count, *shape))
    return (noise + 200 * labels.reshape(-1, 1, 1, 1) // classes).astype(np.uint8), labels


def write_pictures(folder: Path, count: int = 64, **how) -> Path:
    """An .npz of `made_pictures`."""
    path = Path(folder) / "pictures.npz"
    images, labels = made_pictures(count, **how)
    np.savez(path, images=images, labels=labels)
    return path


def experiment(family: str, path: Path, **changes) -> Experiment:
    """Eight steps of a tiny model; `changes` as `config.replace` takes them."""
    if family in PICTURES:
        data = image.Config(path=str(path), flip=True, shift=1)
    elif family == "seq2seq":
        data = pairs.Config(path=str(path), length=12, source_length=12)
    else:
        order = "sequential" if family == "markov" else "random"
        data = text.Config(path=str(path), length=12, order=order)
    base = Experiment(
        data=data,
        model=models.get(family).Config(**{**MODELS, **OTHERS, **PICTURES}[family]),
        optim=Optim(learning_rate=1e-2, warmup=2),
        train=Train(
            steps=8, batch=8, log_every=2, eval_every=4, eval_windows=8, save_every=4, patience=0
        ),
    )
    return config.replace(base, **changes)


def states(exp: Experiment, run: Path) -> dict[int, dict[str, np.ndarray]]:
    """The whole state in each checkpoint of a run (see `arrays`), by step."""
    like, _ = training._build(training.prepare(exp))
    folder = rundir.checkpoints(run)
    return {
        step: arrays(checkpoint.restore(folder / str(step), like)[0])
        for step in checkpoint.steps(folder)
    }


def arrays(tree) -> dict[str, np.ndarray]:
    """The leaves of a pytree by their path in it."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """Bit for bit."""
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def metrics(run: Path) -> list[dict]:
    """metrics.jsonl, read strictly: NaN and Infinity are no JSON."""

    def refuse(name):
        raise AssertionError(f"{name} in metrics.jsonl")

    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def without_seconds(lines: list[dict]) -> list[dict]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


# --- other processes -----------------------------------------------------------------------------

# A server that has imported everything and started no JAX backend; a child is its fork.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["creagen_jax.training"])


def start(function: Callable, *args, output: Path, environment: dict[str, str] | None = None):
    """Calls a function of a test file in a new process, as a command: what it returns is the exit
    code, and its standard output and error go to a file."""
    path = function.__module__, function.__name__
    process = CONTEXT.Process(target=_child, args=(path, args, output, environment or {}))
    process.start()
    return process


def finish(process, output: Path, seconds: float = 100) -> int:
    """Waits for the end of a process; its exit code."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"still running after {seconds} s: {output.read_text()}")
    return process.exitcode


def _child(path: tuple[str, str], args: tuple, output: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    module, name = path
    raise SystemExit(getattr(importlib.import_module(module), name)(*args))
