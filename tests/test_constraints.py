"""Samples contain what they must and not what they may not, whatever the tokens; else they are the
model's own."""

import collections
import itertools
import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from creagen_jax.data import tokenizers
from creagen_jax.sampling import avoiding, copying, matching, requiring, tokens
from creagen_jax.sampling.beam import beam_search
from creagen_jax.sampling.filters import Sampling
from creagen_jax.types import UserError

END, UNKNOWN = 0, 1
# Texts over them have many spellings, and an "é" may be written in two tokens.
PIECES = (
    b"", b"\xef\xbf\xbd", b"a", b"b", b"A", b" ", b"ab", b"ba", b"bab", b" a", b"b b",
    b"\xc3", b"\xa9", "é".encode(), b"aba\xc3",
)  # fmt: skip
V = len(PIECES)
ALPHABET = tokenizers.Char("abc")  # tokens 2, 3, 4
SPACED = tokenizers.Char(" .abcé")
WORDS = tokenizers.Word(("a", "ab", "b", "ba", "cab"))


@cache
def chain(vocab, seed=0):
    """A chain of order two, whose carry is the token before: a wrong place in it would show."""
    table = jax.random.normal(jax.random.key(seed), (vocab, vocab, vocab)) * 1.5

    def next_logits(before_B, token_B):
        return table[before_B, token_B], token_B

    return next_logits


def fresh(n):
    return jnp.zeros(n, jnp.int32)


def prompts(n, *given_tokens):
    return jnp.tile(jnp.array([[END, *given_tokens]], jnp.int32), (n, 1))


@partial(jax.jit, static_argnames=("next_logits", "length", "settings", "forbidden"))
def run(
    next_logits, prompt_BP, seeds_B, avoided=None, required=None, guard=None, prompt_len_B=None,
    *, length=12, settings=Sampling(), forbidden=(UNKNOWN,),  # noqa: B008
):  # fmt: skip
    """Tokens [B, length]; and, if texts are required, what the guard did and what is lacking."""
    how = {"settings": settings, "forbidden": forbidden, "avoided": avoided, "guard": guard}
    args = next_logits, fresh(len(prompt_BP)), prompt_BP, prompt_len_B, seeds_B
    if required is None:
        return tokens.decode(*args, length=length, **how)[0]
    return requiring.require(*args, required, length=length, **how)


def join(pieces, ids, joiner=b""):
    return joiner.join(pieces[i] for i in ids if pieces[i])


# --- finding texts -------------------------------------------------------------------------------


def found_by_hand(pieces, ids, texts, joiner, words):
    """Whether an occurrence ends within each token, from all text since the last END."""
    found, text = [], b""
    for i in ids:
        old = len(text)
        text = text + (joiner if text else b"") + pieces[i] if pieces[i] else b""
        ends = (
            match.start() + len(wanted)
            for wanted in texts
            for match in re.finditer(b"(?=" + re.escape(wanted) + b")", text)
            if not words or match.start() == 0 or not matching.is_letter(text[match.start() - 1])
        )
        found.append(any(end > old for end in ends))
    return found


@given(
    texts=st.lists(st.text("ab ", min_size=1, max_size=4), min_size=1, max_size=4),
    joiner=st.sampled_from([b"", b" "]),
    words=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=10, deadline=None)
def test_texts_are_found_where_brute_force_finds_them(texts, joiner, words, seed):
    texts = [text.encode() for text in texts]
    matcher = matching.build(PIECES, texts, joiner=joiner, words=words)
    ids_BL = np.random.default_rng(seed).integers(0, V, (20, 10))
    found_BL = np.asarray(jax.jit(matching.occurrences)(matcher, jnp.asarray(ids_BL)))
    for ids, found in zip(ids_BL, found_BL, strict=True):
        assert found.tolist() == found_by_hand(PIECES, ids, texts, joiner, words)
    assert len(matcher.next) <= sum(map(len, texts)) * (1 + words) + len(texts) * words + 2


# --- avoiding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("joiner", [b"", b" "])
@given(texts=st.lists(st.text("abé ", min_size=1, max_size=3), min_size=1, max_size=3))
@settings(max_examples=4, deadline=None)
def test_no_sample_contains_an_avoided_text(joiner, texts):
    texts = [text.upper().encode() for text in texts]  # only ASCII letters are the same in capitals
    texts = [text.replace("É".encode(), "é".encode()) for text in texts]
    avoided = avoiding.build(PIECES, texts, joiner=joiner)
    drawn_BT = np.asarray(run(chain(V), prompts(40, 2), jnp.arange(40), avoided))
    for ids in drawn_BT:
        lowered = join(PIECES, [2, *ids], joiner).lower()
        at = {text: [m.start() for m in re.finditer(re.escape(text), lowered)] for text in
              map(bytes.lower, texts)}  # fmt: skip
        assert all(start + len(text) <= 1 for text, starts in at.items() for start in starts)


def test_what_is_drawn_follows_the_model_without_the_refused_tokens():
    """Two tokens after "a": the probabilities of each are shared out among those that are left."""
    n, avoid = 4000, [b"aab", b"BA"]
    avoided = avoiding.build(ALPHABET.pieces, avoid)
    table = chain(5)
    drawn_BT = np.asarray(run(table, prompts(n, 2), jnp.arange(n), avoided, length=2))
    expected = {}
    for first, second in itertools.product(range(5), repeat=2):
        p, ids = 1.0, [END, 2]
        for token in (first, second):
            logits = np.asarray(table(*(jnp.array([i]) for i in ids[-2:]))[0][0], np.float64)
            logits[UNKNOWN] = -np.inf
            for other in range(5):
                if any(join(ALPHABET.pieces, [*ids, other]).endswith(t.lower()) for t in avoid):
                    logits[other] = -np.inf
            weights = np.exp(logits) if ids[-1] or len(ids) < 3 else np.arange(5) == END
            p *= weights[token] / weights.sum()
            ids.append(token)
        expected[first, second] = p
    assert_frequencies(map(tuple, drawn_BT.tolist()), expected)
    assert 0 < sum(p == 0 for p in expected.values()) < len(expected)


def assert_frequencies(drawn, expected):
    drawn = list(drawn)
    possible = [outcome for outcome, p in expected.items() if p > 0]
    assert set(drawn) <= set(possible)
    count = collections.Counter(drawn)
    observed = np.array([count[outcome] for outcome in possible])
    wanted = np.array([expected[outcome] for outcome in possible]) * len(drawn)
    np.testing.assert_allclose(wanted.sum(), len(drawn))
    rare = wanted < 5
    if rare.any():
        observed = np.append(observed[~rare], observed[rare].sum())
        wanted = np.append(wanted[~rare], wanted[rare].sum())
    assert chisquare(observed, wanted).pvalue > 1e-4


def test_what_cannot_occur_changes_nothing_and_nothing_is_kept_of_no_texts():
    free_BT = run(chain(V), prompts(8), jnp.arange(8))
    avoided = avoiding.build(PIECES, [b"xyz", "ü".encode()])
    np.testing.assert_array_equal(run(chain(V), prompts(8), jnp.arange(8), avoided), free_BT)
    start = partial(tokens.start, chain(V), fresh(8), prompts(8), None, jnp.arange(8))
    plain = start(length=4, settings=Sampling())
    assert isinstance(plain.carry, jax.Array)
    watched = start(length=4, settings=Sampling(), avoided=avoided)
    assert set(watched.carry) == {"model", "matched"}


def test_what_the_prompt_contains_is_accepted_but_not_finished_by_the_model():
    avoided = avoiding.build(ALPHABET.pieces, [b"ab", b"cc"])
    drawn_BT = np.asarray(run(chain(5), prompts(64, 2, 3, 4), jnp.arange(64), avoided))
    assert (drawn_BT[:, 0] != 4).all() and (drawn_BT[:, 0] != END).any()


def test_a_sample_with_no_token_left_ends():
    avoided = avoiding.build(ALPHABET.pieces, [b"aa", b"ab", b"ac"])
    drawn_BT = np.asarray(
        run(chain(5), prompts(16), jnp.arange(16), avoided, forbidden=(END, UNKNOWN))
    )
    for ids in drawn_BT.tolist():
        ids = ids[: ids.index(END)] if END in ids else ids
        assert ids.count(2) == (len(ids) < 12)  # an "a" is the last letter of all
    assert (drawn_BT == 2).any()


def test_avoiding_and_the_guard_against_copying_work_together():
    known = np.array([2, 3, 4, 2, 2, 4, 3, 3, 2, 4])
    guard, avoided = copying.build(known, 2), avoiding.build(ALPHABET.pieces, [b"ca", b"bb"])
    drawn_BT = np.asarray(
        run(chain(5), prompts(32), jnp.arange(32), avoided, guard=guard, forbidden=(END, UNKNOWN))
    )
    runs = {tuple(known[i : i + 3]) for i in range(len(known) - 2)}
    for ids in drawn_BT:
        text = join(ALPHABET.pieces, ids)
        assert b"ca" not in text and b"bb" not in text
        assert not runs & {tuple(ids[i : i + 3]) for i in range(len(ids) - 2)}


def test_the_beam_holds_the_likeliest_texts_of_those_that_are_left():
    length, prompt = 3, (END, 2)
    avoided = avoiding.build(ALPHABET.pieces, [b"aa", b"bc"])
    search = jax.jit(
        partial(beam_search, chain(5), beams=100, length=length, length_penalty=0.0,
                forbidden=(UNKNOWN,))
    )  # fmt: skip
    tokens_BKT, _, scores_BK = search(fresh(2), prompts(2, 2), None, avoided=avoided)
    logits = np.array(chain(5)(*jnp.mgrid[:5, :5].reshape(2, 25))[0], np.float64)
    logits = logits.reshape(5, 5, 5)
    logits[..., UNKNOWN] = -np.inf
    table = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = {}
    for ids in itertools.product((END, 2, 3, 4), repeat=length):
        ids = ids[: ids.index(END) + 1] if END in ids else ids
        text = join(ALPHABET.pieces, [*prompt, *ids])
        if b"aa" not in text and b"bc" not in text:
            whole = (*prompt, *ids)
            rows = (whole[i : i + 3] for i in range(len(ids)))
            expected[(*ids, END, END)[:length]] = sum(table[row] for row in rows)
    ranked = sorted(expected.items(), key=lambda item: -item[1])
    for found_KT, scores_K in zip(tokens_BKT, scores_BK, strict=True):
        assert [tuple(ids) for ids in found_KT[: len(ranked)].tolist()] == [t for t, _ in ranked]
        np.testing.assert_allclose(scores_K[: len(ranked)], [s for _, s in ranked], atol=1e-5)
        assert np.isneginf(scores_K[len(ranked) :]).all()


# --- requiring -----------------------------------------------------------------------------------


def require(tokenizer, texts, n=64, avoid=(), seed=0, **how):
    """Tokens [n, T], what they say, and the texts that each lacks."""
    joiner = b" " if tokenizer is WORDS else b""
    required = requiring.build(tokenizer.pieces, texts, tokenizer.encode, joiner=joiner)
    avoided = None
    if avoid:
        avoided = avoiding.build(tokenizer.pieces, [t.encode() for t in avoid], joiner=joiner)
    drawn_BT, _, lacking_BK = run(
        chain(tokenizer.vocab, seed), prompts(n), jnp.arange(n), avoided, required, **how
    )
    drawn_BT = np.asarray(drawn_BT)
    said = [tokenizer.decode(ids[: np.argmax(ids == END) if END in ids else None])
            for ids in drawn_BT]  # fmt: skip
    return drawn_BT, said, np.asarray(lacking_BK)


@pytest.mark.parametrize(
    ("tokenizer", "texts", "avoid"),
    [
        (ALPHABET, ["ca", "b"], []),
        (ALPHABET, ["cab", "bb"], ["ac", "bbb"]),
        (SPACED, ["éa", "b."], ["ca", "éb"]),
        (WORDS, ["cab", "ba  ab"], ["b b"]),
    ],
)
def test_every_sample_contains_what_it_must(tokenizer, texts, avoid):
    drawn_BT, said, lacking_BK = require(tokenizer, texts, avoid=avoid)
    assert not lacking_BK.any()
    first = "" if tokenizer is ALPHABET else r"(?<![\wé])"  # where a word may begin
    for text in said:
        assert all(re.search(first + re.escape(" ".join(t.split())), text) for t in texts)
        assert not any(banned in text for banned in avoid)
    ended_BT = np.cumsum(drawn_BT == END, 1) > 0
    assert (drawn_BT[ended_BT] == END).all() and ended_BT.any() and len(set(said)) > 40


def probability(table, context, ids, temperature):
    """Of tokens after a context, UNKNOWN left out."""
    total, ids = 1.0, list(ids)
    for token in ids:
        logits = np.array(table[context[-2], context[-1]], np.float64) / temperature
        logits[UNKNOWN] = -np.inf
        total *= np.exp(logits[token]) / np.exp(logits).sum()
        context = [*context, token]
    return total


def test_places_and_what_follows_have_their_exact_probabilities():
    """All drafts of four tokens after "b", all places, all that may follow."""
    n, length, temperature, wanted, context = 30_000, 4, 0.5, [4, 2], [END, 3]
    table = np.array(chain(5)(*jnp.mgrid[:5, :5].reshape(2, 25))[0]).reshape(5, 5, 5)
    required = requiring.build(ALPHABET.pieces, ["ca"], ALPHABET.encode)
    drawn_BT, _, _ = run(
        chain(5), prompts(n, 3), jnp.arange(n), None, required,
        length=length, settings=Sampling(temperature=temperature),
    )  # fmt: skip

    def continuations(room):
        for k in range(room):
            yield from ((*ids, END) for ids in itertools.product((2, 3, 4), repeat=k))
        yield from itertools.product((2, 3, 4), repeat=room)

    expected = {}

    def add(ids, p):
        ids = (*ids, *[END] * length)[:length]
        expected[ids] = expected.get(ids, 0.0) + p

    for ids in continuations(length):
        p = probability(table, context, ids, temperature)
        if (4, 2) in itertools.pairwise(ids):
            add(ids, p)
            continue
        body = ids[:-1] if ids[-1] == END else ids
        places = range(min(len(body), length - 2) + 1)
        weights = []
        for t in places:
            before, logs = [*context, *body[:t]], 0.0
            for token in wanted:
                logits = table[before[-2], before[-1]].astype(np.float64)
                logs += logits[token] - np.log(np.exp(logits).sum())
                before.append(token)
            weights.append(np.exp(logs / temperature))
        for t, weight in zip(places, np.array(weights) / sum(weights), strict=True):
            head = (*body[:t], *wanted)
            for tail in continuations(length - len(head)):
                q = probability(table, [*context, *head], tail, temperature)
                add((*head, *tail), p * weight * q)
    assert_frequencies(map(tuple, np.asarray(drawn_BT).tolist()), expected)


def test_a_draft_that_has_all_texts_is_the_sample():
    free_BT = np.asarray(run(chain(5), prompts(64), jnp.arange(64)))
    drawn_BT, _, _ = require(ALPHABET, ["ca", "b"])
    texts = [join(ALPHABET.pieces, ids) for ids in free_BT]
    complete = np.array([b"ca" in text and b"b" in text for text in texts])
    assert 0 < complete.sum() < 60
    np.testing.assert_array_equal((drawn_BT == free_BT).all(1), complete)


def test_what_follows_is_drawn_anew():
    """Chance that was used for the draft, and so for the place, must not come again."""

    def even(carry, token_B):
        return jnp.zeros((len(token_B), 5)), carry

    required = requiring.build(ALPHABET.pieces, ["cabba"], ALPHABET.encode)
    args = even, prompts(64), jnp.arange(64), None
    free_BT = np.asarray(run(*args, forbidden=(END, UNKNOWN)))
    drawn_BT = np.asarray(run(*args, required, forbidden=(END, UNKNOWN))[0])
    texts = [join(ALPHABET.pieces, ids) for ids in drawn_BT]
    behind_BT = np.arange(12) >= np.array([[text.index(b"cabba") + 5] for text in texts])
    assert behind_BT.sum() > 150 and abs((drawn_BT == free_BT)[behind_BT].mean() - 1 / 3) < 0.12


def test_a_sample_depends_on_its_own_seed_and_prompt_only():
    required = requiring.build(ALPHABET.pieces, ["ca", "b"], ALPHABET.encode)
    prompt_BP = jnp.array([[END, 2, 3, 4], [END, 3, 0, 0], [END, 0, 0, 0]], jnp.int32)
    length_B, seeds_B = jnp.array([4, 2, 1]), jnp.array([7, 8, 9])
    together = run(chain(5), prompt_BP, seeds_B, None, required, prompt_len_B=length_B)
    alone = run(chain(5), prompt_BP[1:2, :2], seeds_B[1:2], None, required)
    for many, one in zip(together, alone, strict=True):
        np.testing.assert_array_equal(many[1], one[0])


def test_texts_that_just_fit_fill_the_sample():
    texts = ["ca", "b", "cc"]
    _, said, lacking_BK = require(ALPHABET, texts, length=5)
    assert not lacking_BK.any() and all(all(text in s for text in texts) for s in said)
    assert len(set(said) & {"".join(order) for order in itertools.permutations(texts)}) > 2


def test_what_the_model_never_writes_is_reported_as_lacking():
    def never_c(carry, token_B):
        return jnp.tile(jnp.array([0.0, 0.0, 1.0, 1.0, -jnp.inf]), (len(token_B), 1)), carry

    required = requiring.build(ALPHABET.pieces, ["b", "ac"], ALPHABET.encode)
    drawn_BT, _, lacking_BK = run(never_c, prompts(4), jnp.arange(4), None, required)
    assert (lacking_BK == jnp.array([False, True])).all() and (drawn_BT != 4).all()


def test_the_guard_watches_what_is_drawn():
    known = np.array([2, 3, 4, 2, 2, 4, 3, 3, 2, 4])
    required = requiring.build(ALPHABET.pieces, ["abc"], ALPHABET.encode)
    how = {"forbidden": (END, UNKNOWN), "guard": copying.build(known, 2)}
    drawn_BT, guarded_BT, lacking_BK = map(
        np.asarray, run(chain(5), prompts(32), jnp.arange(32), None, required, **how)
    )
    assert not lacking_BK.any() and (guarded_BT > 0).any()
    runs = {tuple(known[i : i + 3]) for i in range(len(known) - 2)}
    for ids, guarded in zip(drawn_BT, guarded_BT, strict=True):
        copied = [i for i in range(10) if tuple(ids[i : i + 3]) in runs]
        at = join(ALPHABET.pieces, ids).index(b"abc")
        assert all(at - 2 <= i <= at for i in copied) and not guarded[at : at + 3].any()


@pytest.mark.parametrize("avoid", [[], ["bc"]])
def test_scores_are_the_models_log_probabilities(avoid):
    rng = np.random.default_rng(0)
    text_BL = rng.integers(2, 5, (3, 9))
    place_BP = np.sort(rng.integers(1, 9, (3, 4)), 1)
    required = requiring.build(ALPHABET.pieces, ["ab", "c"], ALPHABET.encode)
    model, carry = chain(5), fresh(3)
    if avoid:
        avoided = avoiding.build(ALPHABET.pieces, [t.encode() for t in avoid])
        model, carry = avoiding.restrained(model, avoided), avoiding.start(carry, 3)
    fits_BPM = jnp.ones((3, 4, 2), bool).at[1, 2, 0].set(False)
    score_BPM = jax.jit(partial(requiring._scores, model))(
        carry, jnp.asarray(text_BL), jnp.asarray(place_BP), fits_BPM, required
    )
    for b, p, m in np.ndindex(3, 4, 2):
        ids = [END, *text_BL[b, : place_BP[b, p]]]
        total = 0.0 if fits_BPM[b, p, m] else -np.inf
        for token in ([2, 3], [4])[m]:
            logits = np.array(chain(5)(*(jnp.array([i]) for i in ids[-2:]))[0][0], np.float64)
            if avoid and ids[-1] == 3:
                logits[4] = -np.inf
            with np.errstate(divide="ignore"):
                total += logits[token] - np.log(np.exp(logits).sum())
            ids.append(token)
        np.testing.assert_allclose(score_BPM[b, p, m], total, atol=1e-4)


def test_of_many_places_some_are_looked_at_evenly():
    T, n = 300, 500
    open_BT = np.random.default_rng(0).random((n, T)) < np.linspace(0, 1, n)[:, None]
    keys = tokens.keys_from_seeds(jnp.arange(n))
    place_BP, listed_BP = map(np.asarray, requiring._some(keys, jnp.asarray(open_BT)))
    assert place_BP.shape == (n, requiring.PLACES)
    for places, listed, open_T in zip(place_BP, listed_BP, open_BT, strict=True):
        chosen = places[listed]
        assert (np.diff(chosen) > 0).all() and open_T[chosen].all()
        assert len(chosen) == min(requiring.PLACES, open_T.sum())
    # Where all are open, each is looked at as often as any other.
    keys = tokens.keys_from_seeds(jnp.arange(4000))
    place_BP, listed_BP = map(np.asarray, requiring._some(keys, jnp.ones((4000, 100), bool)))
    assert listed_BP.all()
    share = np.bincount(place_BP.ravel(), minlength=100) / 4000
    np.testing.assert_allclose(share, requiring.PLACES / 100, atol=0.05)


# --- a user's mistakes ---------------------------------------------------------------------------


def test_mistakes_are_one_line():
    with pytest.raises(UserError, match="to avoid is empty"):
        avoiding.build(PIECES, [b"a", b""])
    with pytest.raises(UserError, match="required text is empty"):
        requiring.build(ALPHABET.pieces, ["a", " "], ALPHABET.encode)
    with pytest.raises(UserError, match="'Cab' is required and contains 'aB', which is to be"):
        avoiding.check([b"x", b"aB"], [b"b", b"Cab"])
    avoiding.check([b"ac"], [b"cab"])
    required = requiring.build(SPACED.pieces, ["cab", "é"], SPACED.encode)
    with pytest.raises(UserError, match="need 6 tokens, and a sample has 5"):
        requiring.check(required, 5)
    requiring.check(required, 6)
    with pytest.raises(UserError, match="beam search ignores must; set one of the two"):
        requiring.check(required, 6, beams=2)
