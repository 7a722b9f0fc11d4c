"""Video as files: frames of GIF, WebP, MP4 and folders of pictures; GIF and MP4 that say where they
come from."""

from __future__ import annotations

import base64
import contextlib
import fractions
import io
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence

from creagen_jax import rundir
from creagen_jax.data import labels
from creagen_jax.data.pictures import About
from creagen_jax.types import UserError

ANIMATED = (".gif", ".webp")
ENCODED = (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi")  # which PyAV decodes
SUFFIXES = (*ANIMATED, *ENCODED)
FRAMES = (".png", ".jpg", ".jpeg", ".bmp")  # of a folder that is a video
WRITTEN = (".gif", ".mp4")
LEAST = 64  # pixels: smaller videos are enlarged in an .mp4, which has fewer colours than pixels
EXTRA = "needs the package av: pip install 'creagen_jax[video]'"


# --- reading -----------------------------------------------------------------------------------


def frames(path: Path) -> Iterator[Image.Image]:
    """The frames of a video file, or of a folder of pictures in the order of their names.

    A frame that an animation shows k times as long as its shortest one comes k times. Raises
    whatever the decoder does for a damaged file, and UserError where a package is missing.
    """
    if path.is_dir():
        for name in labels.in_order({file.name for file in still_frames(path)}):
            with Image.open(path / name) as image:
                image.load()
                yield image
    elif path.suffix.lower() in ANIMATED:
        yield from _animation(path)
    else:
        with _av().open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_image().rotate(frame.rotation, expand=True)  # as it is to be seen


def still_frames(folder: Path) -> list[Path]:
    """The pictures that lie in a folder itself."""
    return [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in FRAMES and file.name[0] != "." and file.is_file()
    ]


def _animation(path: Path) -> Iterator[Image.Image]:
    with Image.open(path) as image:
        repeats = _repeats(image)
        for repeat, frame in zip(repeats, ImageSequence.Iterator(image), strict=False):
            yield from itertools.repeat(frame.copy(), repeat)


def _repeats(image: Image.Image) -> list[int]:
    """How often each frame of an animation comes: files leave out a frame like the one before it
    and show that one longer."""
    times = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        if image.format == "WEBP":  # which knows it only then
            image.load()
        times.append(image.info.get("duration", 0))
    image.seek(0)
    shortest = min((time for time in times if time > 0), default=1)
    return [max(round(time / shortest), 1) for time in times]


def length(path: Path) -> int:
    """How many frames a video has. Raises as `frames` does."""
    if path.is_dir():
        return len(still_frames(path))
    if path.suffix.lower() in ANIMATED:
        with Image.open(path) as image:
            return sum(_repeats(image))
    with _av().open(str(path)) as container:
        known = container.streams.video[0].frames
        return known or sum(1 for _ in container.decode(video=0))


def size(path: Path) -> tuple[int, int]:
    """(H, W) of a video's first frame. Raises as `frames` does."""
    with contextlib.closing(frames(path)) as found:
        width, height = next(found).size
    return height, width


def _av():
    try:
        import av  # an extra
    except ImportError:
        raise UserError(f"{', '.join(ENCODED)} {EXTRA}") from None
    return av


# --- writing -----------------------------------------------------------------------------------


def gif(frames_FHWC: np.ndarray, seconds: float, about: About) -> bytes:
    """An endless GIF of uint8 frames of 1 or 3 channels, `seconds` each, in steps of 0.01; `about`
    is its comment, as JSON."""
    images, file = [_image(frame) for frame in frames_FHWC], io.BytesIO()
    images[0].save(
        file,
        "gif",
        save_all=True,
        append_images=images[1:],
        duration=max(round(100 * seconds), 1) * 10,
        loop=0,
        comment=json.dumps(about).encode(),
    )
    return file.getvalue()


def _image(frame_HWC: np.ndarray) -> Image.Image:
    """With the colours that there are, if a palette holds them."""
    if frame_HWC.shape[-1] == 1:
        return Image.fromarray(frame_HWC[..., 0])
    colors, index = np.unique(frame_HWC.reshape(-1, 3), axis=0, return_inverse=True)
    if len(colors) > 256:
        return Image.fromarray(frame_HWC)
    image = Image.fromarray(index.reshape(frame_HWC.shape[:2]).astype(np.uint8), "P")
    image.putpalette(colors.ravel().tolist())
    return image


def gif_uri(frames_FHWC: np.ndarray, seconds: float) -> str:
    """A GIF to be put into a page."""
    return f"data:image/gif;base64,{base64.b64encode(gif(frames_FHWC, seconds, {})).decode()}"


def mp4(frames_FHWC: np.ndarray, seconds: float, about: About) -> bytes:
    """An MP4 (H.264) of uint8 frames, `seconds` each, at least LEAST pixels high and wide; `about`
    is its comment, as JSON. Raises UserError without the package av."""
    av, file = _av(), io.BytesIO()
    _, H, W, C = frames_FHWC.shape
    scale = 2 * -(-LEAST // (2 * min(H, W))) if min(H, W) < LEAST else 1
    large = frames_FHWC.repeat(scale, axis=1).repeat(scale, axis=2).repeat(3 if C == 1 else 1, 3)
    large = np.pad(large, ((0, 0), (0, H * scale % 2), (0, W * scale % 2), (0, 0)), mode="edge")
    # Comments that are not standard need the flag.
    with av.open(file, "w", "mp4", options={"movflags": "use_metadata_tags"}) as container:
        container.metadata["comment"] = json.dumps(about)
        rate = fractions.Fraction(1 / seconds).limit_denominator(1000)
        stream = container.add_stream("libx264", rate)
        stream.height, stream.width = large.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in large:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def write(path: str | os.PathLike, frames_FHWC: np.ndarray, seconds: float, about: About) -> None:
    """Writes a .gif or an .mp4; the file appears when it is complete. Raises UserError if the disk
    refuses, or a package is missing."""
    path = Path(path)
    made = {".gif": gif, ".mp4": mp4}[path.suffix.lower()](frames_FHWC, seconds, about)
    rundir.write(path, made)


def read_about(path: str | os.PathLike) -> About:
    """The `about` of a .gif or an .mp4 that this project wrote; {} of any other file."""
    try:
        if Path(path).suffix.lower() in ANIMATED:
            with Image.open(path) as image:
                comment = image.info["comment"]
        else:
            with _av().open(str(path)) as container:
                comment = container.metadata["comment"]
        about = json.loads(comment)
    except (KeyError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}
