"""Where pictures come from: embedded sets, the user's own files, TensorFlow Datasets.

A source has splits of its own ("train", "validation", "test"), or only "train", to be cut later.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import io
import json
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from creagen_jax import config
from creagen_jax.data import sources
from creagen_jax.types import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
METADATA = "metadata.jsonl"
BLOCK = 1024  # pictures that a TFDS set is asked for at once


class Example(NamedTuple):
    """One example, not yet decoded."""

    name: str  # to find it by, if it is damaged
    label: str | None
    read: Callable[[], Any]  # a picture, or a sound ...; may raise anything if it is damaged
    group: int | None = None  # 64 bits that decide the split, instead of the pixels


@dataclasses.dataclass(frozen=True)
class Source:
    """Pictures; each split can be read again and again."""

    name: str
    splits: dict[str, Callable[[], Iterable[Example]]]
    count: int  # pictures in all splits
    files: tuple[Path, ...] = ()  # what it depends on
    shape: tuple[int, int, int] | None = None  # H, W, C of all pictures, where known beforehand
    noun: str = "picture"  # what an example is called


def _arrays(
    name: str, splits: dict[str, tuple[np.ndarray, np.ndarray | None]], files: tuple[Path, ...] = ()
) -> Source:
    """A source of uint8 arrays [N, H, W] or [N, H, W, C], each with its labels [N] or None."""

    def read(split: str) -> Iterator[Example]:
        images, labels = splits[split]
        for i, image in enumerate(images):
            label = None if labels is None else str(labels[i])
            pixels = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
            yield Example(f"{split} {i}", label, functools.partial(Image.fromarray, pixels))

    images = [images for images, _ in splits.values()]
    shapes = {(*array.shape[1:], 1)[:3] for array in images}
    return Source(
        name,
        {split: functools.partial(read, split) for split in splits},
        sum(map(len, images)),
        files,
        shapes.pop() if len(shapes) == 1 else None,
    )


# --- embedded ----------------------------------------------------------------------------------


def embedded(name: str) -> Source:
    """An embedded set. Raises UserError if unknown."""
    if name not in EMBEDDED:
        raise UserError(f"no embedded set '{name}'; {config.nearest(name, sorted(EMBEDDED))}")
    return _arrays(name, {"train": EMBEDDED[name]()})


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 handwritten digits of 8x8 pixels, 0..16, as scikit-learn has them."""
    from sklearn.datasets import load_digits  # half a second, and only needed here

    digits = load_digits()
    return np.round(digits.images * 255 / 16).astype(np.uint8), digits.target


EMBEDDED = {"digits": _digits}


# --- the user's own files ----------------------------------------------------------------------


def files(path: str) -> Source:
    """A folder of pictures, a folder or prefix of IDX files, or one .npz.

    A folder: with metadata.jsonl (`file_name`, perhaps `label`), with sub-folders as classes, or
    of loose pictures; or with a sub-folder `train` (and perhaps `validation`, `test`), each of
    them such a folder. Raises UserError for what cannot be found or read.
    """
    place = Path(path).expanduser()
    if place.suffix == ".npz" and place.is_file():
        return _npz(place)
    if found := _find_idx(place):
        return _idx(path, found)
    if place.is_dir():
        return _folder(place)
    if place.is_file():
        raise UserError(f"{path} is one file; choose a folder of pictures, or an .npz")
    raise sources.not_found(place)


def holds_pictures(path: str) -> bool:
    """Whether `files` would find pictures at a path."""
    place = Path(path).expanduser()
    if place.suffix == ".npz" or _find_idx(place):
        return True
    return place.is_dir() and any(each.suffix.lower() in SUFFIXES for each in place.rglob("*"))


def _folder(folder: Path) -> Source:
    rows = {split: _rows(part) for split, part in sources.own_folders(folder).items()}
    if not rows["train"]:
        raise UserError(f"folder {folder} holds no {', '.join(SUFFIXES)} file")

    def read(split: str) -> Iterator[Example]:
        for file, label in rows[split]:
            name = os.path.relpath(file, folder)
            yield Example(name, label, functools.partial(Image.open, file))

    return Source(
        str(folder),
        {split: functools.partial(read, split) for split in rows},
        sum(map(len, rows.values())),
        (*folder.rglob(METADATA), *(file for split in rows for file, _ in rows[split])),
    )


def _rows(folder: Path) -> list[tuple[Path, str | None]]:
    """The picture files of a folder, each with its label."""
    if (folder / METADATA).is_file():
        return [(folder / name, label) for name, label in metadata(folder / METADATA)]
    found = sorted(file.relative_to(folder) for file in folder.rglob("*"))
    return [
        (folder / file, file.parts[0] if len(file.parts) > 1 else None)
        for file in found
        if file.suffix.lower() in SUFFIXES
        and (folder / file).is_file()
        and not any(part.startswith(".") for part in file.parts)
    ]


def metadata(path: Path) -> Iterator[tuple[str, str | None]]:
    """The `file_name` and the `label` of each row."""
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path} line {number} is not JSON: {error}") from None
        if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
            raise UserError(f"{path} line {number} has no `file_name`")
        label = row.get("label")
        yield row["file_name"], None if label in (None, "") else str(label)


NPZ = (  # a split, its pictures and its labels; what comes first is taken
    ("train", "images", "labels"),
    ("train", "x", "y"),
    ("train", "x_train", "y_train"),
    ("test", "x_test", "y_test"),
)


def _npz(path: Path) -> Source:
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no .npz file")
    try:
        with np.load(path) as file:
            have, splits = file.files, {}
            for split, images, labels in NPZ:
                if split not in splits and images in have:
                    splits[split] = file[images], _labels(file, labels)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    if "train" not in splits:
        raise UserError(
            f"{path} holds no `images`, `x` or `x_train`; it holds {', '.join(have) or 'nothing'}"
        )
    for images, labels in splits.values():
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape[1:]:
            raise UserError(
                f"{path}: the pictures are {images.dtype} {list(images.shape)}; they must be "
                "uint8 [N, H, W] or [N, H, W, C]"
            )
        if images.shape[3:] not in ((), (1,), (3,), (4,)):
            raise UserError(f"{path}: {images.shape[3]} channels; choose 1, 3 or 4")
        _check_labels(path, images, labels)
    return _arrays(str(path), splits, (path,))


def _labels(file: np.lib.npyio.NpzFile, name: str) -> np.ndarray | None:
    """None if there are none, or all are -1, as sample.py writes it for a model without classes."""
    labels = file[name].ravel() if name in file.files else None
    return None if labels is None or (labels == -1).all() else labels


def _check_labels(path: Path, images: np.ndarray, labels: np.ndarray | None) -> None:
    if labels is not None and len(labels) != len(images):
        raise UserError(f"{path}: {len(labels)} labels of {len(images)} pictures")


IDX = {"train": "train", "test": "(t10k|test)"}  # a split, and what its files are called


def _find_idx(place: Path) -> dict[str, list[Path]]:
    """The IDX files of a folder, or with a prefix: for each split the pictures, then the labels."""
    folder, prefix = (place, "") if place.is_dir() else (place.parent, place.name)
    names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []

    def find(stem: str, kind: str) -> list[Path]:
        pattern = rf"{re.escape(prefix)}-?{stem}-{kind}[-.]idx\d-ubyte(\.gz)?"
        return [folder / name for name in names if re.fullmatch(pattern, name)][:1]

    found = {
        split: [*images, *find(stem, "labels")]
        for split, stem in IDX.items()
        if (images := find(stem, "images"))
    }
    return found if "train" in found else {}


def _idx(name: str, found: dict[str, list[Path]]) -> Source:
    splits = {}
    for split, (path, *labels) in found.items():
        images = _read_idx(path, dimensions=3)
        splits[split] = images, _read_idx(labels[0], dimensions=1) if labels else None
        _check_labels(path, *splits[split])
    return _arrays(name, splits, tuple(path for paths in found.values() for path in paths))


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    """A uint8 array of the IDX format: 0 0 8 D, then D sizes of 4 bytes, then the values."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    start = 4 + 4 * dimensions
    if data[:4] != bytes([0, 0, 8, dimensions]) or len(data) < start:
        raise UserError(f"{path} is no IDX file of bytes in {dimensions} dimensions")
    sizes = struct.unpack(f">{dimensions}I", data[4:start])
    if len(data) - start != math.prod(sizes) or 0 in sizes:
        shape = " x ".join(map(str, sizes))
        raise UserError(f"{path} is damaged: it holds {len(data) - start} bytes of {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(sizes)


# --- TensorFlow Datasets -----------------------------------------------------------------------


def tfds(name: str, folder: str) -> Source:
    """A prepared TFDS set with an `image` and perhaps a `label`; needs no TensorFlow, no network.

    Raises UserError for a set that is not prepared (with the command that does it), or without
    pictures.
    """
    builder = sources.prepared(name, folder, "image")
    from tensorflow_datasets import decode  # as in `prepared`

    skip = {"image": decode.SkipDecoding()}
    name_of = sources.label_names(builder)

    def read(split: str) -> Iterator[Example]:
        rows = builder.as_data_source(split, decoders=skip)
        for first in range(0, len(rows), BLOCK):
            block = range(first, min(first + BLOCK, len(rows)))
            for i, row in zip(block, rows.__getitems__(list(block)), strict=True):
                yield Example(f"{split} {i}", name_of(row), functools.partial(_open, row["image"]))

    infos = {split: builder.info.splits[split] for split in sources.own_splits(builder)}
    shape = builder.info.features["image"].shape
    return Source(
        name,
        {split: functools.partial(read, split) for split in infos},
        sum(info.num_examples for info in infos.values()),
        tuple(sorted(path for path in Path(builder.data_dir).iterdir())),
        None if None in shape else shape,
    )


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))
