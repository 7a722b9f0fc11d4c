"""Each piece of mathematics equals its definition, written slowly in NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from creagen_jax.functional import recurrent
from creagen_jax.functional.attention import (
    causal_attention,
    causal_mask,
    dot_product_attention,
    query_attention,
)
from creagen_jax.functional.embedding import embed, rotary, sinusoidal
from creagen_jax.functional.layers import cross_entropy, dropout, linear, rms_norm

few = settings(max_examples=8, deadline=None)


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


# --- products ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 1, 3, 5)])
def test_a_product_over_the_last_axis(shape):
    x, W = normal(0, *shape), normal(1, 5, 4)
    y, pullback = jax.vjp(linear, x, W)
    expected, by_matmul = jax.vjp(jnp.matmul, x, W)
    dy = normal(2, *shape[:-1], 4)
    for mine, theirs in zip((y, *pullback(dy)), (expected, *by_matmul(dy)), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


# --- attention -----------------------------------------------------------------------------------


def attention_by_hand(q, k, v, mask):
    """Query by query, in float64."""
    q, k, v = (np.asarray(a, np.float64) for a in (q, k, v))
    out = np.zeros(q.shape)
    for b, t, n in np.ndindex(q.shape[:3]):
        seen = np.flatnonzero(mask[b % len(mask), t])
        scores = [q[b, t, n] @ k[b, s, n] / np.sqrt(q.shape[-1]) for s in seen]
        weights = np.exp(scores) / np.exp(scores).sum()
        out[b, t, n] = weights @ v[b, seen, n]
    return out


B, T, S, N, K = 3, 4, 5, 2, 6
MASKS = arrays(bool, (B, T, S)).filter(lambda mask: mask.any(-1).all())


@few
@given(st.integers(0, 99), MASKS, st.booleans())
def test_attention(seed, mask, shared):
    q, k, v = normal(seed, B, T, N, K), normal(seed + 1, B, S, N, K), normal(seed + 2, B, S, N, K)
    mask = mask[:1] if shared else mask
    out = dot_product_attention(q, k, v, jnp.asarray(mask))
    np.testing.assert_allclose(out, attention_by_hand(q, k, v, mask), atol=1e-5)
    library = jax.nn.dot_product_attention(q, k, v, mask=jnp.asarray(mask)[:, None])
    np.testing.assert_allclose(out, library, atol=1e-5)


def test_attention_in_bfloat16_is_close():
    q, k, v = (normal(seed, 2, 7, 3, 8) for seed in range(3))
    exact = dot_product_attention(q, k, v, causal_mask(7))
    low = dot_product_attention(*(a.astype(jnp.bfloat16) for a in (q, k, v)), causal_mask(7))
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(jnp.float32), exact, atol=0.05)


@pytest.mark.parametrize("length", [1, 5, 64, 65, 300, 700])
def test_causal_attention_in_blocks_is_attention_under_a_causal_mask(length):
    rng = np.random.default_rng(length)
    q, k, v, dy = rng.normal(size=(4, 2, length, 3, 4)).astype(np.float32)

    def whole(q, k, v):
        return dot_product_attention(q, k, v, causal_mask(length))

    for attend in (causal_attention, whole):
        y, pullback = jax.vjp(attend, q, k, v)
        found = [y, *pullback(jnp.asarray(dy))]
        if attend is causal_attention:
            blocks = found
    for mine, theirs in zip(blocks, found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_causal_attention_in_bfloat16_is_close():
    q, k, v = (normal(seed, 2, 100, 3, 8) for seed in range(3))

    def found(dtype):
        given = (each.astype(dtype) for each in (q, k, v))
        y, pullback = jax.vjp(causal_attention, *given)
        found = [y, *pullback(jnp.ones_like(y))]
        assert all(each.dtype == dtype for each in found)
        return found

    for low, exact in zip(found(jnp.bfloat16), found(jnp.float32), strict=True):
        np.testing.assert_allclose(low.astype(jnp.float32), exact, rtol=0.05, atol=0.08)


@pytest.mark.parametrize("heads", [3, 10])  # a few products, and many
def test_attention_of_one_query_is_attention(heads):
    q, k, v = (normal(seed, 2, length, heads, 4) for seed, length in enumerate((1, 5, 5)))
    mask = jnp.array([[True, False, True, True, False], [False, True, False, False, False]])
    one = query_attention(q[:, 0], k.swapaxes(1, 2), v.swapaxes(1, 2), mask)
    whole = dot_product_attention(q, k, v, mask[:, None])
    np.testing.assert_allclose(one, whole[:, 0], atol=1e-6)


def test_causal_mask():
    mask = np.asarray(causal_mask(4)[0])
    assert all(mask[t, s] == (s <= t) for t, s in np.ndindex(4, 4))


# --- positions -----------------------------------------------------------------------------------


@few
@given(st.integers(0, 99), st.integers(0, 50), st.integers(0, 50), st.integers(0, 1000))
def test_a_rotary_product_depends_on_the_distance_alone(seed, t, s, shift):
    q, k = normal(seed, 2, 1, 3, 8), normal(seed + 1, 2, 1, 3, 8)

    def product(t, s):
        turned = rotary(q, jnp.array([[t]])), rotary(k, jnp.array([[s]]))
        return jnp.einsum("btnk,bsnk->bnts", *turned)

    np.testing.assert_allclose(product(t, s), product(t + shift, s + shift), atol=2e-3)


def test_rotary_keeps_lengths_and_starts_at_the_identity():
    x, position = normal(0, 2, 5, 3, 8), jnp.arange(5)[None]
    turned = rotary(x, position)
    np.testing.assert_array_equal(turned[:, 0], x[:, 0])
    norms = (jnp.linalg.norm(a, axis=-1) for a in (turned, x))
    np.testing.assert_allclose(*norms, rtol=1e-5)


def test_sinusoidal():
    D, position = 6, jnp.array([[0, 1, 7], [3, 2, 90]])
    out = sinusoidal(position, D)
    for b, t, i in np.ndindex(2, 3, D // 2):
        angle = float(position[b, t]) / 10000 ** (2 * i / D)
        np.testing.assert_allclose(out[b, t, i], np.sin(angle), atol=1e-5)
        np.testing.assert_allclose(out[b, t, D // 2 + i], np.cos(angle), atol=1e-5)


def test_embed():
    table, tokens = normal(0, 5, 3), jnp.array([[4, 0], [1, 1]])
    np.testing.assert_array_equal(embed(table, tokens), np.asarray(table)[np.asarray(tokens)])


# --- recurrent cells -----------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_by_hand(x, h, c, W, U, b):
    W, U, b = (np.split(a, 4, axis=-1) for a in (W, U, b))
    i, f, g, o = (x @ W[j] + h @ U[j] + b[j] for j in range(4))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def gru_by_hand(x, h, W, U, b):
    W, U, b = (np.split(a, 3, axis=-1) for a in (W, U, b))
    r = sigmoid(x @ W[0] + b[0] + h @ U[0])
    z = sigmoid(x @ W[1] + b[1] + h @ U[1])
    n = np.tanh(x @ W[2] + b[2] + r * (h @ U[2]))
    return (z * h + (1 - z) * n,)


CELLS = {
    "lstm": (recurrent.lstm_cell, 4, 2, lstm_by_hand),
    "gru": (recurrent.gru_cell, 3, 1, gru_by_hand),
}
cells = pytest.mark.parametrize(("cell", "gates", "carries", "by_hand"), CELLS.values(), ids=CELLS)


def problem(gates, carries, B=3, T=6, D=4, K=5):
    """Input, carry and weights."""
    carry = tuple(normal(10 + i, B, K) for i in range(carries))
    G = gates * K
    return normal(0, B, T, D), carry, normal(1, D, G), normal(2, K, G) / 2, normal(3, G)


@cells
def test_recurrence(cell, gates, carries, by_hand):
    x, carry, W, U, b = problem(gates, carries)
    h_BTK, last = recurrent.recur(cell, x, carry, W, U, b)
    exact = partial(jax.tree.map, lambda a: np.asarray(a, np.float64))
    state, weights = exact(carry), exact((W, U, b))
    for t in range(x.shape[1]):
        state = by_hand(np.asarray(x[:, t], np.float64), *state, *weights)
        np.testing.assert_allclose(h_BTK[:, t], state[0], atol=1e-5)
    for a, expected in zip(last, state, strict=True):
        np.testing.assert_allclose(a, expected, atol=1e-5)


@cells
def test_the_gradient_of_a_recurrence_is_that_of_the_plain_scan(cell, gates, carries, by_hand):
    x, carry, W, U, b = problem(gates, carries)

    def plain(x, carry, W, U, b):
        states = []
        for t in range(x.shape[1]):
            carry = cell(x[:, t] @ W + b, carry[0] @ U, carry)
            states.append(carry[0])
        return jnp.stack(states, 1), carry

    def loss(run, *args):  # of every output, each with a weight of its own
        leaves = jax.tree.leaves(run(*args))
        return sum((leaf * normal(20 + i, *leaf.shape)).sum() for i, leaf in enumerate(leaves))

    ours = jax.jit(jax.grad(partial(loss, partial(recurrent.recur, cell)), range(5)))
    autodiff = jax.jit(jax.grad(partial(loss, plain), range(5)))
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4),
        ours(x, carry, W, U, b),
        autodiff(x, carry, W, U, b),
    )


@cells
def test_a_recurrence_in_two_parts_is_the_same(cell, gates, carries, by_hand):
    x, carry, *weights = problem(gates, carries)
    whole, last = recurrent.recur(cell, x, carry, *weights)
    first, between = recurrent.recur(cell, x[:, :2], carry, *weights)
    second, end = recurrent.recur(cell, x[:, 2:], between, *weights)
    np.testing.assert_allclose(jnp.concatenate([first, second], 1), whole, atol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), end, last)


# --- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rms_norm(dtype):
    x = (normal(0, 2, 3, 16) * 5).astype(dtype)
    out = rms_norm(x)
    exact = np.asarray(x, np.float64)
    exact /= np.sqrt((exact**2).mean(-1, keepdims=True))
    assert out.dtype == dtype
    tolerance = 1e-5 if dtype == "float32" else 0.02
    np.testing.assert_allclose(np.asarray(out, np.float64), exact, atol=tolerance)
    assert jnp.isfinite(rms_norm(jnp.zeros((2, 4)))).all()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_drops_its_share(rate):
    x = jnp.full((100, 400), 3.0)
    out = dropout(jax.random.key(0), x, rate)
    assert abs((out == 0).mean() - rate) < 0.01
    np.testing.assert_allclose(out[out > 0], 3 / (1 - rate), rtol=1e-5)
    assert abs(out.mean() / 3 - 1) < 0.05


def test_dropout_off_is_the_identity():
    x = normal(0, 3, 4)
    np.testing.assert_array_equal(dropout(None, x, 0.5), x)
    np.testing.assert_array_equal(dropout(jax.random.key(0), x, 0.0), x)


@few
@given(st.integers(0, 99), st.sampled_from([1.0, 1e3]))
def test_cross_entropy(seed, scale):
    logits = normal(seed, B, T, 7) * scale
    target = jax.random.randint(jax.random.key(seed), (B, T), 0, 7)
    mask = jax.random.bernoulli(jax.random.key(seed), 0.7, (B, T)).astype(jnp.float32)
    out = cross_entropy(logits, target, mask)
    for b, t in np.ndindex(B, T):
        row = np.asarray(logits[b, t], np.float64)
        nats = np.log(np.exp(row - row.max()).sum()) - (row[target[b, t]] - row.max())
        atol = 1e-5 + 1e-7 * scale  # logits of a thousand are known to 6e-5
        np.testing.assert_allclose(out[b, t], nats * mask[b, t], rtol=1e-5, atol=atol)
