"""Tokens per second of decoding, ours and PyTorch's, for the same weights.

    python -m benchmarks.decoding [--batches 1 64] [--repeats 3]

Models are those of the shakespeare configs, with random weights: what is drawn does not change the
time. Each call draws 512 tokens a sample, from one start token, at temperature 1. The decoders take
turns, and the median of each is printed. Compilation is left out: ours is called once before.
PyTorch keeps its default threads (OMP_NUM_THREADS changes them). That both have the same logits is
checked first. 64 windows without a cache take minutes a call; --batches 1 leaves them out.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import benchmarks
from benchmarks import peers
from creagen_jax import cli, config, generation, models
from creagen_jax.data import text
from creagen_jax.data.tokenizers import END, UNKNOWN
from train import CONFIGS

LENGTH = 512  # tokens drawn for each sample
OURS = "creagen_jax"
PEERS = {  # family: what to time beside it, as (a PyTorch module, what makes a decoder of it)
    "transformer": {
        "PyTorch, no cache (nanoGPT's `generate`)": (peers.Transformer, peers.uncached),
        "PyTorch, key-value cache": (peers.Transformer, peers.cached),
    },
    "lstm": {"PyTorch, `nn.LSTM`": (peers.LSTM, peers.recurrent)},
    "gru": {"PyTorch, `nn.GRU`": (peers.GRU, peers.recurrent)},
    "markov": {},
}


def build(family: str, data: text.Dataset) -> generation.Model:
    """A model that draws endless text: the Markov chain counts the data, the others are random."""
    cfg = config.load(f"shakespeare_{family}", CONFIGS).model
    module, lines = models.get(family), text.windows(data, "train")
    spec = data.spec(lines)
    state = module.init(jax.random.key(0), cfg, spec, optax.identity())
    if module.HOST:
        batch = text.train_batch(data, seed=0, step=0, size=lines)
        state, _ = module.make_step(cfg, spec, None)(state, batch, None)
        params = state.params
    else:
        params = randomise(state.params)
    codec = dataclasses.replace(data.codec, line=False, forbidden=(END, UNKNOWN))
    return generation.Model(family, cfg, params, codec, length=LENGTH, step=0)


def randomise(params):
    """Weights of which none is zero, as some are at the start of training."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    random = [
        jax.random.normal(key, leaf.shape) / leaf.shape[0] ** 0.5
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, random)


def check(model: generation.Model, step: peers.Step, tokens_BT: np.ndarray) -> None:
    """Raises AssertionError unless a peer's logits are ours for these tokens, up to 1e-4."""
    module, batch = models.get(model.family), len(tokens_BT)

    def feed(carry, token_B):
        logits_BV, carry = module.next_logits(model.params, model.cfg, carry, token_B)
        return carry, logits_BV

    carry = module.init_carry(model.params, model.cfg, batch, None)
    _, ours_TBV = jax.jit(partial(jax.lax.scan, feed))(carry, jnp.asarray(tokens_BT.T))
    with torch.no_grad():
        theirs = [step(peers.tensor(token_B1)).cpu() for token_B1 in tokens_BT.T[:, :, None]]
    np.testing.assert_allclose(ours_TBV, np.stack(theirs), rtol=0, atol=1e-4)


def race(candidates: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The median seconds of each candidate; they take turns."""
    seconds = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, candidate in candidates.items():
            began = time.perf_counter()
            candidate()
            seconds[name].append(time.perf_counter() - began)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    cli.keep_memory()  # as every command does
    peers.share_device()
    print(f"{benchmarks.machine('jax', 'torch')}; PyTorch threads {torch.get_num_threads()}")
    benchmarks.header("model", "batch", "decoder", "tokens/s", "creagen_jax is faster by")
    data = text.load(text.Config(source="names", labels=False, order="sequential"))
    request = generation.Request(length=LENGTH)
    rng = np.random.default_rng(0)
    for family, theirs in PEERS.items():
        model = build(family, data)
        begins = {
            name: partial(begin, make(model.cfg, model.params))
            for name, (make, begin) in theirs.items()
        }
        for begin in begins.values():
            # Beyond the context nanoGPT's crop and our sliding window are different models.
            length = model.cfg.context if begin.func is peers.uncached else LENGTH
            with peers.exact():
                check(model, begin(2), rng.integers(data.codec.tokenizer.vocab, size=(2, length)))
        for batch in args.batches:
            candidates = {OURS: partial(generation.draw, model, request, num=batch, seed=0)}
            candidates[OURS]()  # compiles
            for name, begin in begins.items():
                candidates[name] = partial(draw, begin, batch, data.codec.start)
            medians = race(candidates, args.repeats)
            for name, seconds in medians.items():
                ratio = "" if name == OURS else f"{seconds / medians[OURS]:.1f}x"
                benchmarks.row(family, batch, name, f"{batch * LENGTH / seconds:,.0f}", ratio)


def draw(begin: Callable[[int], peers.Step], batch: int, start: int) -> torch.Tensor:
    """What a peer draws from a fresh state."""
    return peers.generate(begin(batch), torch.full((batch, 1), start), LENGTH)


if __name__ == "__main__":
    main()
