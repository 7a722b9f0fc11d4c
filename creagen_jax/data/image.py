"""Pictures as arrays: decoded and cut once, kept as uint8, augmented as they are drawn."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
from PIL import Image

from creagen_jax.data import (
    batching,
    caching,
    cutting,
    image_sources,
    image_store,
    labels,
    pictures,
    sources,
)
from creagen_jax.data.cutting import Cut
from creagen_jax.data.image_store import Split
from creagen_jax.types import Spec, UserError


@dataclasses.dataclass(frozen=True)
class Config(cutting.Framed, sources.Parts):
    """Where the pictures are, how each becomes an array, and how they are augmented."""

    source: str = "digits"
    """Embedded set; used if neither path nor tfds is given."""
    path: str = ""
    """Folder of pictures (sub-folders are classes, or metadata.jsonl names them), folder or prefix
    of IDX files, or .npz; goes before tfds and source."""
    tfds: str = ""
    """Name of a prepared TensorFlow Datasets set with an `image` feature; goes before source."""
    tfds_dir: str = ""
    """Folder of prepared TFDS sets; empty for $TFDS_DATA_DIR or ~/tensorflow_datasets."""
    color: Literal["auto", "grey", "rgb"] = "auto"
    """One channel or three; auto: grey if all pictures are."""


@dataclasses.dataclass(frozen=True)
class Codec:
    """What sampling needs of the data: between uint8 pictures and the values of a model."""

    labels: tuple[str, ...]  # the name of each label; empty if unconditional
    label_shares: tuple[float, ...]  # how often each stands in the training split; sums to 1
    shape: tuple[int, int, int]  # H, W, C
    background: str
    fit: str
    augment: int  # A

    suffix = ".png"
    writer = staticmethod(pictures.folder_writer)

    def visible(self, images: np.ndarray) -> np.ndarray:
        """The pictures themselves."""
        return images

    def label_id(self, name: str) -> int:
        """The id of a label. Raises UserError for an unknown one."""
        return labels.label_id(self.labels, name)

    def encode(self, image: np.ndarray) -> np.ndarray:
        """uint8 of any shape as float32 in -1 .. 1."""
        return image.astype(np.float32) / 127.5 - 1

    def decode(self, x: np.ndarray) -> np.ndarray:
        """The inverse of `encode`; what lies outside -1 .. 1 is clipped."""
        return np.round((np.asarray(x, np.float32).clip(-1, 1) + 1) * 127.5).astype(np.uint8)

    def read(self, path: str | os.PathLike) -> np.ndarray:
        """[H, W, C] float32: a picture, cut as those of the training.

        Raises UserError for a file that is no picture.
        """
        return self.encode(_read(path, Cut(self.shape, self.background, self.fit)))

    def read_mask(self, path: str | os.PathLike) -> np.ndarray:
        """[H, W, 1] float32: 1 where a picture, cut as those of the training, is rather white.

        Raises UserError for a file that is no picture.
        """
        grey = _read(path, Cut((*self.shape[:2], 1), "black", self.fit))
        return (grey >= 128).astype(np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures, split and ready to be batched."""

    cfg: Config
    codec: Codec
    splits: dict[str, Split]  # "train", and "validation", "test" and "probe" where there are such
    fingerprint: dict

    def spec(self, batch_size: int) -> Spec:
        """What a model must know."""
        codec = self.codec
        return Spec(shape=codec.shape, classes=len(codec.labels), augment=codec.augment)


def load(cfg: Config, *, cache: str | os.PathLike | None = None) -> Dataset:
    """Reads, cuts and splits. Sets that are large when decoded are kept in the `cache` folder.

    `cache` is $XDG_CACHE_HOME/creagen_jax or ~/.cache/creagen_jax unless given. Raises UserError
    for data that cannot be found, read, or used as `cfg` asks.
    """
    shares = sources.shares(cfg, "validation", "test", "probe")
    cutting.check(cfg)
    if cfg.path:
        source = image_sources.files(cfg.path)
    elif cfg.tfds:
        source = image_sources.tfds(cfg.tfds, cfg.tfds_dir)
    else:
        source = image_sources.embedded(cfg.source)
    shape = image_store.shape_of(source, cfg.height, cfg.width, cfg.color)
    if cfg.shift >= min(shape[:2]):
        raise UserError(
            f"--data.shift {cfg.shift} moves pictures of {shape[0]}x{shape[1]} out of the frame"
        )
    store = image_store.build(
        source,
        Cut(shape, cfg.background, cfg.fit),
        shares,
        labelled=cfg.labels,
        cache=caching.folder(cache),
    )
    ids = store.splits["train"].labels
    shares = () if ids is None else np.bincount(ids, minlength=len(store.labels)) / len(ids)
    codec = Codec(
        labels=store.labels,
        label_shares=tuple(map(float, shares)),
        shape=shape,
        background=cfg.background,
        fit=cfg.fit,
        augment=int(cfg.flip) + 2 * (cfg.shift > 0),
    )
    return Dataset(cfg, codec, store.splits, store.fingerprint)


def like(codec: Codec, path: str) -> tuple[ModuleType, Dataset]:
    """Other pictures, cut as those of a codec are, all in "train". Raises UserError as `load`."""
    height, width, channels = codec.shape
    color = "grey" if channels == 1 else "rgb"
    frame = {"height": height, "width": width, "color": color}
    cut = {"background": codec.background, "fit": codec.fit}
    return sys.modules[__name__], load(Config(path=path, **frame, **cut, **sources.WHOLE))


# --- batches -----------------------------------------------------------------------------------


def windows(dataset: Dataset, split: str, overlap: int = 0) -> int:
    """How many pictures a split has; they do not overlap."""
    return len(dataset.splits[split].images)


def train_batch(dataset: Dataset, *, seed: int, step: int, size: int) -> dict[str, np.ndarray]:
    """The batch of a step (see `Spec`): a pure function of (seed, step).

    Every picture comes once an epoch, in a new order and augmented anew.
    """
    split = dataset.splits["train"]
    index_B = batching.shuffled(len(split.images), seed=seed, step=step, size=size)
    images_BHWC = split.images[index_B]
    batch = {}
    if dataset.codec.augment:
        images_BHWC, batch["augment"] = _augment(images_BHWC, dataset.cfg, (seed, step, 1))
    return {**_batch(dataset, split, images_BHWC, index_B), **batch}


def eval_batches(
    dataset: Dataset, split: str, *, size: int, limit: int | None = None, overlap: int | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """The batches that hold every picture of a split once, as it is, or `limit` evenly spaced ones.

    The last batch is padded with rows of mask 0. `overlap` is for data that is cut into windows.
    Raises UserError for a split that the data does not have.
    """
    if split not in dataset.splits:
        choices = ", ".join(dataset.splits)
        raise UserError(f"the data has no {split} split; choose one of {choices}")
    pictures = dataset.splits[split]
    index = batching.spaced(len(pictures.images), limit)
    for first in range(0, len(index), size):
        index_B = index[first : first + size]
        batch = _batch(dataset, pictures, pictures.images[index_B], index_B)
        if dataset.codec.augment:
            batch["augment"] = np.zeros((len(index_B), dataset.codec.augment), np.float32)
        batch["mask"] = np.ones(len(index_B), np.float32)
        yield batching.pad(batch, size)


def _batch(
    dataset: Dataset, split: Split, images_BHWC: np.ndarray, index_B: np.ndarray
) -> dict[str, np.ndarray]:
    batch = {"x": dataset.codec.encode(images_BHWC)}
    if split.labels is not None:
        batch["condition"] = split.labels[index_B]
    return batch


def _augment(
    images_BHWC: np.ndarray, cfg: Config, seed: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """The pictures, mirrored and then shifted at random, and what was done to each, [B, A].

    That is: 1 if mirrored (if `cfg.flip`); the shift to the right and down as shares of
    `cfg.shift` (if there is any).
    """
    B, H, W, _ = images_BHWC.shape
    rng = np.random.default_rng(seed)
    flip_B = rng.integers(2, size=B) * cfg.flip
    shift_B2 = rng.integers(-cfg.shift, cfg.shift, size=(B, 2), endpoint=True)
    column_BW = (np.arange(W) - shift_B2[:, :1]).clip(0, W - 1)  # repeats the pixels of the edge
    column_BW = np.where(flip_B[:, None], W - 1 - column_BW, column_BW)
    row_BH = (np.arange(H) - shift_B2[:, 1:]).clip(0, H - 1)
    moved = images_BHWC[np.arange(B)[:, None, None], row_BH[:, :, None], column_BW[:, None, :]]
    numbers = [flip_B[:, None]] * cfg.flip + [shift_B2 / max(cfg.shift, 1)] * (cfg.shift > 0)
    return moved, np.concatenate(numbers, axis=1).astype(np.float32)


# --- what is said about it ----------------------------------------------------------------------


def describe(dataset: Dataset) -> str:
    """The fingerprint for a person to read, a line for each split."""
    about = dataset.fingerprint
    height, width, channels = about["shape"]
    lines = [
        f"data: {about['source']}, pictures of {height}x{width}, "
        f"{'grey' if channels == 1 else 'rgb'}; sha256 {about['sha256'][:12]}"
    ]
    lines += labels.describe(about["splits"])
    if damaged := about["damaged"]:
        lines.append(f"  skipped    {len(damaged):,} damaged: {image_store.first(damaged)}")
    return "\n".join(lines)


def units(totals: dict[str, float]) -> dict[str, float]:
    """Means over the examples, from sums and their `weight`."""
    weight = float(totals["weight"])
    return {name: float(total) / weight for name, total in totals.items() if name != "weight"}


# --- what a run keeps --------------------------------------------------------------------------


def save(dataset: Dataset, folder: str | os.PathLike) -> None:
    """Writes what `load_codec` reads."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "codec.json").write_text(json.dumps(dataclasses.asdict(dataset.codec)))


def load_codec(folder: str | os.PathLike) -> Codec:
    """What sampling needs. Raises UserError if it is not there."""
    try:
        fields = json.loads((Path(folder) / "codec.json").read_text())
    except FileNotFoundError:
        raise UserError(f"no codec.json in {folder}") from None
    return Codec(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})


def _read(path: str | os.PathLike, cut: Cut) -> np.ndarray:
    try:
        return cut(lambda: Image.open(path))
    except cutting.DamagedError as error:
        raise UserError(f"cannot read {path}: {error}") from None
