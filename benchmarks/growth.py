"""How the time of a training step grows, beside how the arithmetic does; and memory of sampling.

    python -m benchmarks.growth [--repeats 5] [--run RUN ...]

From the smallest Transformer, LSTM and U-Net of the table on, one size at a time is doubled three
times. "FLOPs" is by how much the products and convolutions of a step grow, "time" by how much its
time does, both from one row to the next; time that grows less was overhead before. With runs, the
peak memory of sample.py is printed for numbers of samples that grow eightfold.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import benchmarks
from benchmarks import steps
from benchmarks.decoding import race
from creagen_jax import cli
from creagen_jax.config import Experiment, Optim, Train
from creagen_jax.data import image
from creagen_jax.models import diffusion, lstm, transformer
from creagen_jax.types import Spec

DOUBLINGS = 3
SAMPLES = (64, 512, 4096)
ROOT = Path(__file__).parent.parent

Sizes = dict[str, int]
Turn = tuple[Callable[[], None], int]  # of training steps, and the FLOPs of one


def gpt(batch: int = 8, width: int = 64, depth: int = 2, context: int = 64) -> Turn:
    cfg = transformer.Config(width=width, depth=depth, heads=width // 32, context=context)
    return _language(cfg, batch, context)


def recurrent(batch: int = 8, width: int = 64, depth: int = 1, length: int = 64) -> Turn:
    return _language(lstm.Config(width=width, depth=depth), batch, length)


def _language(cfg, batch: int, length: int) -> Turn:
    spec = Spec(vocab=steps.VOCAB, length=length)
    return steps.ours(steps.language(cfg, batch), spec, steps.tokens(batch, length))[1:]


def unet(batch: int = 8, width: int = 32, side: int = 16) -> Turn:
    cfg = diffusion.Config(width=width, levels=(1, 2), patch=1)
    experiment = Experiment(image.Config(), cfg, Optim(), Train(batch=batch))
    return steps.ours(
        experiment, Spec(shape=(side, side, 1), classes=10), steps.noise(batch, side)
    )[1:]


FAMILIES = {"transformer": gpt, "lstm": recurrent, "diffusion": unet}


def times(repeats: int) -> None:
    benchmarks.header("family", "doubled", "size", "ms", "time", "FLOPs")
    for family, build in FAMILIES.items():
        names = build.__code__.co_varnames[: build.__code__.co_argcount]
        starts = dict(zip(names, build.__defaults__, strict=True))
        for name, start in starts.items():
            before = None
            for size in [start * 2**i for i in range(DOUBLINGS + 1)]:
                turn, counted = build(**{name: size})
                seconds = race({"": turn}, repeats)[""] / steps.TURN
                ratios = ("", "")
                if before:
                    ratios = (f"{seconds / before[0]:.1f}x", f"{counted / before[1]:.1f}x")
                benchmarks.row(family, name, size, f"{seconds * 1e3:.1f}", *ratios)
                before = seconds, counted


def memory(runs: list[Path]) -> None:
    benchmarks.header("run", "samples", "peak memory of all of the process, MiB")
    # Not by getrusage: its peak begins with that of this process, from which the new one is made.
    code = "import sample, sys; sample.main(sys.argv[1:]); status = open('/proc/self/status'); "
    code += "print(*(line for line in status if 'VmHWM' in line), file=sys.stderr)"
    for run in runs:
        for count in SAMPLES:
            with tempfile.TemporaryDirectory() as folder:
                arguments = [str(run), "--num", str(count), "--out", f"{folder}/samples"]
                command = [sys.executable, "-c", code, *arguments]
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            benchmarks.row(run.name, f"{count:,}", int(done.stderr.split()[-2]) // 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--run", type=Path, nargs="*", default=[])
    args = parser.parse_args()
    for run in args.run:
        if not run.is_dir():
            parser.error(f"--run {run}: no such folder")
    cli.keep_memory()  # as every command does
    print(f"{benchmarks.machine('jax')}; median of {args.repeats} turns of {steps.TURN} steps")
    times(args.repeats)
    if args.run:
        memory(args.run)


if __name__ == "__main__":
    main()
