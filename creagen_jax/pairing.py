"""What only pairs have: held-out sources to write from, how right the outputs are, and where the
decoder looked for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from creagen_jax import data, models
from creagen_jax.creativity import record, transduction
from creagen_jax.creativity.estimate import Estimate
from creagen_jax.data import batching
from creagen_jax.data.tokenizers import END, Tokenizer
from creagen_jax.generation import Model

SHOWN = 6  # alignments of a report


@dataclasses.dataclass(frozen=True)
class Questions:
    """Held-out sources, each once, and all targets that the data have for it."""

    sources: tuple[str, ...]
    references: list[list[str]]


def questions(modality: str, dataset: Any, num: int) -> Questions:
    """At most `num` sources of the test split, or of validation if there is none, evenly spaced."""
    split = [name for name in ("validation", "test") if name in dataset.splits][-1]
    found = data.get(modality).references(dataset, split)
    chosen = [found[i] for i in batching.spaced(len(found), num)]
    return Questions(tuple(source for source, _ in chosen), [each for _, each in chosen])


def scores(
    codec: Any, outputs: Sequence[str], asked: Questions, *, seed: int
) -> dict[str, Estimate]:
    """How right the outputs are, by the names of `catalogue.METRICS`."""
    words = codec.tokenizer.kind == "word"
    return transduction.measure(outputs, asked.references, words=words, seed=seed)


def alignments(model: Model, outputs: Sequence[str], asked: Questions) -> list[record.Alignment]:
    """Where the decoder looked for the first outputs; none for a model without attention."""
    family = models.get(model.family)
    if not getattr(model.cfg, "attention", False):
        return []
    codec, rows = model.codec, list(zip(asked.sources, outputs, strict=True))[:SHOWN]
    source_BS = np.stack([codec.encode_source(source) for source, _ in rows])
    x_BT = np.full((len(rows), model.length + 1), END, np.int32)
    for row, (_, output) in enumerate(rows):
        ids = codec.tokenizer.encode(output, unknown=True)[: model.length]
        x_BT[row, 1 : len(ids) + 1] = ids
    batch = {"x": x_BT, "source": source_BS}
    weights_BTS = np.asarray(
        jax.jit(family.alignments, static_argnums=1)(model.params, model.cfg, batch)
    )
    found = []
    for x_T, source_S, weights_TS in zip(x_BT[:, 1:], source_BS, weights_BTS, strict=True):
        target, source = _units(codec.tokenizer, x_T), _units(codec.source_tokenizer, source_S)
        weights = weights_TS[: len(target), : len(source)]
        found.append(record.alignment(source, target, weights))
    return found


def _units(tokenizer: Tokenizer, ids: np.ndarray) -> list[str]:
    """The tokens up to the first END as texts; END, where there is one, is ""."""
    ends = np.flatnonzero(ids == END)
    return [tokenizer.decode([i]) for i in (ids[: ends[0] + 1] if len(ends) else ids)]
