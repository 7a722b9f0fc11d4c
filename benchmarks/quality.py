"""Trains configs and prints what each reaches.

    python -m benchmarks.quality [CONFIG ...] [--seeds 0 1] [--data.path FILE] [--FLAG of train.py]

Without a CONFIG: all of text. `--data.path` is for those whose data is not embedded; any other flag
goes to every train.py. Runs lie in runs/bench/CONFIG/seedN. The command may be interrupted and
given again: runs go on where they stopped, and a finished one is only read, or refused if the
config, the flags or the data have changed since.
"""

import argparse
import json
import sys
from pathlib import Path

import jax

import benchmarks
import train
from creagen_jax import cli, config, generation, logging, rundir

RUNS = Path("runs/bench")
SAMPLES = 1000  # of which the share of new ones is printed


def report(run: Path) -> None:
    """The line of a finished run: its best checkpoint on every held-out position."""
    model, fields, lines = generation.load(run), rundir.read(run), logging.read(run)
    reference = json.loads(rundir.reference(run).read_text())
    found = {
        (line["split"], line["windows"]): line["nats_per_char"]
        for line in lines
        if line["split"] != "train"
    }
    new = ""
    if model.codec.line:
        samples = generation.draw(model, generation.Request(), num=SAMPLES, seed=0)
        new = f"{sum(sample.new for sample in samples) / SAMPLES:.1%}"
    reached = [
        found.get(("validation", "all")),
        found.get(("validation", "sliding")),
        reference["validation"]["nats_per_char"],
        found.get(("test", "all")),
    ]
    benchmarks.row(
        run.parent.name,
        model.family,
        fields["experiment"].seed,
        f"{sum(leaf.size for leaf in jax.tree.leaves(model.params)):,}",
        *benchmarks.trained(run),
        *("" if score is None else f"{score:.4f}" for score in reached),
        new,
    )


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="CONFIG")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data.path", dest="path", default="")
    args, flags = parser.parse_known_args(argv)
    loaded = {name: config.load(name, train.CONFIGS) for name in config.available(train.CONFIGS)}
    texts = [name for name, found in loaded.items() if config.modality(found) == "text"]
    machine = benchmarks.machine("jax", "flax", "optax")
    runs = []
    for name in args.names or texts:
        external = config.load(name, train.CONFIGS).data.tfds
        path = ["--data.path", args.path] if args.path and external else []
        for seed in args.seeds:
            run = RUNS / name / f"seed{seed}"
            runs.append(run)
            code = train.main([name, "--run", str(run), "--seed", str(seed), *path, *flags])
            if code:
                return code
    print(machine)
    benchmarks.header(
        "config",
        "family",
        "seed",
        "parameters",
        "steps",
        "minutes",
        "validation, nats/char",
        "sliding window",
        "Kneser-Ney",
        "test",
        f"new of {SAMPLES:,}",
    )
    for run in runs:
        report(run)
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
