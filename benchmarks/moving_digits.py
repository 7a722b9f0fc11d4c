"""Digits that bounce, drawn by a run of moving_digits_diffusion: do they stay the same digit, and
do they move as thrown? Beside them real held-out clips, and these with their frames shuffled.

    python -m benchmarks.moving_digits RUN --num 1000 --set guidance=3 solver=churn
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

import numpy as np

from creagen_jax import cli, config, features, generation, rundir, synthesis
from creagen_jax.creativity import motion
from creagen_jax.data import video, video_files, video_sources
from creagen_jax.sampling import solvers
from creagen_jax.types import UserError

SIDE = 8  # pixels of a digit
CONTINUED, EACH = 50, 4  # held-out clips that are gone on from, and how often each


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--num", type=int, default=1000)
    parser.add_argument("--set", nargs="*", default=[], metavar="FLAG=VALUE", help="of sample.py")
    parser.add_argument("--checkpoint", default="best")
    parser.add_argument("--first", type=int, default=0, help="of held-out clips, to go on from")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    sampling = solvers.Solving(**dict(map(setting, args.set)))
    solvers.validate(sampling)
    model = generation.load(args.run, args.checkpoint)
    dataset = generation.training_data(args.run)
    if dataset.fingerprint["source"] != "moving_digits":
        raise UserError(f"{args.run} is no run of moving_digits_diffusion")
    real, labels = video.samples(dataset, "test"), dataset.splits["test"].labels
    some = np.random.default_rng(args.seed).permutation(len(real))[: args.num]
    real, labels = real[some], labels[some]
    rng = np.random.default_rng(args.seed)
    shuffled = np.stack([clip[rng.permutation(len(clip))] for clip in real])
    read = frame_reader(dataset, args.run)
    print(f"{'':28s}  one digit    the one asked for  residual, pixels (median)")
    line("real, held-out", real, labels, read)
    line("real, frames shuffled", shuffled, labels, read)
    request = synthesis.Denoising(sampling=sampling)
    parts = list(synthesis.draw(model, request, num=args.num, seed=args.seed))
    drawn = np.concatenate([part.images for part in parts])
    line("drawn", drawn, np.concatenate([part.labels for part in parts]), read)
    if args.first:
        names = [dataset.codec.labels[label] for label in labels[:CONTINUED]]
        going = continued(model, real[:CONTINUED], names, sampling, args)
        line(f"going on from {args.first} frames", going, labels[:CONTINUED].repeat(EACH), read)
    return 0


def setting(text: str) -> tuple[str, object]:
    """A field of `solvers.Solving` and its value."""
    name, _, value = text.partition("=")
    fields = {field.name: field for field in dataclasses.fields(solvers.Solving)}
    if name not in fields:
        raise UserError(f"no setting '{name}'; {config.nearest(name, sorted(fields))}")
    try:
        return name, type(fields[name].default)(value)
    except ValueError:
        raise UserError(f"{name} is {value!r}; choose a number") from None


def continued(model, real: np.ndarray, names: list[str], sampling, args) -> np.ndarray:
    """EACH clips that begin as each of the real ones does."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for i, (clip, name) in enumerate(zip(real, names, strict=True)):
            path = Path(folder) / f"{i}.gif"
            video_files.write(path, clip, model.codec.seconds, {})
            request = synthesis.Denoising(
                label=name, sampling=sampling, image=str(path), first=args.first
            )
            parts = synthesis.draw(model, request, num=EACH, seed=args.seed + i)
            found += [part.images for part in parts]
    return np.concatenate(found)


def frame_reader(dataset: video.Dataset, run: Path):
    """A classifier of single frames, trained on the frames of training clips."""
    clips, labels = video.samples(dataset, "train"), dataset.splits["train"].labels
    frames = clips.reshape(-1, *clips.shape[2:])
    some = np.random.default_rng(0).permutation(len(frames))[: features.MOST]
    labels = np.repeat(labels, clips.shape[1])[some]
    return features.reader(frames[some], labels, cache=rundir.evaluation(run))


def line(title: str, clips: np.ndarray, labels: np.ndarray, read) -> None:
    N, F = clips.shape[:2]
    read_NF = read(clips.reshape(N * F, *clips.shape[2:])).reshape(N, F)
    one, asked = motion.steady(read_NF), motion.steady(read_NF, labels)
    room, fastest = video_sources.BOX - SIDE, video_sources.SPEED[1]
    residual_N = motion.bounce_residual(motion.places(clips), room=room, fastest=fastest)
    shares = "  ".join(
        f"{each.value:.3f} ({each.low:.3f} to {each.high:.3f})" for each in (one, asked)
    )
    print(f"{title:28s}  {shares}  {residual_N.mean():.3f} ({np.median(residual_N):.3f})")


if __name__ == "__main__":
    sys.exit(cli.run(main))
