"""Checkpoints: complete or invisible, verified when read.

    checkpoints/STEP/model/         what sampling needs: parameters, averaged if an average is kept
    checkpoints/STEP/training/      the rest of the TrainState
    checkpoints/STEP/meta.json      the loop's own account: step, seconds, best loss ...
    checkpoints/STEP/manifest.json  SHA-256 of every file above

Orbax writes the arrays into a hidden folder, which is renamed once the manifest is in it. Orbax
alone would restore a flipped byte in silence, hence the manifest.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from creagen_jax import parallel
from creagen_jax.types import Params, TrainState, UserError

DISK_ERRORS = ("No space left", "File too large", "quota exceeded", "Read-only", "denied")
UNFINISHED = ".unfinished-"


class Damaged(Exception):
    """A checkpoint whose files are not those of its manifest; the message names one."""


def steps(folder: Path) -> list[int]:
    """The steps of the complete checkpoints, ascending."""
    names = (path.parent.name for path in folder.glob("*/manifest.json"))
    return sorted(int(name) for name in names if name.isdecimal())


@contextlib.contextmanager
def _quiet_orbax():
    """Orbax logs progress as warnings; and after a write that failed, and that it reports well,
    the threads of the others print tracebacks."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


@_quiet_orbax()
def save(folder: Path, state: TrainState, meta: dict[str, Any], keep: set[int]) -> None:
    """Write the checkpoint of `meta["step"]`, then remove all but it and the steps in `keep`.

    Raises UserError, with the older checkpoints untouched, if the disk does not take it.
    """
    step = meta["step"]
    final, partial = folder / str(step), folder / f"{UNFINISHED}{step}"
    model, training = _split(state)
    lead = jax.process_index() == 0
    try:
        if lead:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_unfinished(folder)
        parallel.sync("clean")
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(partial.absolute() / "model", model)
            checkpointer.save(partial.absolute() / "training", training)
        if lead:
            (partial / "meta.json").write_text(json.dumps(meta, indent=1))
            (partial / "manifest.json").write_text(json.dumps(_hashes(partial), indent=1))
            if final.exists():  # damaged, so the run was resumed before it
                _remove(final)
            partial.rename(final)
            for old in set(steps(folder)) - keep - {step}:
                _remove(folder / str(old))
        parallel.sync("saved")
    except (OSError, ValueError) as error:  # ValueError is how Orbax reports a failed write
        if not any(text in str(error) for text in DISK_ERRORS):
            raise
        # A thread of Orbax may still write there; what it leaves is removed by the next save.
        shutil.rmtree(partial, ignore_errors=True)
        reason = next(text for text in DISK_ERRORS if text in str(error))
        intact = ", ".join(map(str, steps(folder))) or "none"
        raise UserError(
            f"cannot write checkpoint {final}: {reason}; intact checkpoints: {intact}; "
            "make room and run the same command again"
        ) from None


def newest(folder: Path, read: Callable[[Path], Any], report: Callable[[str], None]) -> Any:
    """`read` of the newest sound checkpoint; None if there is no checkpoint at all.

    Each damaged one is reported by file name and passed over. Raises UserError if none is sound.
    """
    found = steps(folder)
    for step in reversed(found):
        try:
            return read(folder / str(step))
        except Damaged as damage:
            report(f"damaged checkpoint {step} passed over: {damage}")
    if found:
        raise UserError(f"every checkpoint in {folder} is damaged; start anew with --overwrite")
    return None


def restore(path: Path, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
    """State and meta of one checkpoint, placed on the devices as `like` is. Raises Damaged."""
    verify(path)
    model, training = _split(like)
    model, training = _read(path / "model", model), _read(path / "training", training)
    state = training.replace(params=model) if like.ema is None else training.replace(ema=model)
    return state, _meta(path)


def restore_params(path: Path, like: Params) -> Params:
    """The parameters to sample with, on the first device wherever they were saved from; `like`
    has their structure. Raises Damaged."""
    verify(path)
    return _read(path / "model", like)


@_quiet_orbax()
def _read(path: Path, like: Any) -> Any:
    """A pytree with the structure and placement of `like`, and the shapes that were saved: those
    of a Markov chain's counts grow. Raises UserError if what was saved has another structure."""
    one_device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def name(key_path) -> str:
        return jax.tree_util.keystr(key_path, simple=True, separator=".")

    def target(key_path, leaf):
        saved = shapes[name(key_path)]
        if isinstance(leaf, np.ndarray):
            return np.empty(saved.shape, saved.dtype)
        placed = getattr(leaf, "sharding", None) or one_device
        return jax.ShapeDtypeStruct(saved.shape, saved.dtype, sharding=placed)

    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.metadata(path.absolute()).item_metadata.tree
        shapes = {saved.name: saved for saved in jax.tree.leaves(tree)}
        wanted = {name(key_path) for key_path, _ in jax.tree.leaves_with_path(like)}
        if other := sorted(wanted ^ shapes.keys()):
            raise UserError(
                f"{path} is of another version of this network: `{other[0]}` is in one of them "
                "only; go back to the version that made it, or train anew"
            )
        targets = jax.tree_util.tree_map_with_path(target, like)
        return checkpointer.restore(path.absolute(), targets)


def verify(path: Path) -> None:
    """Raises Damaged, naming a file, unless every file has the sum in the manifest."""
    try:
        wanted = json.loads((path / "manifest.json").read_text())
    except (OSError, ValueError):
        raise Damaged(f"{path / 'manifest.json'} cannot be read") from None
    found = _hashes(path)
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found:
            raise Damaged(f"{path / name} is missing")
        if found[name] != wanted.get(name):
            raise Damaged(f"{path / name} has changed")


def read_meta(path: Path) -> dict[str, Any]:
    """The loop's account in a checkpoint. Raises Damaged."""
    verify(path)
    return _meta(path)


def _meta(path: Path) -> dict[str, Any]:
    return json.loads((path / "meta.json").read_text())


def _split(state: TrainState) -> tuple[Params, TrainState]:
    """The parameters to sample with, and the state without them."""
    if state.ema is None:
        return state.params, state.replace(params=None)
    return state.ema, state.replace(ema=None)


def _hashes(path: Path) -> dict[str, str]:
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.name != "manifest.json" or file.parent != path
    }


def _remove(path: Path) -> None:
    """Remove a checkpoint; one that is only half removed is no longer seen as one."""
    hidden = path.with_name(f"{UNFINISHED}removal-{path.name}")
    path.rename(hidden)
    shutil.rmtree(hidden)


def _remove_unfinished(folder: Path) -> None:
    for path in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(path)
