"""Solvers of diffusion: the quality that each reaches, and its time.

    python -m benchmarks.solvers runs/digits_diffusion [--num 1000]

All draw from a run with the same seeds. Printed are the squared Frechet distance of Gaussians
fitted to the pixels (in -1 .. 1) from the training pictures, for this number of samples and without
the bias of finite numbers (where it may fall below 0); its ratio to that of as many held-out
pictures; and how far a sample is from what 128 steps of Heun make of the same noise.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import benchmarks
from creagen_jax import generation, synthesis
from creagen_jax.creativity.frechet import frechet, frechet_infinite, frechet_relative
from creagen_jax.sampling.solvers import Solving

EXACT = Solving(solver="heun", steps=128)
SOLVERS = [
    Solving(solver="heun", steps=18),
    Solving(solver="euler", steps=36),
    Solving(solver="dpmpp_2m", steps=10),
    Solving(solver="dpmpp_2m", steps=20),
    Solving(solver="ddim", steps=50),
    Solving(solver="ddim", steps=50, schedule="vp"),
    Solving(solver="ddim", steps=50, schedule="cosine"),
    Solving(solver="ddim", steps=500),
]


def solvers(run: Path, num: int) -> None:
    model, splits = generation.load(run), generation.training_data(run).splits
    train, heldout = (pixels(splits[name].images) for name in ("train", "test"))
    print(
        f"{benchmarks.machine('jax')}; {run}: step {model.step}, {num:,} samples a row, "
        f"{len(train):,} training and {len(heldout):,} held-out pictures"
    )
    benchmarks.header(
        "solver",
        "schedule",
        "steps",
        "evaluations",
        "Frechet distance",
        "without bias",
        "relative to held-out pictures (95 %)",
        "RMS from Heun, 128 steps",
        "ms a sample",
    )
    exact = None
    for solving in [EXACT, *SOLVERS]:
        found, seconds = draw(model, solving, num)
        exact = found if exact is None else exact
        evaluations = solving.steps * 2 - 1 if solving.solver == "heun" else solving.steps
        ratio = frechet_relative(real=train, baseline=heldout, generated=found)
        benchmarks.row(
            solving.solver,
            solving.schedule,
            solving.steps,
            evaluations,
            f"{frechet(real=train, generated=found):.4f}",
            f"{frechet_infinite(real=train, generated=found).value:.4f}",
            f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
            f"{np.sqrt(np.mean((found - exact) ** 2)):.4f}",
            f"{seconds / num * 1e3:.1f}",
        )


def pixels(images_NHWC: np.ndarray) -> np.ndarray:
    """[N, D] in -1 .. 1."""
    return images_NHWC.reshape(len(images_NHWC), -1) / 127.5 - 1


def draw(model: generation.Model, solving: Solving, num: int) -> tuple[np.ndarray, float]:
    """The pixels of samples, and seconds."""
    request = synthesis.Denoising(sampling=solving)
    next(synthesis.draw(model, request, num=num, seed=0))  # compiles
    began = time.perf_counter()
    parts = [part.images for part in synthesis.draw(model, request, num=num, seed=0)]
    return pixels(np.concatenate(parts)), time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--num", type=int, default=1000)
    args = parser.parse_args()
    solvers(args.run, args.num)


if __name__ == "__main__":
    main()
