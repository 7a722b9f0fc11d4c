"""Video as arrays: clips of a few frames, cut once, kept as uint8, augmented as they are drawn.

A clip [F, H, W, C] is kept, batched, augmented and compared as a picture [H, W, F * C], whose
channels are those of all frames: so it is `image` that does most of the work.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
from PIL import Image

from creagen_jax.data import (
    caching,
    cutting,
    image,
    image_store,
    labels,
    pictures,
    sources,
    video_files,
    video_sources,
)
from creagen_jax.data.image_store import Split
from creagen_jax.data.video_sources import Cut
from creagen_jax.types import Spec, UserError

LINE = 1  # pixels between two frames that are shown side by side


@dataclasses.dataclass(frozen=True)
class Config(cutting.Framed, sources.Parts):
    """Where the videos are, how each becomes clips, and how these are augmented."""

    source: str = "moving_digits"
    """Embedded set, used if no path is given."""
    path: str = ""
    """Folder of .gif, .webp and, with the extra `video`, .mp4 and the like, and of folders of
    frames; sub-folders are classes, or metadata.jsonl names them; goes before source."""
    frames: int = 8
    """F, of a clip: longer videos give several, a shorter one holds its last frame."""
    every: int = 1
    """Of a video every so many-th frame is taken."""
    color: Literal["grey", "rgb"] = "rgb"
    """One channel or three."""
    seconds: float = 0.1
    """Of a frame, in files that are written."""


@dataclasses.dataclass(frozen=True)
class Codec:
    """What sampling needs of the data: between uint8 clips and the values of a model."""

    labels: tuple[str, ...]  # the name of each label; empty if unconditional
    label_shares: tuple[float, ...]  # how often each stands in the training split; sums to 1
    shape: tuple[int, int, int, int]  # F, H, W, C
    background: str
    fit: str
    augment: int  # A
    every: int
    seconds: float  # of a frame

    suffix = ".gif"
    suffixes = video_files.WRITTEN

    def label_id(self, name: str) -> int:
        """The id of a label. Raises UserError for an unknown one."""
        return labels.label_id(self.labels, name)

    encode = image.Codec.encode
    decode = image.Codec.decode

    def read(self, path: str | os.PathLike) -> np.ndarray:
        """[F, H, W, C] float32: the beginning of a video, its last frame held if it is shorter, or
        a picture that is held; cut as those of the training.

        Raises UserError for a file that is neither.
        """
        return self.encode(self._read(path, self.shape[-1], self.background))

    def read_mask(self, path: str | os.PathLike) -> np.ndarray:
        """[F, H, W, 1] float32: 1 where a video or a picture, cut likewise, is rather white.

        Raises UserError for a file that is neither.
        """
        return (self._read(path, 1, "black") >= 128).astype(np.float32)

    def mask_behind(self, first: int) -> np.ndarray:
        """[F, 1, 1, 1] float32: 1 in all frames but the first ones. Raises UserError for as many as
        leave nothing to draw."""
        if not 0 < first < self.shape[0]:
            raise UserError(f"--first is {first}; choose 1 to {self.shape[0] - 1} frames")
        return (np.arange(self.shape[0]) >= first).astype(np.float32).reshape(-1, 1, 1, 1)

    def visible(self, clips: np.ndarray) -> np.ndarray:
        """[N, H, W', C] uint8: the frames of each clip side by side."""
        N, F, H, W, C = clips.shape
        strips = np.full((N, H, F, W + LINE, C), pictures.GAP_VALUE, np.uint8)
        strips[:, :, :, :W] = clips.swapaxes(1, 2)
        return strips.reshape(N, H, F * (W + LINE), C)[:, :, :-LINE]

    def moving(self, clips: np.ndarray) -> np.ndarray:
        """[F, N, H, W, C] uint8: what of N clips is seen at a time."""
        return clips.swapaxes(0, 1)

    def writer(self, folder: str | os.PathLike) -> AbstractContextManager[pictures.Writer]:
        """Of clips, as GIFs."""
        return pictures.folder_writer(folder, self.suffix, self.write)

    def write(self, path: str | os.PathLike, clip: np.ndarray, about: pictures.About) -> None:
        """Writes a clip as a .gif or an .mp4. Raises UserError if the disk refuses."""
        video_files.write(path, clip, self.seconds, about)

    def compared(self, clips: np.ndarray) -> np.ndarray:
        """[N, H, W, F * C] uint8: each clip as a picture of many channels."""
        return _side_by_side(clips)

    def exhibit(self, clip: np.ndarray) -> dict[str, str]:
        """The clip as an animation."""
        return {"picture": video_files.gif_uri(clip, self.seconds)}

    def _read(self, path: str | os.PathLike, channels: int, background: str) -> np.ndarray:
        (F, H, W, _), path = self.shape, Path(path)
        cut = Cut(F, cutting.Cut((H, W, channels), background, self.fit))
        try:
            if path.is_dir() or path.suffix.lower() in video_files.SUFFIXES:
                found = [frame for frame, _ in zip(_every(path, self.every), range(F))]  # noqa: B905
            else:
                with Image.open(path) as picture:
                    picture.load()
                    found = [picture]
            found += [found[-1]] * (F - len(found))
            return _apart(cut.still(found), channels)
        except UserError:
            raise
        except Exception as error:  # each decoder has errors of its own
            raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from None


def _every(path: Path, step: int) -> Iterator[Image.Image]:
    return (frame for i, frame in enumerate(video_files.frames(path)) if i % step == 0)


def _side_by_side(clips: np.ndarray) -> np.ndarray:
    """[..., F, H, W, C] as [..., H, W, F * C]."""
    moved = np.moveaxis(clips, -4, -2)
    return moved.reshape(*moved.shape[:-2], -1)


def _apart(pictures: np.ndarray, channels: int) -> np.ndarray:
    """The inverse: [..., H, W, F * C] as [..., F, H, W, C]."""
    return np.moveaxis(pictures.reshape(*pictures.shape[:-1], -1, channels), -2, -4)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Clips, split and ready to be batched."""

    cfg: Config
    codec: Codec
    pictures: image.Dataset  # each clip as a picture [H, W, F * C]
    fingerprint: dict

    @property
    def splits(self) -> dict[str, Split]:
        """Of pictures."""
        return self.pictures.splits

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
    _check(cfg)
    height, width = cfg.height or cfg.width, cfg.width or cfg.height
    if cfg.path:
        source = video_sources.files(cfg.path, cfg.frames, cfg.every)
        if not height:
            height, width = video_sources.common_size(cfg.path)
    else:
        source = video_sources.embedded(cfg.source, cfg.frames)
        if not height:
            height, width = source.shape[:2]
    if cfg.shift >= min(height, width):
        raise UserError(
            f"--data.shift {cfg.shift} moves clips of {height}x{width} out of the frame"
        )
    shape = height, width, 1 if cfg.color == "grey" else 3
    store = image_store.build(
        source,
        Cut(cfg.frames, cutting.Cut(shape, cfg.background, cfg.fit)),
        shares,
        labelled=cfg.labels,
        # The store knows its files and its cut, but not which frames are left out between.
        cache=caching.folder(cache) / f"every-{cfg.every}",
    )
    ids = store.splits["train"].labels
    shares = () if ids is None else np.bincount(ids, minlength=len(store.labels)) / len(ids)
    codec = Codec(
        labels=store.labels,
        label_shares=tuple(map(float, shares)),
        shape=(cfg.frames, *shape),
        background=cfg.background,
        fit=cfg.fit,
        augment=int(cfg.flip) + 2 * (cfg.shift > 0),
        every=cfg.every,
        seconds=cfg.seconds,
    )
    fingerprint = {**store.fingerprint, "shape": list(codec.shape), "every": cfg.every}
    return Dataset(cfg, codec, image.Dataset(cfg, codec, store.splits, fingerprint), fingerprint)


def like(codec: Codec, path: str) -> tuple[ModuleType, Dataset]:
    """Other videos, cut as those of a codec are, all in "train". Raises UserError as `load`."""
    frames, height, width, channels = codec.shape
    color = "grey" if channels == 1 else "rgb"
    frame = {"height": height, "width": width, "color": color}
    cut = {"background": codec.background, "fit": codec.fit}
    time = {"frames": frames, "every": codec.every, "seconds": codec.seconds}
    return sys.modules[__name__], load(Config(path=path, **frame, **cut, **time, **sources.WHOLE))


def _check(cfg: Config) -> None:
    cutting.check(cfg)
    for name, least in {"frames": 2, "every": 1}.items():
        if getattr(cfg, name) < least:
            raise UserError(f"--data.{name} is {getattr(cfg, name)}; choose {least} or more")
    if not 0.01 <= cfg.seconds < float("inf"):
        raise UserError(f"--data.seconds is {cfg.seconds}; choose 0.01 or more")


# --- batches -----------------------------------------------------------------------------------


def windows(dataset: Dataset, split: str, overlap: int = 0) -> int:
    """How many clips a split has; they do not overlap."""
    return image.windows(dataset.pictures, split, overlap)


def train_batch(dataset: Dataset, *, seed: int, step: int, size: int) -> dict[str, np.ndarray]:
    """The batch of a step (see `Spec`): a pure function of (seed, step).

    Every clip comes once an epoch, in a new order and augmented anew, all of its frames alike.
    """
    return _batch(dataset, image.train_batch(dataset.pictures, seed=seed, step=step, size=size))


def eval_batches(
    dataset: Dataset, split: str, *, size: int, limit: int | None = None, overlap: int | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """The batches that hold every clip of a split once, as it is, or `limit` evenly spaced ones.

    The last batch is padded with rows of mask 0. `overlap` is for data that is cut into windows.
    Raises UserError for a split that the data does not have.
    """
    for batch in image.eval_batches(dataset.pictures, split, size=size, limit=limit):
        yield _batch(dataset, batch)


def _batch(dataset: Dataset, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**batch, "x": _apart(batch["x"], dataset.codec.shape[-1])}


def samples(dataset: Dataset, split: str) -> np.ndarray:
    """The clips of a split [N, F, H, W, C] uint8."""
    return _apart(dataset.splits[split].images, dataset.codec.shape[-1])


# --- what is said about it ----------------------------------------------------------------------


def describe(dataset: Dataset) -> str:
    """The fingerprint for a person to read, a line for each split."""
    about = dataset.fingerprint
    frames, height, width, channels = about["shape"]
    every = f", every {about['every']} of a video" if about["every"] > 1 else ""
    lines = [
        f"data: {about['source']}, clips of {frames} frames{every}, {height}x{width}, "
        f"{'grey' if channels == 1 else 'rgb'}; sha256 {about['sha256'][:12]}"
    ]
    lines += labels.describe(about["splits"])
    if damaged := about["damaged"]:
        lines.append(f"  skipped    {len(damaged):,} damaged: {image_store.first(damaged)}")
    return "\n".join(lines)


units = image.units


# --- what a run keeps --------------------------------------------------------------------------


def save(dataset: Dataset, folder: str | os.PathLike) -> None:
    """Writes what `load_codec` reads."""
    image.save(dataset.pictures, folder)


def load_codec(folder: str | os.PathLike) -> Codec:
    """What sampling needs. Raises UserError if it is not there."""
    try:
        fields = json.loads((Path(folder) / "codec.json").read_text())
    except FileNotFoundError:
        raise UserError(f"no codec.json in {folder}") from None
    return Codec(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
