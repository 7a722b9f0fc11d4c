"""Additive attention and the mask of a source equal their definitions, written as loops."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from creagen_jax.functional.attention import additive_attention, mask_to_end

few = settings(max_examples=15, deadline=None)
B, S, A, M = 3, 5, 4, 6
MASKS = arrays(bool, (B, S)).filter(lambda mask: mask.any(-1).all())


def inputs(seed):
    """q_BA, k_BSA, v_BSM and score_A."""
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=shape) for shape in ((B, A), (B, S, A), (B, S, M), (A,)))


@few
@given(st.integers(0, 99), MASKS)
def test_additive_attention(seed, mask):
    q, k, v, score = inputs(seed)
    context, weights = additive_attention(*map(jnp.float32, (q, k, v, score)), jnp.asarray(mask))
    for b in range(B):
        seen = np.flatnonzero(mask[b])
        e = np.array([score @ np.tanh(q[b] + k[b, j]) for j in seen])
        alpha = np.zeros(S)
        alpha[seen] = np.exp(e) / np.exp(e).sum()
        np.testing.assert_allclose(weights[b], alpha, atol=1e-5)
        np.testing.assert_allclose(context[b], alpha @ v[b], atol=1e-5)


def test_additive_attention_in_bfloat16_is_close():
    mask = jnp.ones((B, S), bool)
    exact, _ = additive_attention(*map(jnp.float32, inputs(0)), mask)
    low, weights = additive_attention(*map(jnp.bfloat16, inputs(0)), mask)
    assert low.dtype == jnp.bfloat16 and weights.dtype == jnp.float32
    np.testing.assert_allclose(low.astype(jnp.float32), exact, atol=0.05)


@few
@given(arrays(np.int32, (B, S), elements=st.integers(0, 3)), st.integers(0, 3))
def test_a_source_counts_up_to_its_first_end(tokens, end):
    mask = mask_to_end(jnp.asarray(tokens), end)
    for row, counted in zip(tokens.tolist(), mask, strict=True):
        length = row.index(end) + 1 if end in row else S
        assert counted.tolist() == [j < length for j in range(S)]


@pytest.mark.parametrize("length", [1, 4])
def test_a_single_position_gets_all_the_weight(length):
    q, k, v, score = map(jnp.float32, inputs(1))
    mask = jnp.arange(S) == length
    context, weights = additive_attention(q, k, v, score, jnp.tile(mask, (B, 1)))
    np.testing.assert_array_equal(weights, np.tile(mask, (B, 1)))
    np.testing.assert_array_equal(context, v[:, length])
