"""Trains configs of pictures, evaluates them and prints what each reaches.

    python -m benchmarks.picture_quality [CONFIG ...] [--seeds 0 1] [--sample FLAG ...] [--FLAG ...]

Without a CONFIG: those of the embedded digits. Flags behind `--sample` go to evaluate.py, such as
`--sample --guidance 1.5`; any other flag goes to every train.py, such as `--data.path FOLDER` or
`--data.tfds_dir FOLDER`. Runs lie in runs/bench/CONFIG/seedN; a finished one is only evaluated.
"""

import argparse
import json
import sys
from pathlib import Path

import benchmarks
import evaluate
import train
from creagen_jax import cli
from creagen_jax.creativity import record
from creagen_jax.creativity.words import brief, number

RUNS = Path("runs/bench")
DIGITS = ("digits_gan", "digits_diffusion")


def report(run: Path) -> None:
    """The line of an evaluated run."""
    found = record.from_json(json.loads((run / "report.json").read_text()))
    heldout = found.anchors["held-out"].metrics

    def value(name: str, metrics=found.metrics) -> str:
        each = metrics.get(name)
        each = getattr(each, "value", each)
        return "" if each is None else number(each)

    rates = [name for name in found.metrics if name.startswith("heldout_neighbour_rate_")]
    benchmarks.row(
        run.parent.name,
        run.name.removeprefix("seed"),
        *benchmarks.trained(run),
        f"{value('label_accuracy')} ({value('label_accuracy', heldout)})",
        value("precision_ratio"),
        value("coverage_ratio"),
        "; ".join(
            f"{name.rpartition('_')[2]} {brief(found.metrics[name])}"
            for name in rates
            if found.metrics[name].value is not None
        ),
        *(brief(found.profile[axis]) for axis in record.AXES),
        brief(found.creative_yield.shown),
        len([row for row in found.classes if row.count]),
    )


def main(argv: list[str]) -> int:
    cut = argv.index("--sample") if "--sample" in argv else len(argv)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="CONFIG")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args, flags = parser.parse_known_args(argv[:cut])
    machine, runs = benchmarks.machine("jax", "flax", "optax"), []
    for name in args.names or DIGITS:
        for seed in args.seeds:
            run = RUNS / name / f"seed{seed}"
            code = train.main([name, "--run", str(run), "--seed", str(seed), *flags])
            code = code or evaluate.main([str(run), *argv[cut + 1 :]])
            if code:
                return code
            runs.append(run)
    print(machine)
    benchmarks.header(
        "config",
        "seed",
        "steps",
        "minutes",
        "label accuracy (real held-out)",
        "precision, relative",
        "coverage, relative",
        "held-out-neighbour rate",
        *record.AXES,
        "creative yield",
        "classes",
    )
    for run in runs:
        report(run)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
