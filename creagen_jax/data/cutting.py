"""From a picture of any size and mode to an array of the one shape that a model takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageColor, ImageOps, UnidentifiedImageError

from creagen_jax import config
from creagen_jax.types import UserError

GREY_MODES = ("1", "L", "LA", "I", "I;16")

Read = Callable[[], Image.Image]  # opens a picture; may raise anything if it is damaged


@dataclasses.dataclass(frozen=True)
class Framed(config.Data):
    """How pictures and videos become arrays of one shape, and how these are augmented."""

    height: int = 0
    """H, in pixels; 0: as the width, or as the data are if both are 0."""
    width: int = 0
    """W, in pixels; 0: as the height."""
    background: str = "white"
    """Colour behind transparency and around what is padded: a name, or #rrggbb."""
    fit: Literal["crop", "pad"] = "crop"
    """For what has another aspect: cut its edges off, or pad it with the background."""
    flip: bool = False
    """Augmentation: mirror half of the examples from left to right."""
    shift: int = 0
    """Augmentation: move by up to this many pixels in both directions, repeating the edge."""


def check(cfg: Framed) -> None:
    """Raises UserError for numbers below 0, or a background that is no color."""
    for name in ("height", "width", "shift"):
        if getattr(cfg, name) < 0:
            raise UserError(f"--data.{name} is {getattr(cfg, name)}; choose 0 or more")
    check_color("--data.background", cfg.background)


class DamagedError(Exception):
    """What was to be a picture and cannot be decoded."""


@dataclasses.dataclass(frozen=True)
class Cut:
    """How a picture becomes an array."""

    shape: tuple[int, int, int]  # H, W, C
    background: str  # behind transparency and, if padded, around the picture
    fit: str  # "crop": fill the frame and cut the rest; "pad": show all and fill the rest

    def __call__(self, read: Read) -> np.ndarray:
        """[H, W, C] uint8: the first frame of a picture, upright.

        Resized with antialiasing, and not at all if it has the size already. Raises DamagedError
        for what cannot be decoded.
        """
        height, width, channels = self.shape
        image = _flatten(_decode(read, max(height, width)), self.background)
        image = image.convert("L" if channels == 1 else "RGB")
        if self.fit == "crop":
            image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
        else:
            color = ImageColor.getcolor(self.background, image.mode)
            image = ImageOps.pad(image, (width, height), Image.Resampling.LANCZOS, color)
        return np.asarray(image).reshape(self.shape)


def check_color(flag: str, color: str) -> None:
    """Raises UserError unless the color of a flag is one that Pillow knows."""
    try:
        ImageColor.getrgb(color)
    except ValueError:
        raise UserError(f"{flag} '{color}' is no color; choose a name or #rrggbb") from None


def measure(read: Read) -> tuple[int, int, bool]:
    """(H, W, whether it is grey) of a picture, from its header.

    Raises DamagedError for what has none.
    """
    try:
        with read() as image:
            width, height = image.size
            if image.getexif().get(ExifTags.Base.Orientation, 1) >= 5:  # lies on its side
                width, height = height, width
            return height, width, image.mode in GREY_MODES
    except Exception as error:  # of every kind: each of Pillow's decoders has its own
        raise _damaged(error) from None


def _decode(read: Read, size: int) -> Image.Image:
    """The first frame of a picture, upright.

    A large JPEG is decoded at a half, a quarter or an eighth of its size, as long as that is twice
    `size` or more in both directions: it is 6 times as fast, and the rest of the way is resized.
    """
    try:
        with read() as image:
            image.draft(None, (2 * size, 2 * size))
            image.load()
            return ImageOps.exif_transpose(image)
    except Exception as error:  # as in `measure`
        raise _damaged(error) from None


def _damaged(error: Exception) -> DamagedError:
    if isinstance(error, UnidentifiedImageError):
        return DamagedError("no picture")
    return DamagedError(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def _flatten(image: Image.Image, background: str) -> Image.Image:
    """A picture of 8 bits a channel, without transparency."""
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        wide = np.asarray(image).clip(0, 65535)
        return Image.fromarray(np.round(wide / 257).astype(np.uint8))
    if not image.has_transparency_data:
        return image
    behind = Image.new("RGBA", image.size, background)
    return Image.alpha_composite(behind, image.convert("RGBA"))
