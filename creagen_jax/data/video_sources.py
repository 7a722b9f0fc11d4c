"""Where video comes from: files and folders of frames, and embedded digits that bounce in a box."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from creagen_jax import config
from creagen_jax.data import cutting, image_sources, sources, video_files
from creagen_jax.data.cutting import DamagedError
from creagen_jax.types import UserError

Frames = Sequence[Image.Image | np.ndarray]


@dataclasses.dataclass(frozen=True)
class Source(image_sources.Source):
    """Clips; each split can be read again and again."""

    noun: str = "clip"


@dataclasses.dataclass(frozen=True)
class Cut:
    """How the frames of a clip become an array."""

    frames: int  # F
    picture: cutting.Cut  # of each frame

    @property
    def shape(self) -> tuple[int, int, int]:
        """H, W, F * C: a clip is kept as a picture with the channels of all of its frames."""
        height, width, channels = self.picture.shape
        return height, width, self.frames * channels

    def __call__(self, read: functools.partial) -> np.ndarray:
        """[H, W, F * C] uint8; the last frame of a shorter clip is held.

        Raises DamagedError for what cannot be decoded, and for one frame alone.
        """
        try:
            found = read()
        except UserError:  # a package that is missing is no damage
            raise
        except Exception as error:  # of every kind: each decoder has its own
            raise DamagedError(str(error) or type(error).__name__) from None
        if len(found) < 2:
            raise DamagedError("one frame, which is a picture and no video")
        return self.still([*found, *[found[-1]] * (self.frames - len(found))])

    def still(self, frames: Frames) -> np.ndarray:
        """The same of F frames."""
        return np.concatenate([self._picture(frame) for frame in frames], axis=-1)

    def _picture(self, frame: Image.Image | np.ndarray) -> np.ndarray:
        if isinstance(frame, np.ndarray) and frame.shape == self.picture.shape:
            return frame
        image = frame if isinstance(frame, Image.Image) else Image.fromarray(frame.squeeze())
        return self.picture(lambda: image)


# --- the user's own files ----------------------------------------------------------------------


class Row(NamedTuple):
    """A video of a folder."""

    file: Path  # or a folder of frames
    label: str | None


def files(path: str, frames: int, every: int) -> Source:
    """A folder of videos and of folders of frames, whose sub-folders, if it has any besides those,
    are classes; or with metadata.jsonl (`file_name`, perhaps `label`); or with a sub-folder
    `train` (and perhaps `validation`, `test`), each of them such a folder.

    A longer video gives several clips of `frames` frames, every `every`-th of it, one after the
    other, which share a split. Raises UserError for what cannot be found.
    """
    folder = Path(path).expanduser()
    if folder.is_file():
        raise UserError(f"{path} is one file; choose a folder of videos")
    if not folder.is_dir():
        raise sources.not_found(folder)
    rows = {split: _rows(part) for split, part in sources.own_folders(folder).items()}
    if not rows["train"]:
        raise UserError(
            f"folder {folder} holds no {', '.join(video_files.SUFFIXES)} file and no folder of "
            "frames"
        )
    counts = {
        row.file: _clips(row.file, frames * every) for split in rows.values() for row in split
    }

    def clips(split: str) -> Iterator[image_sources.Example]:
        for row in rows[split]:
            name = os.path.relpath(row.file, folder)
            yield from _read(row, name, counts[row.file], frames, every)

    return Source(
        str(folder),
        {split: functools.partial(clips, split) for split in rows},
        sum(counts.values()),
        tuple(file for split in rows.values() for row in split for file in _parts(row.file)),
    )


def _rows(folder: Path) -> list[Row]:
    if (folder / image_sources.METADATA).is_file():
        rows = image_sources.metadata(folder / image_sources.METADATA)
        return [Row(folder / name, label) for name, label in rows]
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        here = Path(place)
        videos = [
            here / name
            for name in sorted(names)
            if name[0] != "." and Path(name).suffix.lower() in video_files.SUFFIXES
        ]
        if not videos and here != folder and video_files.still_frames(here):
            videos = [here]
        found += videos
    parts = [(file, file.relative_to(folder).parts) for file in found]
    return [Row(file, names[0] if len(names) > 1 else None) for file, names in parts]


def _clips(file: Path, frames: int) -> int:
    """How many clips a video gives: one, if it is shorter, or damaged."""
    try:
        return max(video_files.length(file) // frames, 1)
    except UserError:
        raise
    except Exception:  # it is named when it is decoded
        return 1


def _parts(file: Path) -> list[Path]:
    return sorted(video_files.still_frames(file)) if file.is_dir() else [file]


def _read(
    row: Row, name: str, count: int, frames: int, every: int
) -> Iterator[image_sources.Example]:
    """The clips of a video, decoded one after the other, so that memory holds one of them."""
    group = None
    if count > 1:
        digest = hashlib.sha256()
        for part in _parts(row.file):
            digest.update(part.read_bytes())
        group = sources.data_hash(digest.digest())
    found = video_files.frames(row.file)
    for number in range(count):
        try:
            part = list(itertools.islice(found, frames * every))[::every]
            read = functools.partial(list, part)
        except UserError:
            raise
        except Exception as error:  # as in `Cut`
            read = functools.partial(_fail, error)
        clip = name if count == 1 else f"{name} {number}"
        yield image_sources.Example(clip, row.label, read, group)


def _fail(error: Exception) -> None:
    raise error


def common_size(path: str) -> tuple[int, int]:
    """(H, W) of the videos of a folder. Raises UserError if there are several, or none."""
    folder, found = Path(path).expanduser(), set()
    for row in _rows(folder) if folder.is_dir() else []:
        try:
            found.add(video_files.size(row.file))
        except UserError:
            raise
        except Exception:  # it is named when it is decoded
            continue
    if len(found) > 1:
        low, high = min(found), max(found)
        raise UserError(
            f"{path} has videos of {len(found)} sizes, from {low[0]}x{low[1]} to "
            f"{high[0]}x{high[1]} (height x width); choose one with --data.height"
        )
    if not found:
        raise UserError(f"{path} has no video that can be read")
    return found.pop()


# --- embedded ----------------------------------------------------------------------------------

BOX = 16  # pixels of a side of the box
SPEED = 1.0, 2.5  # pixels a frame, least and most
TAKES = 8  # of each digit, which differ in where it starts, how fast and whereto


def embedded(name: str, frames: int) -> Source:
    """An embedded set: "moving_digits", scikit-learn's handwritten digits of 8 x 8 pixels in a box
    of BOX x BOX, each at a constant velocity until it bounces (Srivastava et al. 2015,
    Moving MNIST), its place rounded to whole pixels. All takes of one digit share a split.

    Raises UserError if unknown.
    """
    names = ("moving_digits",)
    if name not in names:
        raise UserError(f"no embedded set '{name}'; {config.nearest(name, list(names))}")
    from sklearn.datasets import load_digits  # half a second, and only needed here

    digits = load_digits()
    shapes_NHW = np.round(digits.images * 255 / 16).astype(np.uint8)

    def clips() -> Iterator[image_sources.Example]:
        for i, (shape_HW, label) in enumerate(zip(shapes_NHW, digits.target, strict=True)):
            group = sources.data_hash(shape_HW.tobytes())
            for take in range(TAKES):
                read = functools.partial(_bouncing, shape_HW, frames, (i, take))
                yield image_sources.Example(f"digit {i} take {take}", str(label), read, group)

    return Source(name, {"train": clips}, len(shapes_NHW) * TAKES, shape=(BOX, BOX, 1))


def bounce(start: np.ndarray, velocity: np.ndarray, time: np.ndarray, room: float) -> np.ndarray:
    """Places in 0 .. room of what starts at `start` and is reflected at both ends."""
    there = np.mod(start + velocity * time, 2 * room)
    return room - np.abs(room - there)


def _bouncing(shape_HW: np.ndarray, frames: int, seed: tuple[int, int]) -> list[np.ndarray]:
    """F frames [BOX, BOX, 1] uint8."""
    rng, (H, W) = np.random.default_rng(seed), shape_HW.shape
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(*SPEED)
    start_2 = rng.uniform(0, BOX - H, 2)
    velocity_2 = speed * np.array([np.sin(angle), np.cos(angle)])
    place_F2 = bounce(start_2, velocity_2, np.arange(frames)[:, None], BOX - H)
    found = np.zeros((frames, BOX, BOX, 1), np.uint8)
    for frame, (top, left) in zip(found, np.round(place_F2).astype(int), strict=True):
        frame[top : top + H, left : left + W, 0] = shape_HW
    return list(found)
