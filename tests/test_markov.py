from collections import Counter, defaultdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax.functional import ngram
from creagen_jax.models import markov
from creagen_jax.types import Spec, UserError

SHAKESPEARE = Path(__file__).parents[2] / "shared/data/text/tinyshakespeare.txt"


def make_batch(rng, B=4, T=9, V=5, C=0):
    length_B = rng.integers(1, T + 1, B)
    batch = {
        "x": rng.integers(0, V, (B, T + 1)).astype(np.int32),
        "mask": (np.arange(T) < length_B[:, None]).astype(np.float32),
    }
    if C:
        batch["condition"] = rng.integers(0, C, B).astype(np.int32)
    return batch


def rows_of(batch, rows):
    return {name: value[rows] for name, value in batch.items()}


def train(cfg, spec, *batches):
    state = markov.init(None, cfg, spec)
    step = markov.make_step(cfg, spec)
    for batch in batches:
        state, _ = step(state, batch, None)
    return state


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def decode_logits(params, cfg, batch):
    """[B, T, V], a token at a time, inside one jitted scan."""

    @jax.jit
    def decode(params, x_TB, condition):
        carry = markov.init_carry(params, cfg, x_TB.shape[1], condition)

        def body(carry, token_B):
            logits_BV, carry = markov.next_logits(params, cfg, carry, token_B)
            return carry, logits_BV

        return jax.lax.scan(body, carry, x_TB)[1]

    logits_TBV = decode(params, batch["x"][:, :-1].T, batch.get("condition"))
    return np.asarray(logits_TBV).swapaxes(0, 1)


def predictions(batch, order):
    """[B][T] triples: label, the tokens before (latest first, order - 1 at most), token."""
    label_B = batch.get("condition", np.zeros(len(batch["x"]), int)).tolist()
    return [
        [(label, tuple(x[max(0, t - order + 1) : t][::-1]), x[t]) for t in range(1, len(x))]
        for label, x in zip(label_B, batch["x"].tolist(), strict=True)
    ]


def textbook(events, shortest=0):
    """Kneser-Ney by dictionaries: p(token, context, base), contexts being tuples, latest first.

    `shortest` is the length of the shortest context, which backs off to `base`.
    """
    raw, left, after, of_length = Counter(), defaultdict(set), defaultdict(dict), defaultdict(list)
    for context, token in events:
        raw[context, token] += 1
        for k in range(len(context)):
            left[context[:k], token].add(context[k])
    for context, token in raw.keys() | left.keys():
        count = raw[context, token] + len(left[context, token])
        after[context][token] = count
        of_length[len(context)].append(count)

    def p(token, context, base):
        for k in range(shortest, len(context) + 1):
            if context[:k] not in after:
                break
            counts, n = after[context[:k]], Counter(of_length[k])
            d = n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else 0.5
            kept = max(counts.get(token, 0) - d, 0)
            base = (kept + d * len(counts) * base) / sum(counts.values())
        return base

    return p


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    order=st.integers(1, 5),
    V=st.integers(1, 6),
    C=st.sampled_from([0, 3]),
)
def test_probabilities_are_those_of_the_textbook(seed, order, V, C):
    rng = np.random.default_rng(seed)
    cfg, spec = markov.Config(order=order), Spec(vocab=V, classes=C)
    seen, asked = make_batch(rng, V=V, C=C), make_batch(rng, V=V, C=C)
    params = train(cfg, spec, seen).params

    counted = [
        event
        for events, mask in zip(predictions(seen, order), seen["mask"], strict=True)
        for event, counts in zip(events, mask, strict=True)
        if counts
    ]
    all_classes = textbook([(history, token) for _, history, token in counted])
    each_class = textbook([((c, *history), token) for c, history, token in counted], shortest=1)

    def p(token, history, c):
        p_all = all_classes(token, history, 1 / V)
        p_class = each_class(token, (c, *history), p_all) if C else p_all
        return cfg.class_weight * p_class + (1 - cfg.class_weight) * p_all

    p_BTV = np.array(
        [
            [[p(token, history, c) for token in range(V)] for c, history, _ in events]
            for events in predictions(asked, order)
        ]
    )
    p_BT = np.take_along_axis(p_BTV, asked["x"][:, 1:, None], 2)[..., 0]
    metrics = markov.eval_metrics(params, cfg, asked, None)
    np.testing.assert_allclose(metrics["loss"], -(np.log(p_BT) * asked["mask"]).sum(1), rtol=1e-4)
    np.testing.assert_array_equal(metrics["weight"], asked["mask"].sum(1))
    decoded_BTV = np.exp(decode_logits(params, cfg, asked))
    np.testing.assert_allclose(decoded_BTV, p_BTV, rtol=1e-4)
    np.testing.assert_allclose(decoded_BTV.sum(-1), 1, rtol=1e-5)
    assert (decoded_BTV > 0).all()


@pytest.mark.parametrize("discounts", [1, 3])
def test_decoding_gives_the_probabilities_that_are_evaluated(discounts):
    rng = np.random.default_rng(0)
    cfg, spec = markov.Config(order=4, discounts=discounts), Spec(vocab=20, classes=2)
    params = train(cfg, spec, make_batch(rng, B=40, T=50, V=20, C=2)).params
    batch = make_batch(rng, B=7, T=12, V=20, C=2)
    logits_BTV = decode_logits(params, cfg, batch)
    np.testing.assert_allclose(np.exp(logits_BTV).sum(-1), 1, rtol=1e-5)
    log_p_BT = np.take_along_axis(logits_BTV, batch["x"][:, 1:, None], 2)[..., 0]
    loss_B = markov.eval_metrics(params, cfg, batch, None)["loss"]
    np.testing.assert_allclose(loss_B, -(log_p_BT * batch["mask"]).sum(1), rtol=1e-5)


@pytest.mark.parametrize("cuts", [[5], [1, 4, 5, 9]])
def test_neither_the_order_nor_the_number_of_steps_matters(cuts):
    rng = np.random.default_rng(0)
    cfg, spec = markov.Config(order=3), Spec(vocab=4, classes=2)
    batch = make_batch(rng, B=12, V=4, C=2)
    parts = [rows_of(batch, rows) for rows in np.split(rng.permutation(12), cuts)]
    assert_same(train(cfg, spec, batch), train(cfg, spec, *parts))


def test_windows_that_overlap_count_as_one_text():
    cfg, spec = markov.Config(order=3), Spec(vocab=4)
    text = np.random.default_rng(0).integers(0, 4, 22).astype(np.int32)
    windows = np.stack([text[:12], text[10:]])  # the second predicts text[12:], given text[10:]
    mask = np.ones((2, 11), np.float32)
    mask[1, 0] = 0
    whole = {"x": text[None], "mask": np.ones((1, 21), np.float32)}
    assert_same(train(cfg, spec, whole), train(cfg, spec, {"x": windows, "mask": mask}))


def test_the_loss_of_a_step_is_from_before_it():
    cfg, spec = markov.Config(order=3), Spec(vocab=4)
    batch = make_batch(np.random.default_rng(0), V=4)
    state = markov.init(None, cfg, spec)
    step = markov.make_step(cfg, spec)
    state, first = step(state, batch, None)
    _, second = step(state, batch, None)
    assert first["loss"] == pytest.approx(np.log(4))
    assert second["loss"] < first["loss"]


def test_a_label_moves_the_probabilities_to_its_class():
    cfg, spec = markov.Config(order=3), Spec(vocab=4, classes=3)
    x = np.tile([[0, 1, 2, 1, 2, 0], [0, 1, 3, 1, 3, 0]], (3, 1)).astype(np.int32)
    seen = {"x": x, "mask": np.ones((6, 5), np.float32), "condition": np.tile([0, 1], 3)}
    params = train(cfg, spec, seen).params

    def after_0_1(condition):
        carry = markov.init_carry(params, cfg, 3, condition)
        _, carry = markov.next_logits(params, cfg, carry, jnp.zeros(3, int))
        return np.asarray(markov.next_logits(params, cfg, carry, jnp.ones(3, int))[0])

    labelled, unlabelled = after_0_1(jnp.arange(3)), after_0_1(None)
    assert labelled[0, 2] > unlabelled[0, 2] > labelled[1, 2]
    assert labelled[1, 3] > unlabelled[1, 3] > labelled[0, 3]
    np.testing.assert_allclose(labelled[2], unlabelled[2], rtol=1e-6)  # a class without texts


@pytest.mark.parametrize("discounts", [1, 3])
@pytest.mark.parametrize("text", [[2, 2, 2, 2, 2, 2], [0, 1], [0, 1, 2, 3, 4, 5], []])
def test_texts_too_small_for_statistics_are_fine(text, discounts):
    cfg, spec = markov.Config(order=4, discounts=discounts), Spec(vocab=7)
    x = np.pad(text, (0, 7 - len(text))).astype(np.int32)[None].repeat(2, 0)
    mask = (np.arange(6) < len(text) - 1).astype(np.float32)[None].repeat(2, 0)
    params = train(cfg, spec, {"x": x, "mask": mask}).params
    p_BTV = np.exp(decode_logits(params, cfg, {"x": x}))
    assert (p_BTV > 0).all()
    np.testing.assert_allclose(p_BTV.sum(-1), 1, rtol=1e-5)


def test_long_contexts_of_a_large_vocabulary_do_not_collide():
    V, cfg = 100_000, markov.Config(order=6)
    batch = make_batch(np.random.default_rng(0), B=50, T=40, V=V)
    params = train(cfg, Spec(vocab=V), batch).params
    metrics = markov.eval_metrics(params, cfg, batch, None)
    strange = {**batch, "x": batch["x"][:, ::-1]}
    strangers = markov.eval_metrics(params, cfg, strange, None)
    assert (metrics["loss"] / metrics["weight"] < 1.5).all()  # each context is seen once
    assert strangers["loss"].sum() / strangers["weight"].sum() > 7


def test_discounts_are_those_of_the_papers():
    counts = np.repeat([1, 2, 3, 4, 9], [40, 20, 10, 5, 3])
    y = 40 / 80
    np.testing.assert_allclose(ngram.discounts(counts, 1), y)
    modified = [1 - 2 * y * 20 / 40, 2 - 3 * y * 10 / 20, 3 - 4 * y * 5 / 10]
    np.testing.assert_allclose(ngram.discounts(counts, 3), modified)


@pytest.mark.parametrize("wrong", [{"order": 0}, {"class_weight": 1.5}])
def test_a_wrong_setting_is_named(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        markov.init(None, markov.Config(**wrong), Spec(vocab=4))


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="needs shared/data/text/tinyshakespeare.txt")
@pytest.mark.parametrize(("discounts", "nats"), [(1, 1.558), (3, 1.5225)])
def test_shakespeare(discounts, nats):
    text = SHAKESPEARE.read_text()
    tokens = np.unique(list(text), return_inverse=True)[1].astype(np.int32) + 2
    train_text, validation = np.split(tokens, [int(0.9 * len(tokens))])
    cfg, spec = markov.Config(order=6, discounts=discounts), Spec(vocab=67)
    whole = {"x": train_text[None], "mask": np.ones((1, len(train_text) - 1))}
    params = train(cfg, spec, whole).params
    mask = np.arange(len(validation) - 1)[None] >= cfg.order - 2  # full history
    batch = {"x": validation[None], "mask": mask}
    metrics = markov.eval_metrics(params, cfg, batch, None)
    assert metrics["loss"] / metrics["weight"] == pytest.approx(nats, abs=1e-3)
