from collections import Counter
from itertools import chain

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from creagen_jax.creativity import bleu, ngrams
from creagen_jax.models import markov
from creagen_jax.types import Spec, UserError

few = settings(max_examples=25, deadline=None)
items_of = st.lists(st.lists(st.sampled_from("abc"), max_size=8), min_size=4, max_size=12)


def grams(item, n):
    return [tuple(item[i : i + n]) for i in range(len(item) - n + 1)]


def nltk_bleu(item, references, n):
    weights = (1 / n,) * n
    return sentence_bleu(references, item, weights, SmoothingFunction().method1)


# --- distinct ----------------------------------------------------------------------------------


@few
@given(items=items_of, n=st.integers(1, 4))
def test_distinct_counts_distinct_ngrams(items, n):
    found = ngrams.distinct(items, n)
    everything = [gram for item in items for gram in grams(item, n)]
    long = sum(len(item) >= n for item in items)
    assert found.n == long
    if long < 4:
        assert found.value is None
    else:
        assert found.value == pytest.approx(len(set(everything)) / len(everything))
        assert found.low <= found.value <= found.high
        assert ("shorter" in found.note) == (long < len(items))


def test_adjusted_distinct_is_the_formula_of_the_paper():
    rng = np.random.default_rng(0)
    items = rng.integers(0, 30, (50, 20))
    types = len({gram for item in items.tolist() for gram in grams(item, 1)})
    expected = 30 * (1 - (29 / 30) ** 1000)
    found = ngrams.expectation_adjusted_distinct(items, 1, 30)
    assert found.value == pytest.approx(types / expected)


@pytest.mark.parametrize("n", [1, 2])
def test_adjusted_distinct_of_uniform_tokens_is_one_whatever_the_length(n):
    rng = np.random.default_rng(0)
    for length in (5, 20, 80):
        items = rng.integers(0, 40, (60, length))
        adjusted = ngrams.expectation_adjusted_distinct(items, n, 40)
        assert adjusted.value == pytest.approx(1, abs=0.03)
    assert ngrams.distinct(items, n).value < 0.4  # the same is not true of distinct-n


def test_adjusted_distinct_of_a_single_symbol():
    assert ngrams.expectation_adjusted_distinct([[0, 0]] * 4, 2, 1).value == 1
    with pytest.raises(UserError, match="vocabulary of 1"):
        ngrams.expectation_adjusted_distinct([[0, 1]] * 4, 1, 1)


def test_the_interval_of_distinct_holds_the_value_of_other_samples():
    rng = np.random.default_rng(0)
    p = 1 / np.arange(1, 101)
    samples = [rng.choice(100, (100, 8), p=p / p.sum()) for _ in range(40)]
    found = [ngrams.distinct(items, 2) for items in samples]
    truth = np.mean([estimate.value for estimate in found])
    assert sum(estimate.low <= truth <= estimate.high for estimate in found) >= 34


def test_the_seed_alone_decides_the_interval():
    items = np.random.default_rng(0).integers(0, 9, (30, 8))
    assert ngrams.distinct(items, 2, seed=1) == ngrams.distinct(items, 2, seed=1)
    assert ngrams.distinct(items, 2, seed=1) != ngrams.distinct(items, 2, seed=2)


def test_tokens_may_be_words_characters_or_ids():
    words = [["to", "be", "or"], ["not", "to", "be"], ["that"], ["is", "to", "be"]]
    ids = [np.array([3, 1, 4]), np.array([7, 3, 1]), np.array([5]), np.array([2, 3, 1])]
    characters = ["abc", "dab", "e", "fab"]
    values = {repr(ngrams.distinct(items, 2)) for items in (words, ids, characters)}
    assert len(values) == 1


@few
@given(a=items_of, b=items_of)
def test_an_equal_budget_cuts_the_larger_set(a, b):
    first, second = ngrams.equal_budget(a, b)
    budget = min(sum(map(len, a)), sum(map(len, b)))
    for cut, items in ((first, a), (second, b)):
        assert list(chain(*cut)) == list(chain(*items))[:budget]
        assert all(x == y for x, y in zip(cut[:-1], items, strict=False))


@pytest.mark.parametrize("items", [[], [[]], [["a"]], [[]] * 9, ["ab"] * 3])
def test_too_few_items_are_undetermined(items):
    for found in (
        ngrams.distinct(items, 1),
        ngrams.expectation_adjusted_distinct(items, 1, 5),
        bleu.self_bleu(items),
    ):
        assert found.value is None
        assert found.note


def test_an_ngram_has_a_token():
    with pytest.raises(UserError, match="n is 0"):
        ngrams.distinct(["abc"] * 5, 0)


# --- repetition --------------------------------------------------------------------------------


@few
@given(items=items_of, n=st.integers(1, 4))
def test_repetition_is_the_share_that_occurred_before(items, n):
    def share(item):
        all_of_it = grams(item, n)
        before = [gram in all_of_it[:i] for i, gram in enumerate(all_of_it)]
        return np.mean(before) if before else 0

    np.testing.assert_allclose(ngrams.repetition(items, n), list(map(share, items)), atol=1e-12)


def test_repetition_of_nothing():
    assert ngrams.repetition([], 2).shape == (0,)
    np.testing.assert_allclose(ngrams.repetition(["", "a", "aaaa"], 2), [0, 0, 2 / 3])


# --- BLEU --------------------------------------------------------------------------------------


@few
@given(items=items_of, n=st.integers(1, 5))
def test_self_bleu_is_that_of_nltk(items, n):
    found = bleu.self_bleu(items, n=n)
    full = [item for item in items if item]
    assert found.n == len(full)
    assert ("empty" in found.note) == (0 < len(full) < len(items)) or found.value is None
    if found.value is None:
        assert len(full) < 4
        return
    others = [full[:i] + full[i + 1 :] for i in range(len(full))]
    expected = [nltk_bleu(*pair, n) for pair in zip(full, others, strict=True)]
    assert found.value == pytest.approx(np.mean(expected), abs=1e-12)
    assert found.low <= found.value <= found.high


@few
@given(items=items_of, references=items_of, n=st.integers(1, 5))
def test_bleu_is_that_of_nltk(items, references, n):
    expected = [nltk_bleu(item, references, n) for item in items]
    np.testing.assert_allclose(bleu.bleu(items, references, n=n), expected, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_bleu_is_that_of_sacrebleu():
    rng = np.random.default_rng(0)
    items = [rng.choice(list("abcd"), rng.integers(8, 15)).tolist() for _ in range(20)]
    references = [rng.choice(list("abcd"), rng.integers(8, 15)).tolist() for _ in range(5)]
    lines = [" ".join(reference) for reference in references]
    expected = [
        sacrebleu.sentence_bleu(
            " ".join(item), lines, tokenize="none", smooth_method="floor", smooth_value=0.1
        ).score
        for item in items
    ]
    np.testing.assert_allclose(100 * bleu.bleu(items, references), expected, rtol=1e-9)


def test_the_same_sentence_many_times_has_self_bleu_one():
    found = bleu.self_bleu([["a", "b", "c", "d", "e"]] * 6)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))


def test_sentences_without_a_common_word_have_self_bleu_zero():
    found = bleu.self_bleu([[i, i + 1] for i in range(0, 20, 2)])
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_an_item_is_not_its_own_reference():
    items = [[i, i + 1, i + 2] for i in range(0, 30, 3)]
    assert bleu.self_bleu(items).value == 0
    np.testing.assert_array_equal(bleu.bleu(items, items) > 0, True)


def test_the_order_of_items_does_not_matter():
    rng = np.random.default_rng(0)
    items = [rng.integers(0, 6, rng.integers(0, 9)).tolist() for _ in range(40)]
    shuffled = [items[i] for i in rng.permutation(40)]
    assert bleu.self_bleu(items).value == pytest.approx(bleu.self_bleu(shuffled).value, abs=1e-12)


def test_bleu_needs_references():
    assert bleu.bleu([], [["a"]]).shape == (0,)
    with pytest.raises(UserError, match="reference"):
        bleu.bleu([["a"]], [])


# --- cross-entropy -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lines():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 7, rng.integers(0, 12)) for _ in range(60)]


def batch_of(lines, end):
    """Lines as a family of models sees them: END c1 .. cn END, padded."""
    x = np.full((len(lines), 2 + max(map(len, lines))), end, np.int32)
    for row, line in zip(x, lines, strict=True):
        row[1 : 1 + len(line)] = line
    length = np.array([1 + len(line) for line in lines])
    return {"x": x, "mask": (np.arange(x.shape[1] - 1) < length[:, None]).astype(np.float32)}


@pytest.mark.parametrize(("order", "discounts"), [(1, 1), (6, 1), (4, 3)])
def test_scores_are_those_of_the_markov_family(lines, order, discounts):
    cfg, spec = markov.Config(order=order, discounts=discounts), Spec(vocab=8)
    step = markov.make_step(cfg, spec)
    state, _ = step(markov.init(None, cfg, spec), batch_of(lines[:40], 7), None)
    expected = markov.eval_metrics(state.params, cfg, batch_of(lines[40:], 7), None)

    scorer = ngrams.fit(lines[:40], vocabulary=7, order=order, discounts=discounts)
    nats_N, tokens_N = ngrams.score(scorer, lines[40:])
    np.testing.assert_allclose(nats_N, expected["loss"], rtol=1e-5)
    np.testing.assert_array_equal(tokens_N, expected["weight"])


def test_pieces_of_a_text_have_no_end(lines):
    scorer = ngrams.fit(lines, vocabulary=7, order=3, whole=False)
    nats_N, tokens_N = ngrams.score(scorer, lines)
    np.testing.assert_array_equal(tokens_N, [len(line) for line in lines])
    assert (nats_N[tokens_N == 0] == 0).all()
    # A first token has no history: it is as likely as it is frequent.
    firsts = [line[:1] for line in lines if len(line)]
    first_nats, _ = ngrams.score(scorer, firsts)
    unigram = np.asarray(scorer.unigram)
    np.testing.assert_allclose(first_nats, [-np.log(unigram[first[0]]) for first in firsts])


def test_probabilities_sum_to_one(lines):
    scorer = ngrams.fit(lines, vocabulary=7, order=4, whole=False)
    for prefix in ([], [3], [3, 1, 4], [6, 6, 6, 6, 6]):
        nats_N, _ = ngrams.score(scorer, [[*prefix, token] for token in range(7)])
        (before,), _ = ngrams.score(scorer, [prefix])
        assert np.exp(before - nats_N).sum() == pytest.approx(1, abs=1e-5)


def test_the_chunk_does_not_matter(lines, monkeypatch):
    scorer = ngrams.fit(lines, vocabulary=7)
    whole = ngrams.score(scorer, lines)
    monkeypatch.setattr(ngrams, "CHUNK", 16)
    np.testing.assert_allclose(ngrams.score(scorer, lines)[0], whole[0], rtol=1e-6)


def test_forward_entropy_sees_noise_and_backward_entropy_dropped_modes():
    rng = np.random.default_rng(0)
    patterns = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [3, 1, 5, 7], [2, 6, 0, 4]])

    def draw(modes, n=200):
        return patterns[rng.integers(0, modes, (n, 3))].reshape(n, -1)

    train, heldout, dropped, noise = draw(4), draw(4), draw(1), rng.integers(0, 8, (200, 12))

    def entropy(fitted, scored):
        nats, tokens = ngrams.score(ngrams.fit(fitted, vocabulary=8, order=4), scored)
        return nats.sum() / tokens.sum()

    fair = entropy(train, heldout)
    assert entropy(train, noise) > 3 * fair
    assert entropy(train, dropped) < 1.2 * fair  # forward entropy is content with one mode
    assert entropy(dropped, heldout) > 3 * fair  # backward entropy is not
    assert entropy(heldout, train) == pytest.approx(fair, rel=0.2)


def test_small_texts_have_scores():
    for items in ([], [[]], [[0]]):
        nats, tokens = ngrams.score(ngrams.fit(items, vocabulary=2), [[], [1, 0, 1]])
        assert np.isfinite(nats).all()
        np.testing.assert_array_equal(tokens, [1, 4])
    assert ngrams.score(ngrams.fit([[0]], vocabulary=2), [])[0].shape == (0,)


def test_ids_are_of_the_vocabulary(lines):
    with pytest.raises(UserError, match="vocabulary of 6"):
        ngrams.fit(lines, vocabulary=6)
    with pytest.raises(UserError, match="vocabulary of 7"):
        ngrams.score(ngrams.fit(lines, vocabulary=7), [[-1]])
    with pytest.raises(UserError, match="order"):
        ngrams.fit(lines, vocabulary=7, order=0)


def test_words_become_ids_that_groups_share():
    (a, b), vocabulary = ngrams.encode([["to", "be"], []], [["or", "be"]])
    np.testing.assert_array_equal(a[0], [0, 1])
    np.testing.assert_array_equal(b[0], [2, 1])
    assert (len(a[1]), vocabulary) == (0, 3)
    assert Counter(map(len, a)) == {2: 1, 0: 1}
