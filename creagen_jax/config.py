"""Typed configuration: frozen dataclasses, composed in `configs/NAME.py`, read from flags by tyro,
saved in the run as JSON and read back by family name."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib.util
import io
import re
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar

import tyro

from creagen_jax.types import UserError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Data:
    """Base of every modality's `Config`."""


@dataclasses.dataclass(frozen=True)
class Model:
    """Base of every family's `Config`."""


@dataclasses.dataclass(frozen=True)
class Request:
    """Base of what each kind of family can be asked for, besides how many and with which seeds."""

    label: str = ""
    """Class of the samples; empty: each draws its own, as often as in the training data."""


@dataclasses.dataclass(frozen=True)
class Optim:
    """The update rule and its schedule. See `optim.py`."""

    name: Literal["adamw", "muon"] = "adamw"
    """AdamW, or Muon for the matrices inside the network and AdamW for all else."""
    learning_rate: float = 1e-3
    """Peak learning rate of AdamW."""
    muon_learning_rate: float = 0.02
    """Peak learning rate of Muon, in update RMS for a square matrix."""
    muon_beta: float = 0.95
    """Decay of Muon's momentum, per step."""
    warmup: int = 100
    """Updates of linear warm-up from zero."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the decay after the warm-up."""
    final: float = 0.1
    """Learning rate at the last step, as a share of the peak."""
    beta1: float = 0.9
    """Decay of AdamW's first moment, per step."""
    beta2: float = 0.99
    """Decay of AdamW's second moment, per step."""
    weight_decay: float = 0.0
    """Decoupled weight decay of matrices, multiplied by the learning rate."""
    clip: float = 1.0
    """Largest global norm of the gradient; 0 turns clipping off."""
    accumulate: int = 1
    """Batches whose gradients are averaged into one update."""
    ema: float = 0.0
    """Decay of the parameters' moving average, per step; 0 keeps none."""


@dataclasses.dataclass(frozen=True)
class Train:
    """The loop. See `training.py`."""

    steps: int = 1000
    """Steps (batches) in all; 0 means one pass over the training data."""
    batch: int = 64
    """Examples or windows in a batch, over all devices."""
    log_every: int = 50
    """Steps between two logged training losses."""
    eval_every: int = 250
    """Steps between two evaluations on the validation windows."""
    eval_windows: int = 256
    """Validation windows in each of them, spaced evenly, the same every time."""
    final_windows: int = 20_000
    """Held-out windows scored at the end, likewise, or all if there are no more."""
    save_every: int = 250
    """Steps between two checkpoints."""
    keep_every: int = 0
    """Steps between two checkpoints that stay, besides the newest two and the best; 0: none do."""
    sample_every: int = 0
    """Steps between two rounds of samples on the screen and in samples/; 0 for none."""
    patience: int = 0
    """Evaluations without a better validation loss before an early stop; 0 never stops early."""
    max_skipped: int = 10
    """Non-finite updates in a row after which the run stops."""
    placement: Literal["replicated", "fsdp"] = "replicated"
    """Parameters on several devices: a copy on each, or sharded over them."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that decides a result: the same experiment and seed give the same run."""

    data: Data
    model: Model
    optim: Optim = Optim()
    train: Train = Train()
    seed: int = 0
    """Seed of the initial parameters, the order of the data and every random choice."""


def family(experiment: Experiment) -> str:
    """The name of the model family, which is its file's name."""
    return type(experiment.model).__module__.rpartition(".")[2]


def modality(experiment: Experiment) -> str:
    """The name of the data's modality, which is its file's name."""
    return type(experiment.data).__module__.rpartition(".")[2]


def check(experiment: Experiment) -> None:
    """Raises UserError for a number that no run can have."""
    check_seed(experiment.seed)
    train = experiment.train
    for name in (
        "log_every",
        "eval_every",
        "eval_windows",
        "final_windows",
        "save_every",
        "max_skipped",
    ):
        if getattr(train, name) < 1:
            raise UserError(f"--train.{name} is {getattr(train, name)}; choose 1 or more")
    for name in ("steps", "keep_every", "sample_every", "patience"):
        if getattr(train, name) < 0:
            raise UserError(f"--train.{name} is {getattr(train, name)}; choose 0 or more")
    for name in ("beta1", "beta2", "muon_beta", "ema"):
        value = getattr(experiment.optim, name)
        if not 0 <= value < 1:
            raise UserError(f"--optim.{name} is {value}; choose 0 or more, and less than 1")


def check_seed(seed: int, count: int = 1) -> None:
    """Raises UserError unless seed, seed + 1, ... (`count` of them) are seeds for all libraries."""
    if not 0 <= seed <= 2**31 - count:
        raise UserError(f"--seed is {seed}; choose 0 to {2**31 - count}")


def replace(experiment: Experiment, **changes: Any) -> Experiment:
    """A copy with fields changed: `replace(e, train={"steps": 4}, seed=1)`."""
    for key, value in changes.items():
        if isinstance(value, dict):
            changes[key] = dataclasses.replace(getattr(experiment, key), **value)
    return dataclasses.replace(experiment, **changes)


# --- configs/NAME.py ---------------------------------------------------------------------------


def available(folder: Path) -> dict[str, str]:
    """The configs in a folder and the first line of each one's docstring."""
    files = sorted(path for path in folder.glob("*.py") if not path.stem.startswith("_"))
    return {path.stem: (_import(path).__doc__ or "").strip().partition("\n")[0] for path in files}


def load(name: str, folder: Path, *, smoke: bool = False) -> Experiment:
    """The experiment of `configs/NAME.py` (its CONFIG, or SMOKE: the same in seconds), or of a
    `.py` file of the user's own.

    Raises UserError for an unknown name, or a file without what is wanted.
    """
    path = Path(name) if name.endswith(".py") else folder / f"{name}.py"
    if not path.is_file():
        choices = [path.stem for path in sorted(folder.glob("*.py"))]
        raise UserError(f"no config '{name}'; {nearest(name, choices)}")
    module, wanted = _import(path), "SMOKE" if smoke else "CONFIG"
    if not hasattr(module, wanted):
        raise UserError(f"{path} defines no {wanted}")
    return getattr(module, wanted)


def nearest(name: str, choices: list[str]) -> str:
    """The end of an error line: the choice that was probably meant, and all of them."""
    close = difflib.get_close_matches(name, choices, 1, 0.6)
    meant = f"did you mean '{close[0]}'? " if close else ""
    return f"{meant}choose one of {', '.join(choices)}"


def _import(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- flags -------------------------------------------------------------------------------------


def parse(default: T, argv: list[str], *, prog: str, description: str) -> T:
    """Flags over a dataclass of defaults, by tyro; `--help` explains each field.

    Raises UserError, in one line and with the nearest flag, for a flag that does not fit.
    """
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            return tyro.cli(
                type(default),
                default=default,
                args=argv,
                prog=prog,
                description=description,
                use_underscores=True,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as stop:
        if stop.code == 0:  # --help
            raise
        raise UserError(f"{_one_line(stderr.getvalue())} ({prog} --help lists the flags)") from None


def _one_line(box: str) -> str:
    """What a box drawn by tyro says: what is wrong and what was probably meant."""
    text = re.sub(r"[╭╮╰╯│─]+", " ", box.split("For full help")[0]).partition("\n")[2]
    line = " ".join(text.split())
    if found := re.match(
        r"Unrecognized options: ([^ ,]+)(?:.*? Perhaps you meant: (--[\w.]+))?", line
    ):
        return f"no flag {found[1]}" + (f"; did you mean {found[2]}?" if found[2] else "")
    if found := re.match(r"Error parsing (\S+): .* ('.*') Argument helptext: \S+ (.*)", line):
        return f"{found[1]} cannot be {found[2]}; it is {found[3]}"
    return line


# --- config.json -------------------------------------------------------------------------------


def to_json(experiment: Experiment) -> dict[str, Any]:
    """A JSON-ready dict, from which `from_json` makes the same experiment."""
    fields = dataclasses.asdict(experiment)
    fields["data"] = {"modality": modality(experiment), **fields["data"]}
    fields["model"] = {"family": family(experiment), **fields["model"]}
    return fields


def from_json(fields: dict[str, Any]) -> Experiment:
    """The inverse of `to_json`.

    Raises UserError if the family, the modality or a field is unknown to this version.
    """
    data, model = dict(fields["data"]), dict(fields["model"])
    return Experiment(
        data=_section("data", data.pop("modality"))(data),
        model=_section("models", model.pop("family"))(model),
        optim=_build(Optim, fields["optim"]),
        train=_build(Train, fields["train"]),
        seed=fields["seed"],
    )


def _section(package: str, name: str):
    """The Config of a family or modality, by name, as a function of its fields."""
    module = importlib.import_module(f"creagen_jax.{package}").get(name)
    return lambda fields: _build(module.Config, fields)


def _build(cls: type[T], fields: dict[str, Any]) -> T:
    known = {field.name for field in dataclasses.fields(cls)}
    if unknown := sorted(set(fields) - known):
        raise UserError(f"this version's {cls.__module__} has no field {', '.join(unknown)}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The fields in which two `to_json` dicts differ, as lines 'model.width: 128 -> 256'."""
    lines = []
    for key in sorted(set(old) | set(new)):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += differences(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: {a} -> {b}")
    return lines
