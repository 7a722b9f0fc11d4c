"""How soon is a Transformer as good as nanoGPT's recipe for a CPU makes one?

    python -m benchmarks.race --data.path tinyshakespeare.txt [--seeds 0 1 2] [--steps 200]

The recipe, in PyTorch: GPT-2 with 4 layers, 4 heads, 128 wide, 2,000 steps of 12 windows of 64
characters, AdamW 1e-3 to 1e-4 by a cosine, 100 steps of warm-up, beta2 0.99, weight decay 0.1,
clip 1, no dropout. Ours has the same width, depth, windows and batches, and ends where the loss of
the recipe is reached. Both are scored on all windows of the validation split that do not overlap.
Seconds are those of training alone; those of our compilation stand beside them. The two take turns,
one seed after the other.
"""

import argparse
import itertools
import math
import time

import jax
import numpy as np
import torch
from torch.nn import functional as F

import benchmarks
from benchmarks import peers
from creagen_jax import cli, config, models, parallel, scoring, update
from creagen_jax.config import Experiment, Optim, Train
from creagen_jax.data import text
from creagen_jax.models import transformer
from creagen_jax.types import UserError

WIDTH, DEPTH, HEADS, BATCH, LENGTH = 128, 4, 4, 12, 64
RECIPE_STEPS = 2000
RECIPE = Optim(learning_rate=1e-3, final=0.1, warmup=100, beta2=0.99, weight_decay=0.1, clip=1.0)
OURS = Optim(  # chosen with seeds 0, 3 and 4 on the validation split
    name="muon",
    learning_rate=0.02,
    beta1=0.8,
    beta2=0.95,
    muon_learning_rate=0.04,
    muon_beta=0.9,
    warmup=0,
    schedule="linear",
    final=0.0,
    weight_decay=0.0,
    clip=0.0,
)


def recipe(dataset: text.Dataset, seed: int) -> tuple[float, float]:
    """Seconds of the recipe's training, and the validation loss at its end."""
    torch.manual_seed(seed)
    vocab = dataset.spec(BATCH).vocab
    model = peers.GPT(vocab, LENGTH, width=WIDTH, depth=DEPTH, heads=HEADS)
    learns = peers.Updates(model, RECIPE)
    began = time.perf_counter()
    for step in range(RECIPE_STEPS):
        for group in learns.adam.param_groups:
            group["lr"] = rate(step)
        batch = text.train_batch(dataset, seed=seed, step=step, size=BATCH)
        learns.update(nats(model, batch["x"]).mean())
    seconds = time.perf_counter() - began
    with torch.no_grad():
        batches = text.eval_batches(dataset, "validation", size=256)
        found = [nats(model, batch["x"])[batch["mask"].reshape(-1) > 0] for batch in batches]
    return seconds, float(torch.cat(found).mean())


def nats(model: peers.GPT, x_BT: np.ndarray) -> torch.Tensor:
    x_BT = torch.from_numpy(x_BT).long()
    return F.cross_entropy(
        model(x_BT[:, :-1]).flatten(0, 1), x_BT[:, 1:].flatten(), reduction="none"
    )


def rate(step: int) -> float:
    """nanoGPT's schedule."""
    peak, warmup = RECIPE.learning_rate, RECIPE.warmup
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    cosine = 0.5 * (1 + math.cos(math.pi * (step - warmup) / (RECIPE_STEPS - warmup)))
    return peak * (RECIPE.final + cosine * (1 - RECIPE.final))


def ours(dataset: text.Dataset, optim: Optim, steps: int, seed: int) -> tuple[float, float, float]:
    """Seconds of compilation and of training, and the validation loss at its end."""
    cfg = transformer.Config(width=WIDTH, depth=DEPTH, heads=HEADS, context=LENGTH)
    experiment = Experiment(dataset.cfg, cfg, optim, Train(batch=BATCH), seed)
    spec, mesh = dataset.spec(BATCH), parallel.mesh()
    began = time.perf_counter()
    step = update.make_step(experiment, transformer, spec, steps=steps)

    def fresh():
        return update.new_state(experiment, transformer, spec, steps=steps, mesh=mesh)

    step = update.compiled(step, fresh(), transformer, mesh)
    step(fresh(), text.train_batch(dataset, seed=seed, step=0, size=BATCH))
    state = jax.block_until_ready(fresh())
    compilation, began = time.perf_counter() - began, time.perf_counter()
    for number in range(steps):
        state, metrics = step(state, text.train_batch(dataset, seed=seed, step=number, size=BATCH))
    jax.block_until_ready((state, metrics))
    seconds = time.perf_counter() - began
    evaluate = scoring.evaluator(models.get("transformer"), cfg)
    batches = text.eval_batches(dataset, "validation", size=256)
    scores = scoring.score(evaluate, state.eval_params, batches, text.units)
    return compilation, seconds, scores["nats_per_char"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data.path", dest="path", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, nargs="+", default=[200], help="of ours")
    parser.add_argument("--rates", type=float, nargs="+", default=[OURS.muon_learning_rate])
    parser.add_argument("--ours_only", action="store_true", help="to try steps and rates")
    args = parser.parse_args()
    cli.keep_memory()  # as every command does
    try:
        dataset = text.load(text.Config(path=args.path, length=LENGTH))
    except UserError as error:
        parser.error(str(error))
    print(f"{benchmarks.machine('jax', 'torch')}; PyTorch threads {torch.get_num_threads()}")
    benchmarks.header(
        "seed",
        "by",
        "steps",
        "compilation, s",
        "training, s",
        "nats/char",
        "faster by (with compilation)",
    )
    for seed in args.seeds:
        theirs = math.nan
        if not args.ours_only:
            theirs, loss = recipe(dataset, seed)
            benchmarks.row(seed, "recipe", RECIPE_STEPS, "", f"{theirs:.1f}", f"{loss:.4f}", "")
        for steps, peak in itertools.product(args.steps, args.rates):
            optim = config.replace(OURS, muon_learning_rate=peak)
            compilation, seconds, loss = ours(dataset, optim, steps, seed)
            faster = f"{theirs / seconds:.1f}x ({theirs / (compilation + seconds):.1f}x)"
            name = "creagen_jax" if len(args.rates) == 1 else f"creagen_jax, {peak}"
            benchmarks.row(
                seed,
                name,
                steps,
                f"{compilation:.1f}",
                f"{seconds:.1f}",
                f"{loss:.4f}",
                "" if args.ours_only else faster,
            )


if __name__ == "__main__":
    main()
