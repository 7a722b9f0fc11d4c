"""Pictures as files: contact sheets, PNG and GIF with text fields, many samples one by one."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import itertools
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from creagen_jax import rundir

CELL = 48  # pixels: the least height of a picture in a contact sheet, if it can choose
GAP = 2  # pixels between two pictures
GAP_VALUE = 128

About = dict[str, str]  # what is written into a file beside the pixels


@dataclasses.dataclass(frozen=True)
class Writer:
    """Takes samples in parts: images [n, H, W, C] uint8, labels [n] or None, n abouts."""

    add: Callable[[np.ndarray, np.ndarray | None, Sequence[About]], None]


def grid(images_NHWC: np.ndarray, *, columns: int = 0, scale: int = 0) -> np.ndarray:
    """A contact sheet [H', W', 3] of uint8 pictures with 1 or 3 channels, row by row.

    columns  how many in a row; 0: as makes the sheet nearly square
    scale    how often each pixel is repeated; 0: as makes a picture at least 48 pixels high
    """
    N, H, W, _ = images_NHWC.shape
    columns = min(columns or math.ceil(math.sqrt(N * H / W)), N)
    rows, scale = math.ceil(N / columns), scale or math.ceil(CELL / H)
    cell_h, cell_w = H * scale + GAP, W * scale + GAP
    sheet = np.full((rows * cell_h + GAP, columns * cell_w + GAP, 3), GAP_VALUE, np.uint8)
    for i, image in enumerate(images_NHWC):
        row, column = divmod(i, columns)
        top, left = row * cell_h + GAP, column * cell_w + GAP
        large = image.repeat(scale, axis=0).repeat(scale, axis=1)
        sheet[top : top + H * scale, left : left + W * scale] = large
    return sheet


def png(image_HWC: np.ndarray, about: About) -> bytes:
    """A PNG of uint8 pixels; each entry of `about` is a text field (iTXt) of it."""
    fields, file = PngInfo(), io.BytesIO()
    for name, text in about.items():
        fields.add_itxt(name, text)
    _image(image_HWC).save(file, "png", pnginfo=fields)
    return file.getvalue()


def data_uri(image_HWC: np.ndarray) -> str:
    """A PNG of uint8 pixels to be put into a page."""
    return f"data:image/png;base64,{base64.b64encode(png(image_HWC, {})).decode()}"


def write_png(path: str | os.PathLike, image_HWC: np.ndarray, about: About) -> None:
    """Writes what `png` returns. Raises UserError if the disk refuses."""
    rundir.write(Path(path), png(image_HWC, about))


def write_gif(
    path: str | os.PathLike,
    frames: Iterable[np.ndarray],
    *,
    seconds: float,
    about: About,
    hold: float = 1.0,
) -> None:
    """Writes an endless animation of [H, W, C] uint8 frames; `about` is its comment, as JSON.

    `seconds` is the time of a frame, in steps of 0.01, and `hold` that of the last one. Raises
    UserError if the disk refuses.
    """
    first, *rest = map(_image, frames)
    times = [*[1000 * seconds] * len(rest), 1000 * hold]
    with _writing(Path(path)) as part:
        first.save(
            part,
            "gif",
            save_all=True,
            append_images=rest,
            duration=times,
            loop=0,
            comment=json.dumps(about).encode(),
        )


def read_png(path: str | os.PathLike) -> np.ndarray:
    """The pixels [H, W, 3] of a picture that this project wrote."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@contextlib.contextmanager
def each_writer(
    name: Callable[[int], Path], write: Callable[[Path, np.ndarray, About], None]
) -> Iterator[Writer]:
    """Writes each sample with its `about` into the file that `name` gives to its number."""
    numbers = itertools.count()

    def add(samples: np.ndarray, labels: np.ndarray | None, abouts: Sequence[About]) -> None:
        for sample, about in zip(samples, abouts, strict=True):
            write(name(next(numbers)), sample, about)

    yield Writer(add)


def folder_writer(
    path: str | os.PathLike,
    suffix: str = ".png",
    write: Callable[[Path, np.ndarray, About], None] = write_png,
) -> AbstractContextManager[Writer]:
    """Writes each sample as a file with its `about`: 000000.png, 000001.png, ...

    Raises UserError if the disk refuses.
    """
    return each_writer(lambda number: Path(path) / f"{number:06d}{suffix}", write)


@contextlib.contextmanager
def npz_writer(
    path: str | os.PathLike, count: int, shape: tuple[int, int, int]
) -> Iterator[Writer]:
    """Writes one .npz: `images` [count, H, W, C] uint8, `labels` [count] int32, -1 for none.

    The images go to the disk as they come; the file appears when all `count` are there. Raises
    UserError if the disk refuses.
    """
    all_labels, done = np.full(count, -1, np.int32), 0
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
    with _writing(Path(path)) as part, zipfile.ZipFile(part, "w") as archive:
        with archive.open(zipfile.ZipInfo("images.npy"), "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, header)

            def add(images: np.ndarray, labels: np.ndarray | None, abouts: Sequence[About]) -> None:
                nonlocal done
                if labels is not None:
                    all_labels[done : done + len(images)] = labels
                done += len(images)
                file.write(np.ascontiguousarray(images, np.uint8).data)

            yield Writer(add)
        if done != count:
            raise ValueError(f"{done} samples were written, not {count}")
        with archive.open(zipfile.ZipInfo("labels.npy"), "w") as file:
            np.lib.format.write_array(file, all_labels)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """A place to write to; when all went well it becomes `path`, and otherwise it is removed."""
    part = path.with_name(path.name + ".part")
    with rundir.writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            part.rename(path)
        finally:
            part.unlink(missing_ok=True)


def _image(image_HWC: np.ndarray) -> Image.Image:
    return Image.fromarray(image_HWC[..., 0] if image_HWC.shape[-1] == 1 else image_HWC)
