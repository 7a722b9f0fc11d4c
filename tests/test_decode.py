"""Decoding draws from the distribution asked for, and each sample is its own."""

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from creagen_jax.sampling.filters import Sampling, process
from creagen_jax.sampling.tokens import advance, decode, keys_from_seeds, prefill, start

V, END = 6, 0
TABLE = jax.random.normal(jax.random.key(7), (V, V)) * 1.5
PROMPTS = jnp.array([[0, 2, 3, 1], [0, 4, 0, 0], [0, 5, 5, 0]], jnp.int32)
LENGTHS = jnp.array([4, 2, 3], jnp.int32)
FULL = Sampling(
    temperature=0.9, top_k=5, top_p=0.95, repetition_penalty=1.2,
    frequency_penalty=0.1, no_repeat_ngram=3,
)  # fmt: skip


def markov(carry, token_B):
    """A chain whose carry records all that was fed: a hash of the inputs, and their number."""
    hashed_B, fed_B = carry
    return TABLE[token_B], (hashed_B * 31 + token_B, fed_B + 1)


def fresh(n):
    return jnp.ones(n, jnp.int32), jnp.zeros(n, jnp.int32)


@partial(jax.jit, static_argnames=("length", "settings", "forbidden"))
def run(prompt, prompt_len, seeds, length, settings=Sampling(), forbidden=()):  # noqa: B008
    return decode(
        markov, fresh(len(prompt)), prompt, prompt_len, seeds,
        length=length, settings=settings, forbidden=forbidden,
    )  # fmt: skip


def repeat(token, n):
    return jnp.full((n, 1), token, jnp.int32)


@pytest.mark.parametrize(
    "settings",
    [
        Sampling(),
        Sampling(temperature=0.6),
        Sampling(top_k=3),
        Sampling(top_p=0.8, temperature=1.5),
        Sampling(min_p=0.2),
        Sampling(typical_p=0.7),
    ],
    ids=str,
)
def test_frequencies_are_the_filtered_softmax(settings):
    n = 4000
    tokens, _, _ = run(repeat(2, n), None, jnp.arange(n), 1, settings)
    observed = np.bincount(np.asarray(tokens)[:, 0], minlength=V)
    expected = np.asarray(jax.nn.softmax(process(TABLE[2:3], settings))[0], np.float64)
    possible = expected > 0
    assert observed[~possible].sum() == 0
    expected = expected[possible] / expected[possible].sum()
    assert chisquare(observed[possible], n * expected).pvalue > 1e-4


def test_every_transition_of_a_long_sample_follows_the_chain():
    tokens, lengths, done = run(repeat(1, 20), None, jnp.arange(20), 800, forbidden=(END,))
    assert (lengths == 800).all() and not done.any()
    pairs = np.zeros((V, V))
    np.add.at(pairs, (np.asarray(tokens)[:, :-1], np.asarray(tokens)[:, 1:]), 1)
    probs = np.asarray(jax.nn.softmax(TABLE[:, 1:]), np.float64)
    for token in range(1, V):
        expected = pairs[token].sum() * probs[token] / probs[token].sum()
        assert pairs[token, END] == 0
        assert chisquare(pairs[token, 1:], expected).pvalue > 1e-5


@pytest.mark.parametrize("settings", [Sampling(), FULL], ids=["plain", "full"])
def test_a_sample_depends_on_its_own_seed_and_prompt_only(settings):
    seeds = jnp.array([11, 12, 13])
    together = run(PROMPTS, LENGTHS, seeds, 20, settings)
    for b in range(3):
        alone = run(PROMPTS[b : b + 1, : LENGTHS[b]], None, seeds[b : b + 1], 20, settings)
        for many, one in zip(together, alone, strict=True):
            np.testing.assert_array_equal(many[b], one[0])


def test_keys_from_seeds():
    keys = keys_from_seeds(jnp.array([3, 2**31 - 1]))
    assert keys[0] == jax.random.key(3) and keys[1] == jax.random.key(2**31 - 1)


def test_equal_seeds_give_equal_samples_and_others_differ():
    tokens, _, _ = run(repeat(0, 3), None, jnp.array([5, 5, 6]), 40, forbidden=(END,))
    np.testing.assert_array_equal(tokens[0], tokens[1])
    assert (tokens[0] != tokens[2]).any()


@pytest.mark.parametrize("ragged", [True, False])
def test_a_forced_prompt_is_fed_as_by_hand(ragged):
    carry, token = prefill(markov, fresh(3), PROMPTS, LENGTHS if ragged else None)
    for b, length in enumerate(LENGTHS if ragged else [4] * 3):
        by_hand = fresh(1)
        for forced in PROMPTS[b, : length - 1]:
            _, by_hand = markov(by_hand, forced[None])
        assert [leaf[b] for leaf in carry] == [leaf[0] for leaf in by_hand]
        assert token[b] == PROMPTS[b, length - 1]


def test_greedy_takes_the_likeliest_token():
    tokens, _, _ = run(repeat(3, 2), None, jnp.arange(2), 10, Sampling(temperature=0.0), (END,))
    token = 3
    for t in range(10):
        token = 1 + int(TABLE[token, 1:].argmax())
        assert (tokens[:, t] == token).all()


def test_after_end_comes_only_end():
    tokens, lengths, done = (np.asarray(a) for a in run(repeat(1, 64), None, jnp.arange(64), 12))
    assert done.any() and not done.all()
    for row, length, ended in zip(tokens, lengths, done, strict=True):
        assert (row[:length] != END).all() and (row[length:] == END).all()
        assert ended == (length < 12)


@pytest.mark.parametrize("settings", [Sampling(), FULL], ids=["plain", "full"])
def test_chunks_equal_one_decode_and_jit_changes_nothing(settings):
    seeds = jnp.array([11, 12, 13])
    whole, _, done = run(PROMPTS, LENGTHS, seeds, 9, settings)
    state = start(markov, fresh(3), PROMPTS, LENGTHS, seeds, length=9, settings=settings)
    chunks = []
    for steps in (4, 1, 4):
        state, tokens = advance(markov, state, steps, settings=settings)
        chunks.append(tokens)
    np.testing.assert_array_equal(jnp.concatenate(chunks, axis=1), whole)
    np.testing.assert_array_equal(state.done, done)
    np.testing.assert_array_equal(state.position, LENGTHS + 9)


def test_the_state_holds_what_was_seen_prompt_included_without_end():
    state = start(markov, fresh(3), PROMPTS, LENGTHS, jnp.arange(3), length=15, settings=FULL)
    state, tokens = advance(markov, state, 15, settings=FULL)
    for b, length in enumerate(LENGTHS):
        seen = np.concatenate([PROMPTS[b, :length], tokens[b]])
        np.testing.assert_array_equal(state.history[b, : length + 15], seen)
        expected = np.bincount(seen, minlength=V)
        expected[END] = 0
        np.testing.assert_array_equal(state.counts[b], expected)


def test_off_filters_keep_no_memory():
    plain = Sampling()
    state = start(markov, fresh(3), PROMPTS, LENGTHS, jnp.arange(3), length=99, settings=plain)
    assert state.counts is None and state.history is None


def test_no_ngram_occurs_twice():
    settings = Sampling(no_repeat_ngram=2)
    tokens, _, _ = run(PROMPTS[:, :3], None, jnp.arange(3), 20, settings, (END,))
    for prompt, drawn in zip(PROMPTS[:, :3].tolist(), tokens.tolist(), strict=True):
        whole = prompt + drawn
        pairs = list(pairwise(whole))
        for i in range(2, len(pairs)):
            followers = {b for a, b in pairs[:i] if a == pairs[i][0]} - {END}
            # Only where every token has followed this one already may a pair come again.
            assert pairs[i] not in pairs[:i] or len(followers) == V - 1
