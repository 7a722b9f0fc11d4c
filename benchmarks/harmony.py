"""Lower voices written by a run of harmonise_seq2seq: do they go with their soprano, and as long?

    python -m benchmarks.harmony RUN [--num 1] [--temperature 0.9] [--checkpoint best]

Held-out sopranos, `--num` harmonies of each; beside them Bach's, and Bach's set a quarter note late
against the soprano, which is what voices that do not heed it come to.

    consonant   share of the steps in which soprano and bass both sound whose interval is a unison,
                a third, a perfect fifth, a sixth, or one of these and octaves
    as long     share of the harmonies that end in the step in which the soprano does
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import benchmarks
from creagen_jax import cli, generation
from creagen_jax.creativity.estimate import wilson
from creagen_jax.data import music
from creagen_jax.data.music_codec import HarmonyCodec
from creagen_jax.data.music_tokens import DURATION, ONSET, PART, Piece
from creagen_jax.sampling.filters import Sampling
from creagen_jax.types import UserError

CONSONANT = (0, 3, 4, 7, 8, 9)  # semitones above the bass, octaves aside
SOPRANO, BASS = 0, 3


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--num", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.9)
    parser.add_argument("--checkpoint", default="best")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    model, dataset = generation.load(args.run, args.checkpoint), generation.training_data(args.run)
    if not isinstance(model.codec, HarmonyCodec):
        raise UserError(f"{args.run} is no run of harmonise_seq2seq")
    above, below = music.sources(dataset, "test"), music.texts(dataset, "test")
    codec, late = model.codec, dataset.codec.form.steps
    voices = len(codec.form.voices)
    bach = [  # a soprano is cut to what a model reads
        codec.piece(" ".join(words.split()[: voices * len(source.split())]), source)
        for words, source in zip(below, above, strict=True)
    ]
    request = generation.Request(
        source=tuple(above), sampling=Sampling(temperature=args.temperature)
    )
    samples = generation.draw(model, request, num=args.num, seed=args.seed)
    drawn = [codec.piece(sample.text, sample.source) for sample in samples]
    benchmarks.header("lower voices", "pieces", "consonant", "as long")
    line("Bach's", bach)
    line("Bach's, a quarter note late", [moved(piece, late) for piece in bach])
    line("drawn", drawn)
    return 0


def moved(given: Piece, steps: int) -> Piece:
    """The soprano where it is, what is below it later."""
    notes = given.notes.copy()
    notes[notes[:, PART] != SOPRANO, ONSET] += steps
    return Piece(notes, given.length)


def line(title: str, pieces: list[Piece]) -> None:
    both = [intervals(piece) for piece in pieces]
    consonant = np.mean([np.isin(each % 12, CONSONANT).mean() for each in both if len(each)])
    equal = sum(end(piece, SOPRANO) == end(piece, BASS) for piece in pieces)
    share = wilson(equal, len(pieces))
    as_long = f"{share.value:.3f} ({share.low:.3f} to {share.high:.3f})"
    benchmarks.row(title, len(pieces), f"{consonant:.3f}", as_long)


def intervals(piece: Piece) -> np.ndarray:
    """Semitones from bass to soprano in each step in which both sound."""
    pitch_VT = np.zeros((2, piece.length + 1), np.int64)
    for row, part in enumerate((SOPRANO, BASS)):
        for onset, duration, pitch, voice in piece.notes:
            if voice == part:
                pitch_VT[row, onset : onset + duration] = pitch
    sounding_T = (pitch_VT > 0).all(0)
    return (pitch_VT[0] - pitch_VT[1])[sounding_T]


def end(piece: Piece, part: int) -> int:
    """The step behind the last note of a voice."""
    own = piece.notes[piece.notes[:, PART] == part]
    return int((own[:, ONSET] + own[:, DURATION]).max(initial=0))


if __name__ == "__main__":
    sys.exit(cli.run(main))
