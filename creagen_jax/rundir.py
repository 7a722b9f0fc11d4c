"""The run directory: the one place that knows what lies where in it.

RUN/config.json          the experiment, the data's fingerprint, versions
RUN/reference.json       the scores that those of a model of text are printed against
RUN/data/                what the modality needs to turn samples into text, images, ...
RUN/checkpoints/STEP/    see `checkpoint.py`
RUN/metrics.jsonl        see `logging.py`
RUN/samples/             drawn during training, or by sample.py
RUN/evaluation/          networks that evaluate.py trained on the data
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from creagen_jax import config
from creagen_jax.types import Spec, UserError

# Fields that a run may change when it goes on: what is shown and kept, not what is computed.
FREE = ("log_every", "eval_every", "eval_windows", "final_windows", "save_every", "keep_every")
FREE += ("sample_every", "patience", "max_skipped", "placement")
UNFINISHED = "config.part"  # what a run has that was interrupted before its config.json


def checkpoints(run: Path) -> Path:
    """RUN/checkpoints."""
    return run / "checkpoints"


def codec(run: Path) -> Path:
    """RUN/data."""
    return run / "data"


def reference(run: Path) -> Path:
    """RUN/reference.json."""
    return run / "reference.json"


def samples(run: Path) -> Path:
    """RUN/samples."""
    return run / "samples"


def evaluation(run: Path) -> Path:
    """RUN/evaluation."""
    return run / "evaluation"


def read(run: Path) -> dict[str, Any]:
    """RUN/config.json, with its `Experiment` and its `Spec`. Raises UserError if it is no run."""
    fields = _read(run)
    spec = Spec(**{**fields["spec"], "shape": tuple(fields["spec"].get("shape", ()))})
    return {**fields, "experiment": config.from_json(fields["experiment"]), "spec": spec}


def _read(run: Path) -> dict[str, Any]:
    path = run / "config.json"
    if not path.is_file():
        raise UserError(f"{run} is not a run directory: it has no config.json")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if not isinstance(fields, dict) or not {"experiment", "spec", "fingerprint"} <= fields.keys():
        raise UserError(f"{run} is not a run directory: its config.json is not that of a run")
    return fields


def create(run: Path, fields: dict[str, Any], save_codec: Callable[[Path], None]) -> None:
    """Makes a run directory: what is written as RUN/config.part becomes RUN/config.json at last.

    Raises UserError if it cannot be written.
    """
    spec = dataclasses.asdict(fields["spec"])
    fields = {**fields, "experiment": config.to_json(fields["experiment"]), "spec": spec}
    part = run / UNFINISHED
    with writing(run):
        run.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        save_codec(codec(run))
        part.rename(run / "config.json")


def clear(run: Path, *, overwrite: bool) -> bool:
    """Whether a run lies there already; with `overwrite` it is removed first.

    Raises UserError for a folder that holds anything else.
    """
    if (run / "config.json").is_file():
        if not overwrite:
            return True
        _read(run)  # whatever else has a config.json is not ours to remove
        shutil.rmtree(run)
    elif (run / UNFINISHED).is_file():
        shutil.rmtree(run)
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise UserError(f"{run} exists and is not a run directory; choose another --run")
    return False


def check_same(
    run: Path, experiment: config.Experiment, fingerprint: dict[str, Any]
) -> dict[str, Any]:
    """What `read` returns. Raises UserError, with the differences, if the run holds another
    experiment or other data."""
    old = read(run)
    changed = config.differences(config.to_json(old["experiment"]), config.to_json(experiment))
    changed = [line for line in changed if not line.startswith(tuple(f"train.{f}:" for f in FREE))]
    new = json.loads(json.dumps(fingerprint))
    changed += config.differences(old["fingerprint"], new, "fingerprint.")
    if changed:
        raise UserError(
            f"{run} holds another experiment ({'; '.join(changed)}); "
            "pass the same flags, choose another --run, or start anew with --overwrite"
        )
    return old


def write(path: Path, content: bytes) -> None:
    """Writes a file that appears when it is complete, and the folders above it. Raises UserError if
    the disk refuses."""
    part = path.with_name(path.name + ".part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.rename(path)


@contextlib.contextmanager
def writing(run: Path):
    """Within it, a disk that refuses or takes no more is a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {error.filename or run}: {error.strerror}") from None
