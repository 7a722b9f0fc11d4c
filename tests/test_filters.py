"""Every filter equals its definition, written slowly in NumPy; filters never leave a row empty."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from creagen_jax.sampling import filters
from creagen_jax.sampling.filters import Sampling, process, validate
from creagen_jax.types import UserError

B, V, L = 3, 7, 9  # fixed, so that each jitted filter compiles once
BAN = -np.inf
no_repeat_ngram = jax.jit(filters.no_repeat_ngram, static_argnums=3)

# Logits from a coarse grid have many ties, and -inf stands for tokens removed before.
level = st.integers(-12, 12).map(lambda i: i / 4)
row = st.lists(st.one_of(level, st.just(BAN)), min_size=V, max_size=V)
row = row.filter(lambda values: max(values) > BAN)
batches = st.lists(row, min_size=B, max_size=B).map(lambda rows: np.array(rows, np.float32))
mass = st.floats(0.01, 1.0)
tokens = st.lists(
    st.lists(st.integers(0, 2), min_size=L, max_size=L), min_size=B, max_size=B
).map(lambda rows: np.array(rows, np.int32))  # fmt: skip
counts = st.lists(
    st.lists(st.integers(0, 4), min_size=V, max_size=V), min_size=B, max_size=B
).map(lambda rows: np.array(rows, np.int32))  # fmt: skip
fast = settings(max_examples=40, deadline=None)


def kept(logits):
    return np.asarray(logits) > BAN


def softmax(x):
    p = np.exp(x.astype(np.float64) - x.max())
    return p / p.sum()


def fewest(prob, order, p):
    """The first tokens of an order whose probabilities add up to p; None if rounding decides."""
    chosen, total = set(), 0.0
    for token in order:
        if abs(total - p) < 1e-5 and chosen:
            return None
        if chosen and total >= p:
            break
        chosen.add(int(token))
        total += prob[token]
    return chosen


@fast
@given(batches, st.integers(1, V + 2))
def test_top_k_keeps_exactly_k_of_the_largest(logits, k):
    result = np.asarray(filters.top_k(jnp.asarray(logits), k))
    for before, after in zip(logits, result, strict=True):
        largest = np.argsort(-before, kind="stable")[:k]
        expected = np.where(np.isin(np.arange(V), largest), before, BAN)
        np.testing.assert_array_equal(after, expected)


@fast
@given(batches, mass)
def test_top_p_keeps_the_nucleus(logits, p):
    result = kept(filters.top_p(jnp.asarray(logits), p))
    for before, after in zip(logits, result, strict=True):
        expected = fewest(softmax(before), np.argsort(-before, kind="stable"), p)
        assume(expected is not None)
        assert set(np.flatnonzero(after)) == {t for t in expected if before[t] > BAN}


@fast
@given(st.integers(0, 2**32 - 1), mass)
def test_typical_keeps_the_nearest_to_the_entropy(seed, p):
    logits = np.random.default_rng(seed).normal(size=(B, V)).astype(np.float32)
    result = kept(filters.typical(jnp.asarray(logits), p))
    for before, after in zip(logits, result, strict=True):
        prob = softmax(before)
        distance = np.abs(-np.log(prob) + (prob * np.log(prob)).sum())
        assume(np.diff(np.sort(distance)).min() > 1e-5)
        expected = fewest(prob, np.argsort(distance), p)
        assume(expected is not None)
        assert set(np.flatnonzero(after)) == expected


def test_typical_can_remove_the_likeliest():
    probs = np.array([[0.5, *[0.02] * 25]] * 2)  # entropy 2.3 nats; surprisals 0.7 and 3.9
    probs[:, 1:9] = 0.05  # 3.0 nats: the nearest
    probs[:, 9:] = 0.1 / 17
    result = kept(filters.typical(jnp.log(probs), 0.33))
    np.testing.assert_array_equal(result.nonzero()[1], [*range(1, 8)] * 2)


@fast
@given(batches, st.floats(0.0, 1.0))
def test_min_p_compares_with_the_largest(logits, p):
    result = kept(filters.min_p(jnp.asarray(logits), p))
    ratio = np.exp((logits - logits.max(-1, keepdims=True)).astype(np.float64))
    assume((np.abs(ratio - p) > 1e-6).all() or p in (0.0, 1.0))
    np.testing.assert_array_equal(result, (ratio >= p) & (logits > BAN))


@fast
@given(batches, st.floats(0.05, 20.0))
def test_temperature_scales_log_odds(logits, t):
    result = filters.temperature(jnp.asarray(logits), t)
    for before, after in zip(logits, np.asarray(result), strict=True):
        np.testing.assert_allclose(softmax(after), softmax(before / t), atol=1e-5)


@pytest.mark.parametrize("t", [0.0, 1e-45, 1e-12])
def test_temperature_to_zero_leaves_the_maxima(t):
    logits = np.array([[1, 3, 3, 2], [-5, BAN, -6, BAN]], np.float32)
    probs = jax.nn.softmax(filters.temperature(jnp.asarray(logits), t))
    np.testing.assert_array_equal(probs, [[0, 0.5, 0.5, 0], [1, 0, 0, 0]])


@fast
@given(batches, counts, st.floats(0.1, 5.0), st.floats(-3.0, 3.0))
def test_penalties(logits, counts, theta, alpha):
    repeated, present, frequent = logits.copy(), logits.copy(), logits.copy()
    for b in range(B):
        for v in range(V):
            if counts[b, v]:
                repeated[b, v] *= theta if logits[b, v] < 0 else 1 / theta
                present[b, v] -= alpha
                frequent[b, v] -= alpha * counts[b, v]
    for name, value, expected in (
        ("repetition_penalty", theta, repeated),
        ("presence_penalty", alpha, present),
        ("frequency_penalty", alpha, frequent),
    ):
        result = getattr(filters, name)(jnp.asarray(logits), jnp.asarray(counts), value)
        np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


@fast
@given(batches, tokens, st.lists(st.integers(1, L), min_size=B, max_size=B), st.integers(1, 4))
def test_no_repeat_ngram(logits, history, lengths, n):
    result = np.asarray(no_repeat_ngram(logits, history, np.array(lengths), n))
    for before, after, whole, length in zip(logits, result, history, lengths, strict=True):
        past = whole[:length].tolist()
        ngrams = [past[i : i + n] for i in range(length - n + 1)]
        recent = past[length - n + 1 :]
        expected = before.copy()
        for v in range(V):
            if length >= n - 1 and [*recent, v] in ngrams:
                expected[v] = BAN
        np.testing.assert_array_equal(after, expected if kept(expected).any() else before)


def test_no_repeat_ngram_longer_than_the_history_bans_nothing():
    logits, history = jnp.zeros((2, 4)), jnp.zeros((2, 3), jnp.int32)
    result = filters.no_repeat_ngram(logits, history, jnp.array([3, 2]), 6)
    np.testing.assert_array_equal(result, logits)


def test_forbid():
    logits = jnp.zeros((2, 4))
    expected = [[BAN, 0, BAN, 0]] * 2
    np.testing.assert_array_equal(filters.forbid(logits, (0, 2)), expected)


@pytest.mark.parametrize("name", ["top_p", "typical"])
def test_a_tiny_mass_keeps_one_token_and_all_of_it_keeps_all(name):
    logits = jnp.array([[0, 0, 0, 0], [1, 2, 3, 2.5]])
    keep = getattr(filters, name)
    np.testing.assert_array_equal(kept(keep(logits, 1e-45)).sum(-1), [1, 1])
    np.testing.assert_array_equal(keep(logits, 1.0), logits)


@settings(max_examples=15, deadline=None)
@given(batches, st.data())
def test_any_composition_leaves_a_token_and_never_a_new_one(logits, data):
    draw = data.draw
    chosen = Sampling(
        temperature=draw(st.sampled_from([0.0, 0.5, 1.0])),
        top_k=draw(st.integers(0, 9)),
        top_p=draw(st.sampled_from([1e-6, 0.5, 1.0])),
        min_p=draw(st.sampled_from([0.0, 0.3, 1.0])),
        typical_p=draw(st.sampled_from([1e-6, 0.5, 1.0])),
        presence_penalty=draw(st.sampled_from([0.0, 1.0])),
        no_repeat_ngram=draw(st.sampled_from([0, 2])),
    )
    validate(chosen)
    result = process(
        jnp.asarray(logits),
        chosen,
        counts_BV=jnp.ones((B, V), jnp.int32),
        history_BL=jnp.zeros((B, L), jnp.int32),
        length_B=jnp.full(B, L),
    )
    assert kept(result).any(-1).all() and not np.isnan(result).any()
    assert not (kept(result) & ~kept(logits)).any()


def test_process_penalises_then_heats_then_truncates():
    logits = jnp.array([[4.0, 3.0, 0.0], [0.0, 3.0, 4.0]])
    seen = jnp.array([[1, 0, 0], [0, 0, 0]])
    chosen = Sampling(presence_penalty=2.0, temperature=0.5, top_k=1)
    np.testing.assert_array_equal(
        kept(process(logits, chosen, counts_BV=seen)), [[False, True, False], [False, False, True]]
    )


@pytest.mark.parametrize(
    ("chosen", "alone"),
    [
        (Sampling(temperature=0.5), lambda x: filters.temperature(x, 0.5)),
        (Sampling(top_k=3), lambda x: filters.top_k(x, 3)),
        (Sampling(top_p=0.5), lambda x: filters.top_p(x, 0.5)),
        (Sampling(min_p=0.4), lambda x: filters.min_p(x, 0.4)),
        (Sampling(typical_p=0.5), lambda x: filters.typical(x, 0.5)),
    ],
)
def test_each_setting_reaches_its_filter(chosen, alone):
    logits = jax.random.normal(jax.random.key(0), (B, V))
    result = process(logits, chosen)
    assert (result != logits).any()
    np.testing.assert_array_equal(result, alone(logits))


def test_settings_that_are_off_change_nothing():
    logits = jax.random.normal(jax.random.key(0), (B, V))
    np.testing.assert_array_equal(process(logits, Sampling()), logits)


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"typical_p": 0.0},
        {"repetition_penalty": 0.0},
        {"presence_penalty": float("inf")},
        {"frequency_penalty": float("nan")},
        {"no_repeat_ngram": 1},
        {"beams": -1},
        {"length_penalty": -1.0},
        {"beams": 2, "top_k": 5},
    ],
)
def test_a_setting_out_of_range_is_a_users_mistake(bad):
    with pytest.raises(UserError, match=list(bad)[-1]):
        validate(Sampling(**bad))
    validate(Sampling())
    validate(Sampling(beams=4, length_penalty=0.0))
