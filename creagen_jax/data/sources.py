"""Where text comes from: embedded sets, the user's own files, TensorFlow Datasets.

A source has splits of its own ("train", "validation", "test"), or only "train", to be cut later.
"""

from __future__ import annotations

import codecs
import csv
import dataclasses
import difflib
import hashlib
import importlib
import io
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from creagen_jax import config
from creagen_jax.data.tokenizers import utf8
from creagen_jax.types import UserError

CHUNK_BYTES = 1 << 22  # of a file in memory at once
SUFFIXES = (".txt", ".jsonl", ".csv")
SPLITS = ("train", "validation", "test")

Chunks = Iterator[str | None]  # text in pieces; None stands between two documents


class Line(NamedTuple):
    """One example."""

    text: str
    label: str | None = None


@dataclasses.dataclass(frozen=True)
class Lines:
    """Examples, small enough for memory."""

    name: str
    splits: dict[str, list[Line]]


@dataclasses.dataclass(frozen=True)
class Stream:
    """Documents of any size; each split can be read again and again."""

    name: str
    splits: dict[str, Callable[[], Chunks]]


def text_hash(text: str) -> int:
    """64 bits that depend on nothing but the text."""
    return data_hash(utf8(text))


def data_hash(data: bytes) -> int:
    """64 bits that depend on nothing but the data."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


@dataclasses.dataclass(frozen=True)
class Parts(config.Data):
    """What is held out of pictures, sounds and videos, and whether a model is told their labels."""

    labels: bool = True
    """Condition on the examples' labels, if they have any."""
    validation: float = 0.15
    """Share of the training examples held out for validation, if the set has no such split."""
    test: float = 0.15
    """Share held out for the test, likewise."""
    probe: float = 0.1
    """Share held out for the feature network of the evaluation, likewise."""


WHOLE = {"validation": 0.0, "test": 0.0, "probe": 0.0}  # nothing is held out


def shares(cfg: Any, *names: str) -> dict[str, float]:
    """The share of each of these splits that a configuration holds out. Raises UserError for shares
    that are none, or leave nothing for training."""
    found = {name: getattr(cfg, name) for name in names}
    if min(found.values()) < 0 or sum(found.values()) >= 1:
        *most, last = (f"--data.{name} {share}" for name, share in found.items())
        raise UserError(
            f"{', '.join(most)} and {last} must be at least 0 and leave something for training"
        )
    return found


def own_folders(folder: Path) -> dict[str, Path]:
    """The folders of the splits that a folder has itself; else it is the training split's."""
    names = {file.name for file in folder.iterdir() if file.is_dir() and file.name[0] != "."}
    if "train" in names and names <= set(SPLITS):
        return {name: folder / name for name in SPLITS if name in names}
    return {"train": folder}


def split_of(hash_: int, shares: dict[str, float]) -> str:
    """The split of an example, by its hash: about the given shares, and "train" for the rest.

    The example alone decides, so equal ones share a split, and none moves when others are added.
    """
    bounds = zip(shares, itertools.accumulate(shares.values()), strict=True)
    return next((name for name, stop in bounds if hash_ / 2**64 < stop), "train")


def split_by_hash(lines: list[Line], shares: dict[str, float]) -> dict[str, list[Line]]:
    """Moves about the given shares of the lines into splits of their own; see `split_of`."""
    if not shares:
        return {"train": lines}
    splits = {"train": [], **{name: [] for name in shares}}
    for line in lines:
        splits[split_of(text_hash(line.text), shares)].append(line)
    return splits


# --- embedded ----------------------------------------------------------------------------------


def embedded(name: str) -> Lines:
    """An embedded set, split 90 : 5 : 5 by the hash of the text. Raises UserError if unknown."""
    if name not in EMBEDDED:
        raise UserError(f"no embedded set '{name}'; {config.nearest(name, sorted(EMBEDDED))}")
    return Lines(name, split_by_hash(EMBEDDED[name](), {"validation": 0.05, "test": 0.05}))


def _names() -> list[Line]:
    """United States names by kind, from the 1990 census, as the PyPI package `names` has them."""
    folder = Path(importlib.import_module("names").__file__).parent
    files = {"surname": "dist.all.last", "female": "dist.female.first", "male": "dist.male.first"}
    rows = (
        Line(row.split()[0].title(), kind)
        for kind, file in files.items()
        for row in (folder / file).read_text().splitlines()
    )
    return list(dict.fromkeys(rows))


EMBEDDED = {"names": _names}


# --- the user's own files ----------------------------------------------------------------------


def files(path: str, unit: str) -> Lines | Stream:
    """A file, or all .txt, .jsonl and .csv files of a folder, recursively and in sorted order.

    `unit` "stream": every .txt file, and every `text` of the others, is a document. "line": every
    non-blank line, and every `text` of the others, is an example. "auto": a stream if all files
    are plain text. Raises UserError for what cannot be found or read.
    """
    paths = _find(Path(path).expanduser())
    rows = [file for file in paths if file.suffix in (".jsonl", ".csv")]
    if unit == "line" or (unit == "auto" and rows):
        return Lines(path, {"train": [line for file in paths for line in _read_lines(file)]})
    return Stream(path, {"train": lambda: _join(doc for file in paths for doc in _documents(file))})


def not_found(path: Path) -> UserError:
    """That there is no such file or folder, with the names that are like it."""
    siblings = os.listdir(path.parent) if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, 3, 0.5)
    meant = f"; near it: {', '.join(close)}" if close else ""
    return UserError(f"no such file or folder: {path}{meant}")


def _find(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise not_found(path)
    found = [
        file
        for file in sorted(path.rglob("*"))
        if file.suffix in SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]
    if not found:
        raise UserError(f"folder {path} holds no {', '.join(SUFFIXES)} file")
    return found


def _documents(path: Path) -> Iterator[Iterable[str]]:
    if path.suffix in (".jsonl", ".csv"):
        yield from ([line.text] for line in _read_lines(path))
    else:
        yield _read_chunks(path)


def _join(documents: Iterable[Iterable[str]]) -> Chunks:
    for i, document in enumerate(documents):
        if i:
            yield None
        yield from document


def _read_chunks(path: Path) -> Iterator[str]:
    r"""The text of a file: a byte order mark is dropped, \r\n and \r become \n."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    position = 0
    try:
        with path.open("rb") as file:
            while data := file.read(CHUNK_BYTES):
                text = newlines.decode(decoder.decode(data))
                yield text.removeprefix("\ufeff") if position == 0 else text
                position += len(data)
            yield newlines.decode(decoder.decode(b"", final=True), final=True)
    except UnicodeDecodeError as error:
        start = position - (len(error.object) - len(data)) + error.start
        raise UserError(f"{path} is not UTF-8: {error.reason} at byte {start}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None


def _raw_lines(path: Path) -> Iterator[str]:
    r"""The lines of a file, each with its \n; no other character ends a line."""
    rest = ""
    for chunk in _read_chunks(path):
        *lines, rest = (rest + chunk).split("\n")
        yield from (line + "\n" for line in lines)
    if rest:
        yield rest


def _read_lines(path: Path) -> Iterator[Line]:
    if path.suffix == ".jsonl":
        yield from _read_jsonl(path)
    elif path.suffix == ".csv":
        yield from _read_csv(path)
    else:
        yield from (Line(raw.rstrip("\n")) for raw in _raw_lines(path) if raw.strip())


def _read_jsonl(path: Path) -> Iterator[Line]:
    for number, raw in enumerate(_raw_lines(path), 1):
        if raw.strip():
            try:
                row = json.loads(raw)
            except json.JSONDecodeError as error:
                raise UserError(f"{path} line {number} is not JSON: {error.msg}") from None
            yield _line(row, f"{path} line {number}")


def _read_csv(path: Path) -> Iterator[Line]:
    csv.field_size_limit(1 << 30)
    reader = csv.DictReader(_raw_lines(path), strict=True)
    try:
        for row in reader:
            yield _line(row, f"{path} line {reader.line_num}")
    except csv.Error as error:
        line = reader.reader.line_num  # DictReader's own counts only the rows that were read
        raise UserError(f"{path} line {line} is not CSV: {error}") from None


def _line(row: object, place: str) -> Line:
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        there = f"; it has {', '.join(map(str, row))}" if isinstance(row, dict) else ""
        raise UserError(f"{place} has no `text`{there}")
    try:
        utf8(row["text"])
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    label = row.get("label")
    return Line(row["text"], None if label in (None, "") else str(label))


# --- TensorFlow Datasets -----------------------------------------------------------------------


def prepared(name: str, folder: str, feature: str):
    """The builder of a prepared TFDS set with a `feature`; needs no TensorFlow, no network.

    Raises UserError for a set that is not prepared (with the command that does it), without the
    feature, or without a train split.
    """
    root = Path(folder or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()
    found = list(root.glob(f"{name.replace(':', '/')}/**/dataset_info.json"))
    if not found:
        have = sorted({path.relative_to(root).parts[0] for path in root.glob("*/**/features.json")})
        raise UserError(
            f"TFDS set '{name}' is not prepared in {root} (there: {', '.join(have) or 'none'}); "
            "prepare it once: pip install 'creagen_jax[tfds]' && python -c \"import "
            f"tensorflow_datasets as tfds; tfds.builder('{name}', data_dir='{root}', "
            "file_format='array_record').download_and_prepare()\""
        )
    import tensorflow_datasets  # 0.3 s, and only needed here

    newest = max(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path.parent.name)])
    builder = tensorflow_datasets.builder_from_directory(newest.parent)
    info = builder.info
    if feature not in info.features:
        have = ", ".join(sorted(info.features))
        raise UserError(f"TFDS set '{name}' has no feature `{feature}`; it has {have}")
    if info.file_format.value != "array_record":
        raise UserError(
            f"TFDS set '{name}' is stored as {info.file_format.value}, which needs "
            "TensorFlow; prepare it again with file_format='array_record'"
        )
    if "train" not in info.splits:
        raise UserError(f"TFDS set '{name}' has no train split; it has {', '.join(info.splits)}")
    return builder


def own_splits(builder) -> list[str]:
    """Those of SPLITS that a TFDS set has."""
    return [split for split in SPLITS if split in builder.info.splits]


def label_names(builder) -> Callable[[dict], str | None]:
    """From an example of a TFDS set to the name of its label; None if it has none."""
    features = builder.info.features
    if "label" not in features:
        return lambda row: None
    name_of = getattr(features["label"], "int2str", str)
    return lambda row: name_of(row["label"])


def tfds(name: str, folder: str, unit: str) -> Lines | Stream:
    """A prepared TFDS set with a `text` and perhaps a `label`.

    `unit` "auto": a stream if every split is one text, else lines. Raises UserError as `prepared`.
    """
    builder = prepared(name, folder, "text")
    label_of, splits = label_names(builder), own_splits(builder)

    def read(split: str) -> Iterator[Line]:
        for row in builder.as_data_source(split):
            yield Line(row["text"].decode(), label_of(row))

    one_text = all(builder.info.splits[split].num_examples == 1 for split in splits)
    if unit == "line" or (unit == "auto" and not one_text):
        return Lines(name, {split: list(read(split)) for split in splits})

    def chunks(split: str) -> Chunks:
        return _join([line.text] for line in read(split))

    return Stream(name, {split: lambda split=split: chunks(split) for split in splits})
