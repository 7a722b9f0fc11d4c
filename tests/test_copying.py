"""With the guard nothing long is copied; unneeded it changes nothing; it notes what it did."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax.sampling import copying
from creagen_jax.sampling.filters import Sampling, process
from creagen_jax.sampling.tokens import CHANGED, CUT, advance, decode, start

END, UNKNOWN, V = 0, 1, 12
B, LENGTH = 6, 30
refused = jax.jit(copying.refused, static_argnums=3)


@cache
def documents(kind):
    """Training tokens of random walks: lines, one text, or a few texts with END between them."""
    rng = np.random.default_rng(0)
    walks = [2 + np.cumsum(rng.integers(-1, 4, rng.integers(2, 25))) % (V - 2) for _ in range(30)]
    parts = {
        "lines": [part for walk in walks for part in ([END], walk, [END])],
        "text": walks,
        "texts": [part for i in range(0, 30, 6) for part in (*walks[i : i + 6], [END])][:-1],
    }[kind]
    return np.concatenate(parts).astype(np.uint16)


def windows(tokens, size, end=END):
    """The runs of `size` tokens that stand in one document, END only as the last of them."""
    runs = (tuple(tokens[i : i + size].tolist()) for i in range(len(tokens) - size + 1))
    return {run for run in runs if end not in run[:-1]}


@cache
def copier(kind):
    """A model that likes best to go on with the training text, from its place in it."""
    tokens = jnp.asarray(documents(kind), jnp.int32)
    where = jnp.array([int(jnp.argmax(tokens == token)) for token in range(V)])

    def next_logits(place_B, token_B):
        follows_B = tokens[place_B] == token_B
        place_B = jnp.where(follows_B, place_B, where[token_B]) + 1
        return 5.0 * jax.nn.one_hot(tokens[place_B], V) - jnp.arange(V) / 5, place_B

    return next_logits


def inputs(kind):
    """Places, prompts and seeds of B samples; a prompt is END, or three tokens of the data."""
    tokens = documents(kind)
    place_B = np.random.default_rng(1).integers(0, len(tokens) - 9, B)
    prompt_BP = np.zeros((B, 1)) if kind == "lines" else tokens[place_B[:, None] + np.arange(3)]
    place_B = place_B + prompt_BP.shape[1] - 1
    return jnp.asarray(place_B), jnp.asarray(prompt_BP, jnp.int32), jnp.arange(B)


@partial(jax.jit, static_argnames=("next_logits", "settings", "forbidden"))
def run(next_logits, carry, prompt_BP, seeds_B, guard=None, settings=Sampling(), forbidden=()):  # noqa: B008
    """Tokens [B, LENGTH], and what the guard did to each."""
    state = start(
        next_logits, carry, prompt_BP, None, seeds_B,
        length=LENGTH, settings=settings, guard=guard,
    )  # fmt: skip
    state, tokens_BT = advance(
        next_logits, state, LENGTH, settings=settings, forbidden=forbidden, guard=guard
    )
    return tokens_BT, None if guard is None else state.guarded[:, prompt_BP.shape[1] :]


def copied(prompt_BP, tokens_BT, guarded_BT, known, size):
    """How many runs of `size` tokens, the last of them drawn, the training data has."""
    count, rows = 0, (prompt_BP, tokens_BT, guarded_BT)
    for prompt, drawn, guarded in zip(*map(np.asarray, rows), strict=True):
        stop = np.argmax(drawn == END) + 1 if END in drawn else len(drawn)
        if CUT in guarded:  # this END was not a choice
            stop -= 1
        whole = [*prompt.tolist(), *drawn[:stop].tolist()]
        ends = range(max(len(prompt) + 1, size), len(whole) + 1)
        count += sum(tuple(whole[end - size : end]) in known for end in ends)
    return count


# --- which tokens are refused --------------------------------------------------------------------


@given(
    seed=st.integers(0, 999),
    size=st.integers(1, 60),
    kinds=st.integers(2, 4),
    longest=st.integers(1, 5),
    end=st.sampled_from([END, 9]),
)
@settings(max_examples=15, deadline=None)
def test_refused_is_what_brute_force_finds(seed, size, kinds, longest, end):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, kinds, size).astype(np.uint16)
    history_BL, length_B = rng.integers(0, kinds, (40, 12)), rng.integers(1, 12, 40)
    refused_BV = refused(
        copying.build(tokens, longest, end=end), jnp.asarray(history_BL), jnp.asarray(length_B), 5
    )
    known = windows(tokens, longest + 1, end)
    rows = zip(np.asarray(refused_BV), history_BL, length_B, strict=True)
    for row_V, history_L, length in rows:
        recent = history_L[:length][-longest:].tolist()
        expected = [len(recent) == longest and (*recent, token) in known for token in range(5)]
        assert row_V.tolist() == expected


def test_the_end_of_a_line_is_a_token_of_the_copy_and_its_start_is_none():
    guard = copying.build(np.array([END, 2, 3, 4, END, END, 2, 5, END]), 2)
    history = jnp.array([[END, 2, 9], [2, 3, 9], [3, 4, 9], [2, 5, 9], [5, END, 9], [END, END, 9]])
    refused_BV = refused(guard, history, jnp.full(6, 2), V)
    found = [np.flatnonzero(row).tolist() for row in refused_BV]
    assert found == [[], [4], [END], [END], [], []]


def test_long_runs_are_told_apart_by_any_of_their_tokens():
    tokens = np.random.default_rng(0).integers(2, V, 300)
    guard = copying.build(tokens, 100)
    runs_BN = tokens[np.array([0, 7, 199])[:, None] + np.arange(100)]
    history = jnp.asarray(np.pad(runs_BN, ((0, 0), (0, 1))))
    refused_BV = refused(guard, history, jnp.full(3, 100), V)
    np.testing.assert_array_equal(refused_BV.argmax(1), tokens[[100, 107, 299]])
    assert (refused_BV.sum(1) == 1).all()
    for changed in (0, 31, 64, 99):
        other = history.at[:, changed].set(2 + (history[:, changed] - 1) % (V - 2))
        assert not refused(guard, other, jnp.full(3, 100), V).any()


@pytest.mark.parametrize("longest", [5, 6, 10**9])
def test_runs_longer_than_the_data_refuse_nothing(longest):
    tokens = np.array([2, 3, 2, 3, 2])
    history = jnp.asarray([[2, 3, 2, 3, 2, 3, 2, 3]])
    guard = copying.build(tokens, longest)
    assert not refused(guard, history, jnp.array([7]), V).any()


# --- what is drawn -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "temperature", "longest"),
    [
        *(("lines", 1.0, longest) for longest in (1, 2, 4, 8)),
        *(("text", 0.0, longest) for longest in (1, 2, 4, 8)),
        *(("lines", 0.0, 2), ("texts", 0.0, 4), ("text", 1.0, 1), ("texts", 1.0, 4)),
    ],
)
def test_no_sample_copies_more_than_it_may(kind, temperature, longest):
    how, tokens = Sampling(temperature=temperature), documents(kind)
    known = windows(tokens, longest + 1)
    forbidden = (END, UNKNOWN) if kind == "text" else (UNKNOWN,)
    prompt_BP = inputs(kind)[1]
    decoded = partial(run, copier(kind), *inputs(kind), settings=how, forbidden=forbidden)
    free_BT, _ = decoded()
    assert copied(prompt_BP, free_BT, np.zeros_like(free_BT), known, longest + 1)
    drawn_BT, guarded_BT = decoded(guard=copying.build(tokens, longest))
    assert not copied(prompt_BP, drawn_BT, guarded_BT, known, longest + 1)
    assert (guarded_BT > 0).any() and (drawn_BT != UNKNOWN).all()
    if kind == "text":  # it does not end unless nothing else is left
        assert ((drawn_BT == END).any(1) == (guarded_BT == CUT).any(1)).all()


@pytest.mark.parametrize("kind", ["lines", "text"])
def test_a_guard_that_never_steps_in_changes_nothing(kind):
    free_BT, _ = run(copier(kind), *inputs(kind))
    drawn_BT, guarded_BT = run(
        copier(kind), *inputs(kind), copying.build(documents(kind), LENGTH + 3)
    )
    np.testing.assert_array_equal(drawn_BT, free_BT)
    assert not guarded_BT.any()


def test_the_count_is_that_of_tokens_that_would_have_been_others():
    how = Sampling(top_k=8, temperature=1.5)
    logits_V = jax.random.normal(jax.random.key(3), (V,))
    tokens = documents("texts")
    prompt_BP, seeds_B = jnp.asarray(tokens[:12].reshape(4, 3), jnp.int32), jnp.arange(4) + 5
    drawn_BT, guarded_BT = run(
        lambda carry, token_B: (jnp.tile(logits_V, (len(token_B), 1)), carry),
        jnp.zeros(4), prompt_BP, seeds_B, copying.build(tokens, 1), how, (END,),
    )  # fmt: skip
    known = windows(tokens, 2)
    choose = jax.jit(
        lambda key, logits_V: jax.random.categorical(
            key, process(logits_V[None], how, forbidden=(END,))[0]
        )
    )
    for prompt, seed, drawn, guarded in zip(prompt_BP, seeds_B, drawn_BT, guarded_BT, strict=True):
        last = int(prompt[-1])
        for t, (token, action) in enumerate(zip(drawn.tolist(), guarded.tolist(), strict=True)):
            key = jax.random.fold_in(jax.random.key(seed), 3 + t)
            banned = [(last, other) in known for other in range(V)]
            expected = int(choose(key, jnp.where(jnp.array(banned), -jnp.inf, logits_V)))
            assert token == expected
            assert action == CHANGED * (token != int(choose(key, logits_V)))
            last = token
    assert 5 < (guarded_BT == CHANGED).sum() < 4 * LENGTH


def test_filters_choose_among_what_is_left():
    tokens = np.array([2, 3, 2, 4])
    logits_V = jnp.arange(5.0)
    drawn_BT, guarded_BT = run(
        lambda carry, token_B: (jnp.tile(logits_V, (len(token_B), 1)), carry),
        jnp.zeros(2), jnp.array([[2], [3]]), jnp.arange(2), copying.build(tokens, 1),
        Sampling(top_k=1),
    )  # fmt: skip
    assert drawn_BT[:, 0].tolist() == [2, 4] and guarded_BT[:, 0].tolist() == [CHANGED, 0]


def test_a_sample_with_no_token_left_ends():
    tokens = np.array([2, 2, 3, 3, 2])  # every pair of 2 and 3
    drawn_BT, guarded_BT = run(
        lambda carry, token_B: (jnp.zeros((len(token_B), 4)), carry),
        jnp.zeros(2), jnp.array([[2], [1]]), jnp.arange(2), copying.build(tokens, 1),
        forbidden=(END, UNKNOWN),
    )  # fmt: skip
    assert drawn_BT[0].tolist() == [END] * LENGTH
    assert guarded_BT[0].tolist() == [CUT] + [0] * (LENGTH - 1)
    assert drawn_BT[1, 0] in (2, 3) and drawn_BT[1, 1:].tolist() == [END] * (LENGTH - 1)
    assert guarded_BT[1].tolist() == [0, CUT] + [0] * (LENGTH - 2)


# --- each sample is its own ----------------------------------------------------------------------


def test_a_sample_and_its_count_depend_on_no_other_and_on_no_chunk():
    model, guard = copier("texts"), copying.build(documents("texts"), 2)
    place_B, prompt_BP, seeds_B = inputs("texts")
    how = {"settings": Sampling(), "forbidden": (UNKNOWN,), "guard": guard}
    together = run(model, place_B, prompt_BP, seeds_B, **how)
    for b in (1, 4):
        alone = run(model, *(leaf[b : b + 1] for leaf in (place_B, prompt_BP, seeds_B)), **how)
        for many, one in zip(together, alone, strict=True):
            np.testing.assert_array_equal(many[b], one[0])

    state = start(
        model, place_B, prompt_BP, None, seeds_B, length=20, settings=Sampling(), guard=guard
    )
    draw = jax.jit(partial(advance, model, **how), static_argnums=1)
    parts = []
    for _ in range(2):
        state, tokens_BT = draw(state, 10)
        parts.append(tokens_BT)
    np.testing.assert_array_equal(jnp.concatenate(parts, 1), together[0][:, :20])
    np.testing.assert_array_equal(state.guarded[:, 3:], together[1][:, :20])


def test_prompts_of_different_lengths():
    guard = copying.build(documents("lines"), 3)
    prompt_BP = jnp.array([[END, 3, 4, 5], [END, 6, 0, 0]])
    logits_V = -jnp.arange(V) / 9

    def drawn(prompt_BP, length_B, seeds_B):
        return decode(
            lambda carry, token_B: (jnp.tile(logits_V, (len(token_B), 1)), carry),
            jnp.zeros(len(prompt_BP)), prompt_BP, length_B, seeds_B,
            length=9, settings=Sampling(temperature=0.0), forbidden=(UNKNOWN,), guard=guard,
        )[0]  # fmt: skip

    drawn = jax.jit(drawn)
    ragged = drawn(prompt_BP, jnp.array([4, 2]), jnp.arange(2))
    alone = drawn(prompt_BP[1:, :2], None, jnp.arange(1, 2))
    np.testing.assert_array_equal(ragged[1:], alone)


def test_without_a_guard_nothing_is_kept():
    place_B, prompt_BP, seeds_B = inputs("text")
    state = start(copier("text"), place_B, prompt_BP, None, seeds_B, length=9, settings=Sampling())
    assert state.history is None and state.guarded is None
