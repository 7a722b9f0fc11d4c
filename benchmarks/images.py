"""Pictures: the time of a training step beside PyTorch's, and the quality that solvers reach.

    python -m benchmarks.images [--repeats 9]
    python -m benchmarks.images --run runs/digits_diffusion [--num 1000]

Steps: the networks, losses and batches of the configs mnist_gan and mnist_diffusion, with AdamW on
both sides, on the same random pictures. PyTorch runs eagerly, in the faster of its two layouts. For
random weights both must have the same outputs up to 1e-4, and as many parameters; this is checked
first. The steps take turns, and the median of each is printed; compilation is left out.

For a machine that has other work: OMP_NUM_THREADS=1 taskset -c 0 gives each side one core, where
no thread waits for another.

Solvers: all draw from a run with the same seeds. Printed are the squared Frechet distance of
Gaussians fitted to the pixels (in -1 .. 1) from the training pictures, for this number of samples
and without the bias of finite numbers (where it may fall below 0); its ratio to that of as many
held-out pictures; and how far a sample is from what 128 steps of Heun make of the same noise.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import numpy as np
import torch

import benchmarks
from benchmarks import image_peers as peers
from benchmarks.decoding import race
from creagen_jax import config, generation, models, parallel, synthesis, update
from creagen_jax.config import Experiment
from creagen_jax.creativity.frechet import frechet, frechet_infinite, frechet_relative
from creagen_jax.models import diffusion, gan
from creagen_jax.sampling.solvers import Solving
from creagen_jax.types import Batch, Params, Spec
from train import CONFIGS

SPEC = Spec(shape=(28, 28, 1), classes=10)
TURN = 5  # steps in a turn
OURS = "creagen_jax"
LAYOUTS = {
    "PyTorch, NCHW": torch.contiguous_format,
    "PyTorch, channels last": torch.channels_last,
}
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


# --- training steps -----------------------------------------------------------------------------


def noise(size: int) -> Batch:
    """A batch of pictures: what is in them does not change the time."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (size, *SPEC.shape)).astype(np.float32)
    return {"x": x, "condition": rng.integers(SPEC.classes, size=size, dtype=np.int32)}


def ours(experiment: Experiment, batch: Batch) -> tuple[Params, Callable[[], None]]:
    """The parameters of a family at the start, and a turn of steps as in training."""
    family, mesh, steps = models.get(config.family(experiment)), parallel.mesh(), 1000
    state = update.new_state(experiment, family, SPEC, steps=steps, mesh=mesh)
    params = jax.tree.map(np.array, state.params)  # a copy: the state is donated
    step = update.make_step(experiment, family, SPEC, steps=steps)
    step = update.compiled(step, state, family, mesh)

    def turn():
        nonlocal state
        for _ in range(TURN):
            state, metrics = step(state, batch)
            float(metrics["loss"])

    turn()  # compiles
    return params, turn


def randomise(params: Params) -> Params:
    """Weights of which none is zero, as some are at the start of training."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: rng.normal(0, leaf[..., 0].size ** -0.5, leaf.shape).astype(np.float32), params
    )


def check_gan(cfg: gan.Config, params: Params, batch: Batch) -> None:
    """Raises AssertionError unless both generators and both discriminators are the same."""
    z_BZ = np.random.default_rng(2).normal(size=(len(batch["x"]), cfg.latent)).astype(np.float32)
    x, label_B = batch["x"], batch["condition"]
    generator, discriminator = peers.gan(cfg, params)
    real, labels = peers.tensors(batch)
    with torch.no_grad():
        fake, logit_B = generator(torch.from_numpy(z_BZ), labels), discriminator(real, labels)
    fake = fake.permute(0, 2, 3, 1)
    alike(jax.jit(gan.generate, static_argnums=1)(params, cfg, z_BZ, label_B), fake)
    alike(jax.jit(lambda params, x: gan._critic(params, cfg, label_B, None)(x))(params, x), logit_B)


def check_diffusion(cfg: diffusion.Config, params: Params, batch: Batch) -> None:
    """Raises AssertionError unless both denoisers are the same."""
    sigma_B = np.geomspace(0.01, 10, len(batch["x"]), dtype=np.float32)
    (model,) = peers.diffusion(cfg, params)
    y_BCHW, labels = peers.tensors(batch)
    with torch.no_grad():
        D = peers.denoise(model, y_BCHW, torch.from_numpy(sigma_B), labels).permute(0, 2, 3, 1)
    denoise = jax.jit(diffusion.denoise, static_argnums=1)
    alike(denoise(params, cfg, batch["x"], sigma_B, batch["condition"]), D)


def alike(mine: jax.Array, other: torch.Tensor) -> None:
    np.testing.assert_allclose(mine, other.numpy(), rtol=1e-4, atol=1e-4)


FAMILIES = {
    "gan": (check_gan, peers.gan, peers.gan_step),
    "diffusion": (check_diffusion, peers.diffusion, peers.diffusion_step),
}


def theirs(experiment: Experiment, params: Params, batch: Batch) -> dict[str, Callable[[], None]]:
    """A turn of the same steps in PyTorch, for each layout."""
    check, build, make_step = FAMILIES[config.family(experiment)]
    check(experiment.model, randomise(params), batch)

    def turn(step):
        for _ in range(TURN):
            step().item()

    turns = {}
    for name, layout in LAYOUTS.items():
        networks = [each.to(memory_format=layout) for each in build(experiment.model, params)]
        assert peers.count(networks) == count(params)
        turns[name] = partial(turn, make_step(experiment.model, experiment.optim, *networks, batch))
        turns[name]()
    return turns


def count(params: Params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def steps(repeats: int) -> None:
    print(
        f"{benchmarks.machine('jax', 'torch')}; PyTorch threads {torch.get_num_threads()}; "
        f"median of {repeats} turns of {TURN} steps"
    )
    benchmarks.header("config", "parameters", "batch", "step of", "ms", "PyTorch's time / ours")
    for name in ("mnist_gan", "mnist_diffusion"):
        experiment = config.replace(config.load(name, CONFIGS), optim={"name": "adamw"})
        size = experiment.train.batch
        batch = noise(size)
        params, turn = ours(experiment, batch)
        medians = race({OURS: turn, **theirs(experiment, params, batch)}, repeats)
        fastest = min(LAYOUTS, key=medians.get)
        for peer in (OURS, fastest):
            ratio = "" if peer == OURS else f"{medians[peer] / medians[OURS]:.2f}x"
            each = f"{medians[peer] / TURN * 1e3:.1f}"
            benchmarks.row(name, f"{count(params):,}", size, peer, each, ratio)


# --- solvers ------------------------------------------------------------------------------------


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
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--num", type=int, default=1000)
    args = parser.parse_args()
    if args.run:
        solvers(args.run, args.num)
    else:
        steps(args.repeats)


if __name__ == "__main__":
    main()
