"""How well a model predicts held-out data, and the reference line that it is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from creagen_jax import config, models
from creagen_jax.data import targets
from creagen_jax.functional import ngram
from creagen_jax.types import ENTRIES, Batch, Params

REFERENCE_ORDER = 6
REFERENCE_LENGTH = 1024  # tokens of a window of a stream
REFERENCE_BATCH = 256  # windows scored at once
REFERENCE_STEP = 1_000_000  # tokens counted at once
REFERENCE_TOKENS = 5 * REFERENCE_STEP  # of the training split, at most


def evaluator(family: ModuleType, cfg: config.Model) -> Callable[[Params, Batch], dict[str, Any]]:
    """(params, batch) -> per-example sums, compiled once unless the family runs on the host."""

    def evaluate(params, batch):
        # One fixed key: a family that needs chance here scores the same every time.
        return family.eval_metrics(params, cfg, batch, jax.random.key(0))

    return evaluate if family.HOST else jax.jit(evaluate)


def score(
    evaluate: Callable[[Params, Batch], dict[str, Any]],
    params: Params,
    batches: Iterable[dict[str, np.ndarray]],
    units: Callable[[dict[str, float]], dict[str, float]],
    place: Callable[[dict[str, np.ndarray]], Batch] | None = None,
) -> dict[str, float]:
    """Scores over all batches: sums first, one division at the end, so that padding counts nothing.

    The batch's own per-example sums, such as `chars` and `bytes`, are added up beside the model's.
    """
    totals: dict[str, float] = {}
    for batch in batches:
        counts = {key: batch.pop(key) for key in batch.keys() - ENTRIES}
        sums = evaluate(params, place(batch) if place else batch)
        for key, value in {**sums, **counts}.items():
            totals[key] = totals.get(key, 0.0) + float(np.sum(np.asarray(value, np.float64)))
    return units(totals)


def chain(data: ModuleType, dataset: Any, order: int) -> tuple[Any, Any]:
    """(Config, TrainState) of a Markov chain of the training split of text, of pairs the targets.

    Of a large one only the first `REFERENCE_TOKENS` tokens are counted.
    """
    markov = models.get("markov")
    cfg = markov.Config(order=order)
    data, dataset = targets(data, dataset)
    dataset = _in_order(dataset, order)
    spec = dataset.spec(REFERENCE_BATCH)
    # Each batch smooths all that was counted so far, so there are few of them, and large.
    size = max(REFERENCE_STEP // spec.length, 1)
    steps = min(-(-data.windows(dataset, "train") // size), REFERENCE_TOKENS // REFERENCE_STEP)
    state = markov.init(jax.random.key(0), cfg, spec, None)
    for number in range(steps):
        batch = data.train_batch(dataset, seed=0, step=number, size=size)
        state = markov.count(state, batch, cfg, spec)
    return cfg, state


def chains(data: ModuleType, dataset: Any, orders: Sequence[int]) -> tuple[Any, dict[int, Params]]:
    """Markov chains of several orders: one Config for all, and the parameters of each.

    All have tables of one size, and read as much history as the longest one, of which a shorter one
    knows nothing: so they share one compiled program.
    """
    cfg, found = None, {}
    for order in sorted(orders):
        cfg, state = chain(data, dataset, order)
        found[order] = jax.tree.map(np.asarray, state.params)
    sizes = jax.tree.map(len, found[max(orders)])
    padded = {order: jax.tree.map(ngram.pad, params, sizes) for order, params in found.items()}
    return cfg, jax.tree.map(jnp.asarray, padded)


def reference(data: ModuleType, dataset: Any) -> dict[str, Any]:
    """The line that every text model's score is printed against: an interpolated Kneser-Ney
    n-gram model of order 6, trained on the same training split. Of pairs it knows the targets only.

    Returns {"name", "tokens", split: scores over all of its positions with full history}; `tokens`
    is how many were counted.
    """
    markov = models.get("markov")
    data, dataset = targets(data, dataset)
    cfg, state = chain(data, dataset, REFERENCE_ORDER)
    dataset = _in_order(dataset, cfg.order)
    scores = {}
    for split in dataset.splits:
        if split != "train":
            batches = data.eval_batches(dataset, split, size=REFERENCE_BATCH)
            scores[split] = score(evaluator(markov, cfg), state.params, batches, data.units)
    tokens = int(state.opt_state[1].sum())
    return {"name": f"Kneser-Ney, order {cfg.order}", "tokens": tokens, **scores}


def _in_order(dataset: Any, order: int) -> Any:
    """The same text in windows that show a chain of this order every n-gram once."""
    line = dataset.codec.line
    changes = {"order": "sequential"} if line else {"order": "sequential", "overlap": order - 1}
    cfg = dataclasses.replace(dataset.cfg, **changes)
    length = dataset.length if line else REFERENCE_LENGTH
    return dataclasses.replace(dataset, cfg=cfg, length=length)
