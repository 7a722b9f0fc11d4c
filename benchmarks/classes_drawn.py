"""Which classes runs draw that were trained without labels: collapse onto few of them would show.

    python -m benchmarks.classes_drawn RUN [RUN ...] [--num 2000]

The data of each run are read again, with their labels this time; a classifier trained on the real
training pictures reads the samples. A class is drawn if it has a tenth of its share in the data or
more. The distance is the total variation between the shares of the classes among the samples and
among held-out pictures, both as read by the classifier: 0 if all come as often as they should.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np

import benchmarks
from creagen_jax import cli, config, data, features, generation, rundir, synthesis
from creagen_jax.types import UserError

LEAST = 0.1  # times its share in the data: a class of fewer samples counts as lost


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--num", type=int, default=2000)
    args = parser.parse_args(argv)
    print(f"{benchmarks.machine('jax')}; {args.num:,} samples a run")
    benchmarks.header(
        "run", "steps", "minutes", "classes drawn", "shares in %", "distance", "reader's accuracy"
    )
    for run in args.runs:
        benchmarks.row(*measure(run, args.num))
    return 0


def measure(run: Path, num: int) -> tuple:
    """The cells of a run's row."""
    experiment = rundir.read(run)["experiment"]
    if config.modality(experiment) != "image":
        raise UserError(f"{run} holds {config.modality(experiment)}; choose runs of pictures")
    dataset = data.get(config.modality(experiment)).load(
        dataclasses.replace(experiment.data, labels=True)
    )
    if not dataset.codec.labels:
        raise UserError(f"the data of {run} have no labels")
    train, heldout = (dataset.splits[name] for name in ("train", "validation"))
    read = features.reader(train.images, train.labels, cache=rundir.evaluation(run))
    model = generation.load(run)
    parts = synthesis.draw(model, synthesis.REQUESTS[generation.kind(run)](), num=num, seed=0)
    drawn = read(np.concatenate([part.images for part in parts]))
    real = read(np.asarray(heldout.images))
    drawn_C, real_C = (shares(ids, len(dataset.codec.labels)) for ids in (drawn, real))
    return (
        run,
        *benchmarks.trained(run),
        f"{(drawn_C >= LEAST * real_C).sum()} of {len(real_C)}",
        " ".join(f"{100 * share:.0f}" for share in drawn_C),
        f"{np.abs(drawn_C - real_C).sum() / 2:.2f}",
        f"{(real == heldout.labels).mean():.3f}",
    )


def shares(ids: np.ndarray, count: int) -> np.ndarray:
    """[C] the share of each class."""
    return np.bincount(ids, minlength=count) / len(ids)


if __name__ == "__main__":
    sys.exit(cli.run(main))
