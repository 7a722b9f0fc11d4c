"""From a picture source to uint8 arrays: decode, cut, split, describe.

A large set is decoded once, into cached files that are mapped into memory, so that memory does not
grow with it.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from tqdm import tqdm

from creagen_jax.data import caching, sources
from creagen_jax.data.corpus import missing
from creagen_jax.data.cutting import Cut, DamagedError, measure
from creagen_jax.data.image_sources import Source
from creagen_jax.data.labels import in_order
from creagen_jax.types import UserError

SPLITS = (*sources.SPLITS, "probe")
MEMORY_BYTES = 1 << 28  # sets of more than this, as files or decoded, are kept in a cached file
CACHE_FORMAT = 1  # part of the name of a cached set; to be raised when its contents change
DAMAGED = 0.01  # the share of damaged pictures above which a set is refused
NAMED = 5  # damaged pictures named on the screen


class Split(NamedTuple):
    """The pictures of one split."""

    images: np.ndarray  # [N, H, W, C] uint8
    labels: np.ndarray | None  # [N] int32


@dataclasses.dataclass(frozen=True, eq=False)
class Store:
    """A source as arrays."""

    splits: dict[str, Split]
    labels: tuple[str, ...]  # the name of each label; empty if there are none
    fingerprint: dict


def shape_of(source: Source, height: int, width: int, color: str) -> tuple[int, int, int]:
    """H, W, C of what a source is to become; 0 and "auto" are what its pictures have.

    Raises UserError if they have several sizes and none is asked for.
    """
    channels = {"grey": 1, "rgb": 3}.get(color)
    height, width = height or width, width or height
    if height and channels:
        return height, width, channels
    if source.shape:
        sizes, grey = {source.shape[:2]}, source.shape[2] == 1
    else:
        sizes, grey = _measure(source)
    if not height:
        if len(sizes) > 1:
            low, high = min(sizes), max(sizes)
            raise UserError(
                f"{source.name} has pictures of {len(sizes)} sizes, from {low[0]}x{low[1]} to "
                f"{high[0]}x{high[1]} (height x width); choose one with --data.height"
            )
        height, width = sizes.pop()
    return height, width, channels or (1 if grey else 3)


def _measure(source: Source) -> tuple[set[tuple[int, int]], bool]:
    """The sizes of all pictures, and whether all are grey."""
    sizes, grey = set(), True
    for read in source.splits.values():
        for picture in read():
            with contextlib.suppress(DamagedError):  # it is counted when it is decoded
                height, width, is_grey = measure(picture.read)
                sizes.add((height, width))
                grey &= is_grey
    if not sizes:
        raise UserError(f"{source.name} has no picture that can be read")
    return sizes, grey


def build(
    source: Source, cut: Cut, shares: dict[str, float], *, labelled: bool, cache: Path
) -> Store:
    """The arrays of a source, and `shares` of its training pictures as splits that it lacks.

    The pixels alone decide the split, so equal pictures share one, or the group where a picture has
    one. Raises UserError for too many damaged pictures, a split without any, or labels that some
    lack.
    """
    cuts = missing(shares, source.splits)
    names = [name for name in SPLITS if name in (*source.splits, *cuts)]
    stats = [(str(file), *_size_and_time(file)) for file in source.files]
    n_bytes = max(source.count * math.prod(cut.shape), sum(size for _, size, _ in stats))
    if n_bytes <= MEMORY_BYTES:
        files = {name: io.BytesIO() for name in names}
        about = _decode(source, cut, cuts, files)
        data = {name: np.frombuffer(file.getbuffer(), np.uint8) for name, file in files.items()}
    else:
        settings = [CACHE_FORMAT, dataclasses.astuple(cut), cuts, source.name, stats]
        place = cache / hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:16]
        caching.make(place, lambda folder: _fill(source, cut, cuts, names, folder))
        about = json.loads((place / "about.json").read_text())
        data = {name: np.memmap(place / f"{name}.bin", np.uint8, "r") for name in names}

    labels = _label_names(source, about["labels"]) if labelled else ()
    splits, described = {}, about["splits"]
    for name in names:
        ids = None
        if labels:
            id_of = {label: i for i, label in enumerate(labels)}
            ids = np.array([id_of[label] for label in about["labels"][name]], np.int32)
            counts = np.bincount(ids, minlength=len(labels)).tolist()
            described[name]["labels"] = dict(zip(labels, counts, strict=True))
        splits[name] = Split(data[name].reshape(-1, *cut.shape), ids)
    fingerprint = {
        "source": source.name,
        "sha256": about["sha256"],
        "shape": list(cut.shape),
        "splits": described,
        "own_splits": sorted(source.splits),
        "damaged": about["damaged"],
    }
    return Store(splits, labels, fingerprint)


def _size_and_time(file: Path) -> tuple[int, int]:
    if not file.is_file():  # metadata.jsonl names it, but it is not there
        return 0, 0
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


def _label_names(source: Source, labels: dict[str, list[str | None]]) -> tuple[str, ...]:
    counts = collections.Counter(label for split in labels.values() for label in split)
    bare = counts.pop(None, 0)
    if counts and bare:
        raise UserError(
            f"{source.name}: {bare} of {bare + counts.total()} {source.noun}s have no label; give "
            "every one a label, or use --data.no_labels"
        )
    return in_order(set(counts))


def _fill(source: Source, cut: Cut, cuts: dict[str, float], names: list[str], folder: Path) -> None:
    with contextlib.ExitStack() as stack:
        files = {name: stack.enter_context((folder / f"{name}.bin").open("wb")) for name in names}
        about = _decode(source, cut, cuts, files)
    (folder / "about.json").write_text(json.dumps(about))


def _decode(
    source: Source, cut: Cut, cuts: dict[str, float], files: dict[str, BinaryIO]
) -> dict[str, Any]:
    """Writes the pixels of each split into its file. Returns the rest, ready for JSON."""
    digest = hashlib.sha256(repr(cut.shape).encode())
    labels, hashes = {name: [] for name in files}, {name: [] for name in files}
    damaged = {}
    pictures = ((split, picture) for split, read in source.splits.items() for picture in read())
    bar = tqdm(
        pictures,
        f"{source.noun}s",
        source.count,
        disable=None,
        leave=False,
        delay=2,
        unit=source.noun,
    )
    for split, picture in bar:
        try:
            data = cut(picture.read).tobytes()
        except DamagedError as error:
            damaged[picture.name] = str(error)
            continue
        hash_ = sources.data_hash(data)
        decides = hash_ if picture.group is None else picture.group
        name = sources.split_of(decides, cuts) if split == "train" else split
        files[name].write(data)
        labels[name].append(picture.label)
        hashes[name].append(hash_)
        digest.update(json.dumps([name, picture.label]).encode())
        digest.update(data)
    if len(damaged) > DAMAGED * source.count:
        reasons = [f"{name} ({reason})" for name, reason in damaged.items()]
        raise UserError(
            f"{source.name}: {len(damaged)} of {source.count} {source.noun}s are damaged: "
            f"{first(reasons)}; repair or remove them"
        )
    return {
        "labels": labels,
        "splits": _describe(source, {k: np.array(v, np.uint64) for k, v in hashes.items()}),
        "sha256": digest.hexdigest(),
        "damaged": list(damaged),
    }


def _describe(source: Source, hashes: dict[str, np.ndarray]) -> dict[str, dict[str, int]]:
    """Counts of each split. Raises UserError if one cannot be used."""
    described, train = {}, np.unique(hashes["train"])
    if len(train) < 2:
        raise UserError(
            f"{source.name} needs at least 2 different {source.noun}s to train on; it has "
            f"{len(train)}"
        )
    for name, hashes_N in hashes.items():
        if not len(hashes_N):
            total = sum(map(len, hashes.values()))
            raise UserError(
                f"{source.name}: the {name} split needs at least 1 of the {total} {source.noun}s "
                f"and got none; give more {source.noun}s, or use --data.{name} 0"
            )
        described[name] = {
            "examples": len(hashes_N),
            "duplicates": len(hashes_N) - len(np.unique(hashes_N)),
        }
        if name != "train":
            described[name]["also_in_train"] = int(np.isin(hashes_N, train).sum())
    return described


def first(names: list[str]) -> str:
    """The first of some names, and whether there are more."""
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
