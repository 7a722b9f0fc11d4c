"""Drum machines and kits as one folder of one-shots, a sub-folder for each kind of drum.

    python -m benchmarks.drums FOLDER [FOLDER ...] --out drums
    python train.py drums_diffusion --data.path drums --run runs/drums

The kind is read from a file's name ("Snare-Hard.wav", "BD_808.flac"); files whose name says none,
loops and effects among them, are left out. Numbers in this project come from four packages of
Debian: hydrogen-drumkits, hydrogen-data, lmms-common, sonic-pi-samples.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

from creagen_jax import cli
from creagen_jax.data import audio_sources
from creagen_jax.types import UserError

# The first kind with a word in the name has the file: "SnareRim" is a snare, "bassdrum01" a kick.
KINDS = {
    "clap": "clap handclap fingersnap snap",
    "hat": "hat hh hihat chh ohh ho hc openhat closehihat pedalhihat hhclosed hhopen hhpedal",
    "snare": "snare sd sn rs sr rim sidestick jsnare rsnare",
    "cymbal": "crash ride splash china cymbal cra rc cc",
    "tom": "tom ft floortom",
    "kick": "kick bd bassdrum",
    "percussion": "agogo bell bongo cajon clave conga cowbell djembe drum dununba kenkeni maraca "
    "perc sangban shaker tabla tambourine wood woodblock",
}
LOOPS = {"beat", "beats", "break", "loop"}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    if args.out.exists():
        raise UserError(f"{args.out} exists; choose another folder")
    if missing := [folder for folder in args.folders if not folder.is_dir()]:
        raise UserError(f"{missing[0]} is not a folder")
    count: Counter[str] = Counter()
    for folder in args.folders:
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in audio_sources.SUFFIXES and (kind := kind_of(file.stem)):
                place = args.out / kind / f"{file.parent.name} {file.name}"
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, place)
                count[kind] += 1
    if not count:
        raise UserError(f"no name of a sound in {args.folders[0]} says which drum it is")
    print(", ".join(f"{number} {kind}" for kind, number in sorted(count.items())))
    return 0


def kind_of(name: str) -> str | None:
    """The kind of drum a file's name says, or None."""
    words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}
    words |= {word.rstrip("s") for word in words}
    if words & LOOPS:
        return None
    return next((kind for kind, known in KINDS.items() if words & set(known.split())), None)


if __name__ == "__main__":
    sys.exit(cli.run(main))
