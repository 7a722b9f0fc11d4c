"""A small model of which caption is of which picture (Radford et al. 2021), trained on the training
split: by it `creativity.retrieval` judges pictures that were drawn from captions."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from creagen_jax.creativity import retrieval
from creagen_jax.creativity.estimate import Estimate
from creagen_jax.data import batching, captioned
from creagen_jax.data.tokenizers import END
from creagen_jax.models._captions import PictureEncoder, Size, TextEncoder
from creagen_jax.types import Params, UserError

SIZE = Size(width=128, depth=1, heads=4)
FEWEST = 10  # different captions that it can be trained on
BATCH = 128
STEPS = 400
CHECK = 100  # steps between two looks at the loss of pairs that were put aside
RATE = 2e-3  # peak of the learning rate
DECAY = 0.1  # of the weights
NOISE = 0.1  # largest standard deviation of what is added to pictures, which lie in -1 .. 1
SCALE = 8.0  # by which products of vectors become logits, before training
SHIFT = 1 / 16  # of a side: the most that pictures are moved by
WORDS = 0.1  # share of tokens that are left out


class Judge(NamedTuple):
    """What was trained, for `look` and `read`."""

    params: Params
    vocab: int


def fit(images_NHWC: np.ndarray, source_NS: np.ndarray, *, vocab: int, seed: int = 0) -> Judge:
    """Trains on pairs: pictures [N, H, W, C] uint8, and captions [N, S] int32 as `Spec.source`.

    Pairs with the same caption all count as right. A tenth of the captions is put aside, and the
    parameters that find theirs best are kept. Raises UserError for fewer than `FEWEST` captions.
    """
    if (many := len(np.unique(source_NS, axis=0))) < FEWEST:
        raise UserError(f"{many} different captions are too few to learn from; give {FEWEST}")
    rest, aside = _put_aside(source_NS, seed)
    rate = optax.warmup_cosine_decay_schedule(0, RATE, STEPS // 10, STEPS)
    tx = optax.adamw(rate, weight_decay=DECAY)
    params = _start(vocab, _encode(images_NHWC[:1]), source_NS[:1], seed)
    best, least, state, step = params, np.inf, tx.init(params), _stepper(vocab, tx)
    held = _encode(images_NHWC[aside]), source_NS[aside]
    for i in range(1, STEPS + 1):
        rows_B = rest[batching.shuffled(len(rest), seed=seed, step=i, size=BATCH)]
        rng = np.random.default_rng((seed, i))
        x_BHWC, source_BS = _disturb(_encode(images_NHWC[rows_B]), rng), source_NS[rows_B]
        params, state = step(params, state, x_BHWC, _forget(source_BS, rng), source_BS)
        if i % CHECK == 0:
            loss = float(_loss(params, vocab, *held, held[1]))
            if loss < least:
                best, least = params, loss
    return Judge(jax.tree.map(np.asarray, best), vocab)


def look(judge: Judge, images_NHWC: np.ndarray) -> np.ndarray:
    """Pictures [N, H, W, C] uint8 as unit vectors [N, D]."""
    return _parts(lambda x_BHWC: _look(judge.params, _encode(x_BHWC)), images_NHWC)


def read(judge: Judge, source_NS: np.ndarray) -> np.ndarray:
    """Captions [N, S] int32 as unit vectors [N, D]."""
    return _parts(lambda source_BS: _read(judge.params, judge.vocab, source_BS), source_NS)


def questions(dataset: captioned.Dataset) -> tuple[str, ...]:
    """The different captions of the test split, or of validation if there is none, but for those
    that are cut.

    Raises UserError if nothing is held out.
    """
    texts, source_NS, _ = captioned.one_each(dataset, _held_out(dataset))
    rows = zip(texts, source_NS, strict=True)
    return tuple(text for text, ids in rows if dataset.codec.decode_source(ids) == text)


def scores(
    dataset: captioned.Dataset, drawn_NHWC: np.ndarray, prompts: Sequence[str], *, seed: int = 0
) -> dict[str, dict[str, Estimate]]:
    """Metrics of the pictures [N, H, W, C] uint8 that were drawn from N prompts, and of the real
    ones: {"model": .., "held-out": ..}, by the names of `catalogue.METRICS`.

    The first picture of each held-out caption counts; prompts of other words do not.
    """
    texts, source_MS, real_MHWC = captioned.one_each(dataset, _held_out(dataset))
    first = {text: i for i, text in reversed(list(enumerate(prompts)))}
    rows = [row for row, text in enumerate(texts) if text in first]
    if not rows:
        return {"model": {}, "held-out": {}}
    drawn = drawn_NHWC[[first[texts[row]] for row in rows]]
    train = dataset.pictures.splits["train"]
    judge = fit(
        train.images,
        dataset.source_KS[train.labels],
        vocab=dataset.codec.source_tokenizer.vocab,
        seed=seed,
    )
    vectors = (read(judge, source_MS[rows]), look(judge, drawn), look(judge, real_MHWC[rows]))
    found = retrieval.measure(*vectors, seed=seed)
    model = {
        "recall_at_10": found["generated"],
        "recall_at_10_shuffled": found["shuffled"],
        "recall_at_10_times_chance": found["times_chance"],
        "recall_at_10_of_real": found["of_real"],
    }
    return {"model": model, "held-out": {"recall_at_10": found["real"]}}


def _held_out(dataset: captioned.Dataset) -> str:
    held = [name for name in ("validation", "test") if name in dataset.splits]
    if not held:
        raise UserError("no caption is held out to draw from; train with --data.test 0.1")
    return held[-1]


def _put_aside(source_NS: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows put aside; all of one caption together, and one of each aside."""
    _, first, kind_N = np.unique(source_NS, axis=0, return_index=True, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(first))
    aside = order[: max(len(order) // 10, 1)]
    return np.flatnonzero(~np.isin(kind_N.ravel(), aside)), first[aside]


def _start(vocab: int, x_1HWC: np.ndarray, source_1S: np.ndarray, seed: int) -> Params:
    picture, text = jax.random.split(jax.random.key(seed))
    return {
        "picture": jax.jit(PictureEncoder(SIZE.width).init)(picture, x_1HWC)["params"],
        "text": jax.jit(TextEncoder(SIZE, vocab).init)(text, source_1S)["params"],
        "scale": jnp.log(SCALE),
    }


@jax.jit
def _look(params: Params, x_BHWC) -> jax.Array:
    return PictureEncoder(SIZE.width).apply({"params": params["picture"]}, x_BHWC)


@functools.partial(jax.jit, static_argnums=1)
def _read(params: Params, vocab: int, source_BS) -> jax.Array:
    return TextEncoder(SIZE, vocab).apply({"params": params["text"]}, source_BS)


@functools.partial(jax.jit, static_argnums=1)
def _loss(params: Params, vocab: int, x_BHWC, read_BS, source_BS) -> jax.Array:
    """InfoNCE (van den Oord et al. 2018, eq. 4) in both directions, in nats: what is read against
    pictures. Those with the same source share the target."""
    picture_BD, text_BD = _look(params, x_BHWC), _read(params, vocab, read_BS)
    logits_BB = jnp.exp(params["scale"]) * text_BD @ picture_BD.T
    same_BB = (source_BS[:, None] == source_BS[None]).all(axis=-1)
    target_BB = same_BB / same_BB.sum(axis=1)
    found = optax.softmax_cross_entropy(logits_BB, target_BB)
    return (found + optax.softmax_cross_entropy(logits_BB.T, target_BB)).mean() / 2


def _stepper(vocab: int, tx: optax.GradientTransformation) -> Any:
    @jax.jit
    def step(params: Params, state: optax.OptState, *batch):
        grads = jax.grad(_loss)(params, vocab, *batch)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return step


def _encode(images_NHWC: np.ndarray) -> np.ndarray:
    return images_NHWC.astype(np.float32) / 127.5 - 1


def _disturb(x_BHWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each picture moved, its edge repeated, and with noise: drawn ones are not as clean as real
    ones, and must not be strange for that alone."""
    B, *sides, _ = x_BHWC.shape
    row_BH, column_BW = (
        (np.arange(side) + rng.integers(-most, most, (B, 1), endpoint=True)).clip(0, side - 1)
        for side, most in ((side, round(SHIFT * side)) for side in sides)
    )
    moved = x_BHWC[np.arange(B)[:, None, None], row_BH[:, :, None], column_BW[:, None, :]]
    scale_B111 = rng.uniform(0, NOISE, (B, 1, 1, 1)).astype(np.float32)
    return moved + scale_B111 * rng.standard_normal(moved.shape, np.float32)


def _forget(source_BS: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The captions without some of their tokens, but for the first END."""
    kept_BS = (rng.random(source_BS.shape) >= WORDS) | (source_BS == END)
    order_BS = np.argsort(~kept_BS, axis=1, kind="stable")
    return np.take_along_axis(np.where(kept_BS, source_BS, END), order_BS, axis=1)


def _parts(function, rows_N: np.ndarray, size: int = 256) -> np.ndarray:
    """A function of rows applied to `size` of them at a time, the last ones padded."""
    found = []
    for first in range(0, len(rows_N), size):
        part = rows_N[first : first + size]
        padded = batching.pad({"rows": part}, size)["rows"]
        found.append(np.asarray(function(padded))[: len(part)])
    return np.concatenate(found)
