"""Novelty, spans and neighbours are what the definitions say of the text itself."""

import itertools
from collections import defaultdict
from pydoc_data.topics import topics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax.creativity import originality, suffix
from creagen_jax.types import UserError

few = settings(max_examples=25, deadline=None)

ITEMS = st.lists(st.text("abc", max_size=12), min_size=1, max_size=4)
DOCUMENTS = st.lists(st.text("ab", max_size=12), min_size=1, max_size=4)


def held(text, documents):
    return any(text in document for document in documents)


def matched(documents, items):
    index = suffix.build(documents)
    return index, suffix.match(index, items)


def spans_by_hand(item, documents):
    """(start, stop) of all copied spans that lie in no longer one."""
    pairs = itertools.combinations(range(len(item) + 1), 2)
    copied = [(i, j) for i, j in pairs if held(item[i:j], documents)]
    return [
        (i, j)
        for i, j in copied
        if not any(a <= i and j <= b for a, b in copied if (a, b) != (i, j))
    ]


# --- before and after matching -------------------------------------------------------------------


@pytest.mark.parametrize(
    "a, b",
    [
        ("Hello,  World!", "hello world"),
        ("It costs $12.50\n", "it costs 99 75"),
        ("\ufb01ne \uff21\uff22\uff23", "FINE abc"),  # a ligature, full-width letters
        ("Stra\u00dfe", "STRASSE"),
        ("caf\u00e9", "cafe\u0301"),
        ("\u6625\u7720\u3002\u4e0d\u89c9\u6653\uff0c", "\u6625\u7720 \u4e0d\u89c9\u6653"),
        ("in\u00advis\u200bible", "invisible"),
        ("...", ""),
    ],
)
def test_near_verbatim_texts_are_equal_once_normalised(a, b):
    assert originality.normalise(a) == originality.normalise(b)


def test_normalise_keeps_words_apart():
    assert originality.normalise(" One-two\t3 ") == "one two 0"
    assert originality.normalise("ab") != originality.normalise("a b")
    assert originality.normalise("हिन्दी") == "हिन्दी"  # marks belong to their letters


def test_copied_whole():
    _, matches = matched(["\nanna\n", "\nbob\n"], ["\nanna\n", "\nann\n", "", "anna\n"])
    assert originality.copied_whole(matches).tolist() == [True, False, False, True]


# --- copied spans --------------------------------------------------------------------------------


@few
@given(DOCUMENTS, ITEMS)
def test_cover_and_spans_equal_brute_force(documents, items):
    index, matches = matched(documents, items)
    covers = originality.covers(matches)
    for item, match, cover in zip(items, matches, covers, strict=True):
        expected = spans_by_hand(item, documents)
        containing = [[j - i for i, j in expected if i <= p < j] for p in range(len(item))]
        assert cover.tolist() == [max(lengths, default=0) for lengths in containing]
        np.testing.assert_array_equal(originality.cover(match.length), cover)

        spans = originality.copied_spans(match, index, minimum=2)
        assert [(s.start, s.stop) for s in spans] == [s for s in expected if s[1] - s[0] >= 2]
        for span in spans:
            text = item[span.start : span.stop]
            source = index.symbols[span.offset : span.offset + len(text)]
            assert "".join(map(chr, source)) == text
            assert text in documents[span.document]
            assert span.occurrences == suffix.occurrences(index, text)


def test_cover_where_many_spans_overlap():
    """Every position lies in many maximal spans of different lengths."""
    rng = np.random.default_rng(0)
    end = np.maximum.accumulate(np.minimum(np.arange(400) + rng.integers(0, 90, 400), 400))
    length = np.maximum(end - np.arange(400), 0)
    spans = [[length[i] for i in range(p + 1) if i + length[i] > p] for p in range(400)]
    expected = [max(lengths, default=0) for lengths in spans]
    assert originality.cover(length).tolist() == expected


def test_longest_spans():
    _, matches = matched(["a" * 80], ["a" * 60 + "b" * 40, "ab", "b", ""])
    covers = originality.covers(matches)
    assert originality.longest_span(covers).tolist() == [60, 1, 0, 0]
    summary = originality.span_summary(covers)
    assert summary.median.value == 0 and summary.maximum.value == 60
    assert summary.inside.value == 60 / 103


def test_quantiles_are_bounded_by_order_statistics():
    """About 95 of 100 intervals of a known median hold it."""
    rng = np.random.default_rng(0)
    draws = rng.geometric(0.1, (60, 80))  # the median is 7
    rows = [originality.span_summary([np.array([v]) for v in row]).median for row in draws]
    assert sum(e.low <= 7 <= e.high for e in rows) >= 54
    assert all(e.low <= e.value <= e.high and not e.note for e in rows)
    assert np.mean([e.high - e.low for e in rows]) < 7
    few_items = originality.span_summary([np.array([3])] * 5).p95
    assert few_items.value == 3 and "5 items" in few_items.note


# --- novelty -------------------------------------------------------------------------------------


@few
@given(DOCUMENTS, ITEMS)
def test_novelty_equals_brute_force(documents, items):
    _, matches = matched(documents, items)
    curve = originality.novelty_curve(matches, n_max=5)
    assert len(curve) == 5
    for n, estimate in enumerate(curve, start=1):
        grams = [item[i : i + n] for item in items for i in range(len(item) - n + 1)]
        if grams and len(items) == 1:
            assert estimate.value is None and estimate.note == "one item has no spread"
        elif grams:
            assert estimate.value == np.mean([not held(gram, documents) for gram in grams])
            assert estimate.low <= estimate.value <= estimate.high
        else:
            assert estimate.value is None and f"{n} symbols" in estimate.note


def test_a_copy_has_no_novelty_and_random_symbols_are_new():
    rng = np.random.default_rng(0)
    documents = list(rng.integers(20, size=(30, 40)))
    index = suffix.build(documents)
    copies = originality.novelty_curve(suffix.match(index, documents[:10]))
    assert len(copies) == 32 and all(e.value == 0 for e in copies)
    noise = originality.novelty_curve(suffix.match(index, list(rng.integers(20, size=(10, 40)))))
    assert noise[0].value == 0 and all(e.value == 1 for e in noise[9:])


def test_the_creativity_index_equals_its_definition():
    _, matches = matched(["abcdefgh"], ["abcdefxx", "xbcdx", "x"])
    covers = originality.covers(matches)
    tokens = np.concatenate(covers)
    shares = [np.mean(tokens < size) for size in range(3, 8)]
    index = originality.creativity_index(covers, low=3, high=7)
    assert index.value == pytest.approx(np.mean(shares)) and index.n == 3
    for size, share in zip(range(3, 8), shares, strict=True):
        one = originality.creativity_index(covers, low=size, high=size)
        assert one.value == pytest.approx(share)


def test_an_item_copied_whole_is_not_new_however_short():
    _, matches = matched(["\nann\n", "\nbob\n"], ["\nann\n", "\nbob\n", "xxxxx"])
    covers, whole = originality.covers(matches), originality.copied_whole(matches)
    assert originality.creativity_index(covers, low=9).value == 1  # 5 symbols are no span of 9
    assert originality.creativity_index(covers, low=9, whole=whole).value == pytest.approx(1 / 3)
    assert originality.unique_shares(covers, low=9, whole=whole).tolist() == [0, 0, 1]


def test_the_creativity_index_between_its_extremes():
    rng = np.random.default_rng(0)
    documents = list(rng.integers(20, size=(30, 40)))
    index = suffix.build(documents)
    noise = list(rng.integers(100, 120, size=(30, 40)))
    for copied in (0, 10, 30):
        covers = originality.covers(suffix.match(index, documents[:copied] + noise[copied:]))
        estimate = originality.creativity_index(covers)
        assert estimate.value == pytest.approx(1 - copied / 30)
        assert estimate.low <= 1 - copied / 30 <= estimate.high


def test_a_chain_of_higher_order_is_less_novel():
    """A Markov chain of words copies the more the longer its memory."""
    text = " ".join(topics[name] for name in sorted(topics))
    ids = np.unique(text.split()[:15_000], return_inverse=True)[1]
    index = suffix.build([ids])
    indices = [
        originality.creativity_index(originality.covers(suffix.match(index, chain(ids, order))))
        for order in (1, 2, 3, 5)
    ]
    values = [estimate.value for estimate in indices]
    assert values == sorted(values, reverse=True)
    assert all(a.low > b.high for a, b in itertools.pairwise(indices[:3]))
    assert values[0] > 0.5 and values[-1] < 0.2


def chain(ids, order):
    """30 texts of 60 tokens; each token is one that followed the last `order` ones somewhere."""
    rng, following = np.random.default_rng(0), defaultdict(list)
    for i in range(len(ids) - order):
        following[tuple(ids[i : i + order])].append(ids[i + order])
    items = []
    for start in rng.integers(len(ids) - 200, size=30):
        item = list(ids[start : start + order])
        while len(item) < 60 and (choices := following.get(tuple(item[-order:]))):
            item.append(choices[rng.integers(len(choices))])
        items.append(np.array(item))
    return items


# --- train or held-out ---------------------------------------------------------------------------


@few
@given(DOCUMENTS, ITEMS)
def test_match_weights_equal_brute_force(documents, items):
    index, matches = matched(documents, items)
    expected = np.zeros(len(documents))
    for item in items:
        grams = {item[i:j] for i, j in itertools.combinations(range(len(item) + 1), 2)} | {""}
        best = max(len(gram) for gram in grams if held(gram, documents))
        longest = [gram for gram in grams if len(gram) == best]
        tied = [d for d, text in enumerate(documents) if any(gram in text for gram in longest)]
        expected[tied] += 1 / len(tied)
    weights = originality.match_weights(index, matches)
    np.testing.assert_allclose(weights, expected, atol=1e-12)
    assert weights.sum() == pytest.approx(len(items))


def test_copies_weigh_on_their_sources():
    rng = np.random.default_rng(0)
    documents = list(rng.integers(9, size=(6, 50)))
    index, matches = matched(documents, [documents[4][10:40], documents[4][20:], documents[1]])
    assert originality.match_weights(index, matches).tolist() == [0, 1, 0, 0, 2, 0]


# --- bad input -----------------------------------------------------------------------------------


def test_no_items():
    index = suffix.build(["abc"])
    assert originality.covers([]) == []
    assert all(e.value is None for e in originality.novelty_curve([]))
    assert originality.creativity_index([]).value is None
    summary = originality.span_summary([])
    assert summary.median.value is summary.maximum.value is summary.inside.value is None
    assert originality.match_weights(index, []).tolist() == [0]
    assert originality.copied_whole([]).tolist() == []


@pytest.mark.parametrize("documents", [[], ["", ""]])
@pytest.mark.parametrize("items", [[""], ["", "ab", "ab"]])
def test_empty_items_and_an_empty_corpus(documents, items):
    index, matches = matched(documents, items)
    covers, symbols = originality.covers(matches), len("".join(items))
    assert originality.longest_span(covers).max() == 0
    assert originality.creativity_index(covers).value == (1 if symbols else None)
    assert originality.novelty_curve(matches)[0].value == (1 if symbols else None)
    assert originality.span_summary(covers).median.value == 0
    weights = originality.match_weights(index, matches)
    np.testing.assert_allclose(weights, np.full(len(documents), len(items) / 2))
    assert originality.copied_spans(matches[-1], index, minimum=1) == []


def test_nonsense_is_refused():
    index, (match,) = matched(["abc"], ["abc"])
    with pytest.raises(UserError, match="at least 1"):
        originality.copied_spans(match, index, minimum=0)
    with pytest.raises(UserError, match="from 8 to 7"):
        originality.unique_shares(originality.covers([match]), low=8, high=7)
