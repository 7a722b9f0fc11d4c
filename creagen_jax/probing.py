"""What only the model can tell, not its samples: its losses, and what it completes by heart."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from creagen_jax import data, generation, models, scoring
from creagen_jax.creativity import memorisation
from creagen_jax.creativity.estimate import Estimate
from creagen_jax.data.tokenizers import END
from creagen_jax.generation import Model
from creagen_jax.sampling import filters, tokens
from creagen_jax.types import ENTRIES

WINDOWS = 512  # of a split
BATCH = 64
SPAN = 50  # tokens to complete, at most

Losses = tuple[np.ndarray, np.ndarray]  # nats [N], and the tokens [N] that they predict


def probe(model: Model, modality: str, dataset: Any, split: str, *, seed: int = 0) -> dict:
    """Metrics of a model and the held-out metrics beside them, by two names:

    {"model": loss_gap, membership_auc, extraction_rate, "held-out": extraction_rate}

    Only what writes tokens has an extraction rate, and a GAN, which has no loss, has nothing.
    """
    kind = models.get(model.family).KIND
    if kind == "latent":
        return {}
    source = data.get(modality)
    batches = {
        name: list(source.eval_batches(dataset, name, size=BATCH, limit=WINDOWS, overlap=0))
        for name in ("train", split)
    }
    known, new = (_losses(model, batches[name]) for name in ("train", split))
    found = {
        "loss_gap": memorisation.loss_gap(train=known, heldout=new, seed=seed),
        "membership_auc": memorisation.membership_auc(train=known, heldout=new),
    }
    if kind != "autoregressive":
        return {"model": found}
    rates = {name: _extraction(model, each) for name, each in batches.items()}
    return {
        "model": {**found, "extraction_rate": rates["train"]},
        "held-out": {"extraction_rate": rates[split]},
    }


def _losses(model: Model, batches: list[dict[str, np.ndarray]]) -> Losses:
    evaluate = scoring.evaluator(models.get(model.family), model.cfg)
    sums = [evaluate(model.params, _arrays(batch)) for batch in batches]
    name = "loss" if "loss" in sums[0] else "nats"  # of a model that is not ranked by it
    nats, weight = (
        np.concatenate([np.asarray(each[key], np.float64) for each in sums])
        for key in (name, "weight")
    )
    return nats[weight > 0], weight[weight > 0]


def _arrays(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: array for name, array in batch.items() if name in ENTRIES}


def _extraction(model: Model, batches: list[dict[str, np.ndarray]]) -> Estimate:
    """How often the model, at temperature 0, completes a window word for word."""
    family = models.get(model.family)

    @partial(jax.jit, static_argnames="length")
    def complete(params, prompt_BP, length_B, condition, length):
        return tokens.decode(
            partial(family.next_logits, params, model.cfg),
            family.init_carry(params, model.cfg, len(prompt_BP), condition),
            prompt_BP,
            length_B,
            jnp.arange(len(prompt_BP)),
            length=length,
            settings=filters.Sampling(temperature=0.0),
            end=END,
            forbidden=model.codec.forbidden,
        )[0]

    drawn, true = [], []
    for batch in batches:
        prompt_BP, length_B, rest_BS = _halves(batch)
        condition = generation.told(batch.get("condition"), batch.get("source"))
        drawn_BS = complete(model.params, prompt_BP, length_B, condition, rest_BS.shape[1])
        real_B = batch["mask"].any(1)  # not padding
        drawn.append(np.asarray(drawn_BS)[real_B])
        true.append(rest_BS[real_B])
    return memorisation.extraction_rate(
        continuation_NT=np.concatenate(drawn), truth_NT=np.concatenate(true)
    )


def _halves(batch: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first half of each window as a prompt [B, P], its length [B], and what follows [B, S]."""
    x_BT = batch["x"]
    half = x_BT.shape[1] // 2
    size_B = batch["mask"].astype(bool).sum(1) + 1
    length_B = ((size_B + 1) // 2).astype(np.int32)
    place_BS = length_B[:, None] + np.arange(min(half, SPAN))
    inside_BS = np.minimum(place_BS, x_BT.shape[1] - 1)
    rest_BS = np.where(place_BS < size_B[:, None], np.take_along_axis(x_BT, inside_BS, axis=1), END)
    return x_BT[:, : half + 1], length_B, rest_BS
