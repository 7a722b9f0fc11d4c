"""Sprite sheets of the Liberated Pixel Cup as a folder of videos: characters, each in every action.

    python -m benchmarks.sprites SHEETS OUT --characters 300 --size 32
    python train.py sprites_diffusion --data.path OUT --run runs/sprites

SHEETS holds the folders body, bottomwear, topwear, hair and perhaps eyes and shoes, of sheets that
fit on one another (the layers of Li and Mandt 2018, Disentangled Sequential Autoencoder). A
character is one of each, at random. OUT/ACTION DIRECTION/CHARACTER.gif shows it; the parts `train`,
`validation`, `test` and `probe` are cut later, by train.py.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from creagen_jax import cli
from creagen_jax.data import video_files
from creagen_jax.types import UserError

CELL = 64  # pixels of the side of a frame in a sheet
LAYERS = ("body", "shoes", "bottomwear", "topwear", "eyes", "hair")  # the lowest first
DIRECTIONS = ("up", "left", "down", "right")  # rows of an action, in the order of the sheet
ACTIONS = {"spellcast": (0, 7), "thrust": (4, 8), "walk": (8, 9), "slash": (12, 6)}  # row, frames
SECONDS = 0.1


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sheets", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--characters", type=int, default=300, help="different ones")
    parser.add_argument("--frames", type=int, default=8, help="of each video")
    parser.add_argument("--size", type=int, default=32, help="pixels of a side")
    parser.add_argument("--background", default="white")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    layers = {name: sorted((args.sheets / name).glob("*.png")) for name in LAYERS}
    if missing := [name for name in ("body", "hair", "topwear", "bottomwear") if not layers[name]]:
        raise UserError(f"{args.sheets} has no sheets in {', '.join(missing)}")
    if args.out.exists():
        raise UserError(f"{args.out} exists; choose another folder")
    count = 0
    for number, files in enumerate(characters(layers, args.characters, args.seed)):
        sheet = compose(files)
        for name, frames in videos(sheet, args.frames):
            clip = np.stack([shrink(frame, args.size, args.background) for frame in frames])
            about = {"character": " ".join(f"{file.parent.name} {file.stem}" for file in files)}
            place = args.out / name / f"{number:04d}.gif"
            video_files.write(place, clip, SECONDS, about)
            count += 1
    print(f"{count:,} videos of {args.characters:,} characters: {args.out}")
    return 0


def characters(layers: dict[str, list[Path]], count: int, seed: int) -> list[list[Path]]:
    """`count` different choices of a sheet for each layer. Raises UserError for too many."""
    layers = {name: files for name, files in layers.items() if files}
    most = int(np.prod([len(files) for files in layers.values()]))
    if not 1 <= count <= most:
        raise UserError(f"--characters is {count}; choose 1 to {most}")
    chosen = np.random.default_rng(seed).choice(most, count, replace=False)
    places = np.stack(np.unravel_index(chosen, [len(files) for files in layers.values()]), axis=1)
    return [[files[i] for files, i in zip(layers.values(), row, strict=True)] for row in places]


def compose(files: list[Path]) -> Image.Image:
    """The sheets on one another."""
    sheet = Image.open(files[0]).convert("RGBA")
    for file in files[1:]:
        sheet = Image.alpha_composite(sheet, Image.open(file).convert("RGBA"))
    return sheet


def videos(sheet: Image.Image, count: int) -> Iterator[tuple[str, list[Image.Image]]]:
    """Each action in each direction, and `count` of its frames: evenly spaced, or again from the
    beginning if there are fewer."""
    for action, (row, frames) in ACTIONS.items():
        start = frames == 9  # the first frame of a walk stands still
        order = np.arange(start, frames)
        if len(order) >= count:
            order = order[np.arange(count) * len(order) // count]
        order = np.resize(order, count)
        for i, direction in enumerate(DIRECTIONS):
            top = (row + i) * CELL
            boxes = [(CELL * n, top, CELL * (n + 1), top + CELL) for n in order]
            yield f"{action} {direction}", [sheet.crop(tuple(map(int, box))) for box in boxes]


def shrink(frame: Image.Image, size: int, background: str) -> np.ndarray:
    """[size, size, 3] uint8."""
    behind = Image.new("RGBA", frame.size, background)
    image = Image.alpha_composite(behind, frame).convert("RGB")
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


if __name__ == "__main__":
    sys.exit(cli.run(main))
