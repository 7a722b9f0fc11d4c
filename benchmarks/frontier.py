"""Where the families of text lie between copying, noise and real data: a line a run.

    python -m benchmarks.frontier [RUN ...] [--temperatures 0.7 0.8 0.9 1.0 1.1 1.2] [--num N]

Without a RUN: all of runs/bench/*/seed0 that `benchmarks.quality` has trained. Each run is sampled
at every temperature; its line is that of the highest composite, the geometric mean of the axes.
Runs of the same data are held against the same anchors, whose lines stand first.
"""

import argparse
import itertools
import sys
from pathlib import Path

import benchmarks
from creagen_jax import cli, config, evaluation, generation, judging, material, rundir
from creagen_jax.creativity import profile, record
from creagen_jax.creativity.estimate import Estimate

RUNS = Path("runs/bench")
TEMPERATURES = ["0.7", "0.8", "0.9", "1.0", "1.1", "1.2"]


def brief(estimate: Estimate) -> str:
    """Value and interval."""
    if estimate.value is None:
        return "undetermined"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def line(name: str, setting: str, found: record.Report) -> None:
    """A row of the table."""
    rate = found.metrics["heldout_neighbour_rate_match"]
    index = found.metrics["creativity_ratio"]
    yields = found.creative_yield
    benchmarks.row(
        name,
        setting,
        *(brief(found.profile[axis]) for axis in record.AXES),
        brief(yields.absolute),
        brief(yields.value),
        brief(rate),
        brief(index),
    )


def anchors(on: judging.Bench) -> None:
    """The rows of what is neither good nor new nor varied, and of the Markov chains."""
    y = on.yardstick
    for name, each in on.anchors.items():
        axes = profile.profile(each, noise=on.anchors["noise"])
        found = profile.creative_yield(each, heldout=on.anchors["held-out"], doubt=y.doubt)
        values = [axes[axis] for axis in record.AXES] + [found.absolute, found.value]
        values += [each.novelty[k] for k in ("heldout_neighbour_rate_match", "creativity_ratio")]
        shown = ("undetermined" if e.value is None else f"{e.value:.2f}" for e in values)
        benchmarks.row(name, "", *shown)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--temperatures", nargs="+", default=TEMPERATURES)
    parser.add_argument("--num", type=int, default=0)
    args = parser.parse_args(argv)
    runs = args.runs or sorted(RUNS.glob("*/seed0"))
    texts = [run for run in runs if config.modality(rundir.read(run)["experiment"]) == "text"]

    def source(run: Path) -> str:
        return rundir.read(run)["fingerprint"]["sha256"]

    request, cfg = generation.Request(), evaluation.Config(num=args.num)
    print(benchmarks.machine("jax", "numpy", "scikit-learn"))
    for _, group in itertools.groupby(sorted(texts, key=source), key=source):
        on = None
        benchmarks.header(
            "run", "temperature", *record.AXES, "yield", "relative", "neighbour rate", "index ratio"
        )
        for run in group:
            best = None
            for temperature in args.temperatures:
                asked = evaluation.with_setting(request, "temperature", temperature)
                drawn = evaluation.draw(run, asked, cfg, "best", cli.warn)
                if on is None:
                    found = material.of_run(run, request)
                    on = judging.bench(found, drawn.items, seed=0, fast=True)
                    anchors(on)
                report = drawn.judge(on, str(run), probe=False)
                score = report.composite.value.value or 0
                if best is None or score > best[0]:
                    best = score, temperature, report
            line(run.parent.name, best[1], best[2])
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
