"""Beam search finds the best sequences, and its scores are the model's own."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from creagen_jax.sampling.beam import beam_search
from creagen_jax.sampling.filters import Sampling
from creagen_jax.sampling.tokens import decode

V, END = 4, 0
TABLE = jax.random.normal(jax.random.key(3), (V, V, V)) * 1.5
PROMPTS = jnp.array([[0, 2, 3], [0, 1, 0], [0, 3, 0]], jnp.int32)
LENGTHS = jnp.array([3, 2, 2], jnp.int32)


def second_order(carry, token_B):
    """A chain of order two, whose carry is the token before: a wrong reordering would show."""
    return TABLE[carry, token_B], token_B


@partial(jax.jit, static_argnames=("beams", "length", "length_penalty", "forbidden"))
def run(prompt, prompt_len, beams, length, length_penalty=0.0, forbidden=()):
    carry = jnp.zeros(len(prompt), jnp.int32)
    return beam_search(
        second_order, carry, prompt, prompt_len,
        beams=beams, length=length, length_penalty=length_penalty, forbidden=forbidden,
    )  # fmt: skip


def log_prob(prompt, continuation, forbidden=()):
    """Sum of log probabilities of a continuation, by hand."""
    logits = np.array(TABLE, np.float64)
    logits[:, :, list(forbidden)] = -np.inf
    table = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    total, (before, last) = 0.0, prompt[-2:]
    for token in continuation:
        total += table[before, last, token]
        before, last = last, token
    return total


def normalised(prompt, continuation, alpha):
    return log_prob(prompt, continuation) / ((5 + len(continuation)) / 6) ** alpha


def all_continuations(length):
    """Every sequence that ends with END within `length`, or has `length` tokens without one."""
    letters = range(1, V)
    for n in range(length):
        for body in itertools.product(letters, repeat=n):
            yield (*body, END)
    yield from itertools.product(letters, repeat=length)


def prompts():
    return [p[:n] for p, n in zip(PROMPTS.tolist(), LENGTHS.tolist(), strict=True)]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_enough_beams_equal_brute_force(alpha):
    length = 3
    tokens, lengths, scores = run(PROMPTS, LENGTHS, V**length, length, alpha)
    for b, prompt in enumerate(prompts()):
        ranked = sorted(
            ((normalised(prompt, c, alpha), c) for c in all_continuations(length)), reverse=True
        )
        n = len(ranked)
        np.testing.assert_allclose(scores[b, :n], [s for s, _ in ranked], rtol=1e-5, atol=1e-5)
        assert np.isneginf(scores[b, n:]).all()
        for k, (_, expected) in enumerate(ranked):
            assert (*tokens[b, k].tolist(), END)[: len(expected)] == expected
            assert lengths[b, k] == sum(t != END for t in expected)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_one_beam_is_greedy(alpha):
    tokens, lengths, _ = run(PROMPTS, LENGTHS, 1, 8, alpha)
    greedy, greedy_lengths, _ = decode(
        second_order, jnp.zeros(3, jnp.int32), PROMPTS, LENGTHS, jnp.arange(3),
        length=8, settings=Sampling(temperature=0.0),
    )  # fmt: skip
    np.testing.assert_array_equal(tokens[:, 0], greedy)
    np.testing.assert_array_equal(lengths[:, 0], greedy_lengths)


def test_rows_are_independent():
    together = run(PROMPTS, LENGTHS, 3, 8, 0.6)
    for b, n in enumerate(LENGTHS):
        alone = run(PROMPTS[b : b + 1, :n], None, 3, 8, 0.6)
        for many, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(many[b], one[0], rtol=1e-6)


@pytest.mark.parametrize("forbidden", [(), (2,), (END,)])
def test_scores_are_sums_of_log_probabilities_in_order(forbidden):
    tokens, lengths, scores = run(PROMPTS, LENGTHS, 5, 6, 0.0, forbidden)
    assert (jnp.diff(scores) <= 0).all()
    for b, prompt in enumerate(prompts()):
        assert len({tuple(hypothesis) for hypothesis in tokens[b].tolist()}) == 5
        for k in range(5):
            hypothesis = tokens[b, k, : lengths[b, k] + 1].tolist()  # with its END, if it has one
            assert not set(hypothesis) & set(forbidden)
            expected = log_prob(prompt, hypothesis, forbidden)
            np.testing.assert_allclose(scores[b, k], expected, rtol=1e-5, atol=1e-5)


def test_after_end_comes_only_end():
    tokens, lengths, _ = run(PROMPTS, LENGTHS, 4, 10, 0.6)
    inside = np.arange(10) < np.asarray(lengths)[..., None]
    np.testing.assert_array_equal(np.asarray(tokens) != END, inside)
    assert (lengths < 10).any()


def test_a_finished_hypothesis_is_kept_while_others_lead():
    """END at once (0.26) falls behind two others (0.296 each), which then fall below it."""
    probs = jnp.full((8, 8), 1 / 8)
    probs = probs.at[0].set(jnp.array([0.26, 0.74, 0, 0, 0, 0, 0, 0]))
    probs = probs.at[1].set(jnp.array([0, 0, 0.4, 0.4, 0.2, 0, 0, 0]))
    tokens, _, scores = beam_search(
        lambda carry, token_B: (jnp.log(probs)[token_B], carry),
        (), jnp.zeros((2, 1), jnp.int32), None, beams=2, length=3, length_penalty=0.0,
    )  # fmt: skip
    assert (tokens[:, 0] == END).all()
    np.testing.assert_allclose(scores[:, 0], np.log(0.26), rtol=1e-5)
