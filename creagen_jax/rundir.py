"""The run directory: the one place that knows what lies where in it.

RUN/config.json          the experiment, the data's fingerprint, versions, the reference line
RUN/data/                what the modality needs to turn samples into text, images, ...
RUN/checkpoints/STEP/    see `checkpoint.py`
RUN/metrics.jsonl        see `logging.py`
RUN/samples/             drawn during training
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from creagen_jax import config
from creagen_jax.types import Spec, UserError

# Fields that a run may change when it goes on: what is shown and kept, not what is computed.
FREE = ("log_every", "eval_every", "eval_windows", "save_every", "sample_every")
FREE += ("patience", "max_skipped", "placement")


def checkpoints(run: Path) -> Path:
    return run / "checkpoints"


def codec(run: Path) -> Path:
    return run / "data"


def samples(run: Path) -> Path:
    return run / "samples"


def read(run: Path) -> dict[str, Any]:
    """RUN/config.json, with its `Experiment` and its `Spec`. Raises UserError if it is no run."""
    path = run / "config.json"
    if not path.is_file():
        raise UserError(f"{run} is not a run directory: it has no config.json")
    try:
        fields = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from None
    spec = Spec(**{**fields["spec"], "shape": tuple(fields["spec"]["shape"])})
    return {**fields, "experiment": config.from_json(fields["experiment"]), "spec": spec}


def write(run: Path, fields: dict[str, Any]) -> None:
    """Writes RUN/config.json, the last file of a new run: a directory that has it is whole."""
    spec = dataclasses.asdict(fields["spec"])
    fields = {**fields, "experiment": config.to_json(fields["experiment"]), "spec": spec}
    part = run / "config.part"
    part.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n")
    part.rename(run / "config.json")


def clear(run: Path, *, overwrite: bool) -> bool:
    """Whether a run lies there already; with `overwrite` it is removed first.

    Raises UserError for a folder that holds anything else.
    """
    exists = (run / "config.json").is_file()
    begun = (run / "data").is_dir()  # interrupted before its config.json
    if exists and not overwrite:
        return True
    if exists or begun:
        shutil.rmtree(run)
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise UserError(f"{run} exists and is not a run directory; choose another --run")
    return False


def check_same(run: Path, experiment: config.Experiment, fingerprint: dict[str, Any]) -> None:
    """Raises UserError, with the differences, if a run holds another experiment or other data."""
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
