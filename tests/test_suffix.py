"""The suffix index finds what `in` finds, however much of it there is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax.creativity import suffix
from creagen_jax.types import UserError

few = settings(max_examples=30, deadline=None)

TEXT = st.text("ab", max_size=12)
DOCUMENTS = st.lists(TEXT, max_size=6)
QUERIES = st.lists(st.text("abc", max_size=10), max_size=4)  # c occurs in no document


def places(index, text):
    """Every position of the index at which it says `text`."""
    symbols = [ord(character) for character in text]
    size = len(index.symbols)
    return [p for p in range(size) if index.symbols[p : p + len(text)].tolist() == symbols]


def longest_by_hand(text, documents):
    """The longest beginning of `text` that one of the documents holds."""
    fits = (n for n in range(len(text), 0, -1) if any(text[:n] in d for d in documents))
    return next(fits, 0)


# --- the index -----------------------------------------------------------------------------------


@few
@given(DOCUMENTS)
def test_suffixes_are_in_alphabetical_order(documents):
    index = suffix.build(documents)
    size = len(index.symbols)
    # Separators are smaller than all symbols and, among themselves, in the order of their places.
    key = np.where(index.symbols == suffix.SEPARATOR, np.arange(size) - size, index.symbols)
    assert index.suffixes.tolist() == sorted(range(size), key=lambda p: key[p:].tolist())
    assert index.suffixes[index.ranks].tolist() == list(range(size))
    for document, start, end in zip(documents, index.starts, index.starts[1:], strict=False):
        assert "".join(map(chr, index.symbols[start : end - 1])) == document
    assert len(index.starts) == len(documents) + 1 and index.starts[-1] == size


@pytest.mark.parametrize("document", ["a" * 3000, "ab" * 1500, "abc" * 7 + "ab" * 900])
def test_repetitive_documents_are_sorted(document):
    index = suffix.build([document, document])
    texts = [(document[p:], d) for d in range(2) for p in range(len(document) + 1)]
    order = sorted(range(len(texts)), key=texts.__getitem__)
    assert index.suffixes.tolist() == order


# --- matching ------------------------------------------------------------------------------------


@few
@given(DOCUMENTS, QUERIES)
def test_matches_are_the_longest_and_all_their_places_are_known(documents, queries):
    index = suffix.build(documents)
    matches = suffix.match(index, queries)
    assert len(matches) == len(queries)
    for query, match in zip(queries, matches, strict=True):
        assert len(match.length) == len(query)
        for i in range(len(query)):
            longest = longest_by_hand(query[i:], documents)
            assert match.length[i] == longest
            found = index.suffixes[match.low[i] : match.high[i]].tolist()
            if longest:
                assert sorted(found) == places(index, query[i : i + longest])
                assert match.place[i] in found
            else:
                assert not found


@few
@given(st.lists(st.text("ab", max_size=60), min_size=1, max_size=3), st.integers(0, 99))
def test_longer_queries(documents, seed):
    """Pieces of the documents and single symbols, at random."""
    rng = np.random.default_rng(seed)
    cuts = [sorted(rng.integers(len(d) + 1, size=2)) for d in documents]
    query = "b".join(d[a:b] for d, (a, b) in zip(documents, cuts, strict=True))
    (match,) = suffix.match(suffix.build(documents), [query])
    expected = [longest_by_hand(query[i:], documents) for i in range(len(query))]
    assert match.length.tolist() == expected


def test_no_match_crosses_from_one_document_into_the_next():
    index = suffix.build(["ab", "cd", ""])
    (match,) = suffix.match(index, ["abcd"])
    assert match.length.tolist() == [2, 1, 2, 1]


def test_queries_do_not_know_each_other():
    index = suffix.build(["abcab", "bca"])
    queries = ["abc", "", "ab", "cabx", "b"]
    together = suffix.match(index, queries)
    for query, match in zip(queries, together, strict=True):
        (alone,) = suffix.match(index, [query])
        for name in ("length", "place", "low", "high"):
            np.testing.assert_array_equal(getattr(match, name), getattr(alone, name))


def test_a_long_copy_is_found_whole():
    rng = np.random.default_rng(0)
    book = rng.integers(4, size=30_000)
    index = suffix.build([rng.integers(4, size=5000), book, book[::-1]])
    copy = np.concatenate([[9], book[:20_000], [9]])
    (match,) = suffix.match(index, [copy])
    assert match.length[:3].tolist() == [0, 20_000, 19_999]
    assert match.length[-1] == 0 and match.place[1] == index.starts[1]
    # The last few symbols of the copy occur elsewhere by chance, but nothing longer.
    np.testing.assert_array_equal(match.length[1:20_001], np.arange(20_000, 0, -1))


def test_equal_documents_count_each():
    index = suffix.build(["abcd" * 50] * 40)
    (match,) = suffix.match(index, ["abcd" * 50])
    assert match.length[0] == 200 and match.high[0] - match.low[0] == 40


def test_symbols_may_be_any_numbers():
    large = 2**31 - 2
    index = suffix.build([np.array([large, 0, large]), np.array([7], np.uint8), []])
    (match,) = suffix.match(index, [np.array([0, large, 7, 8], np.int64)])
    assert match.length.tolist() == [2, 1, 1, 0]


def test_a_string_is_its_code_points():
    documents = ["春眠不觉晓", "\U0001f600 \ud800"]
    as_numbers = suffix.build([np.array([ord(c) for c in d]) for d in documents])
    index = suffix.build(documents)
    np.testing.assert_array_equal(index.symbols, as_numbers.symbols)
    assert suffix.occurrences(index, "不觉") == suffix.occurrences(index, "\U0001f600") == 1


# --- patterns ------------------------------------------------------------------------------------


@few
@given(DOCUMENTS, st.text("abc", max_size=4))
def test_occurrences_and_documents(documents, pattern):
    index = suffix.build(documents)
    held = [d for d, document in enumerate(documents) if pattern and pattern in document]
    assert suffix.documents_with(index, pattern).tolist() == held
    assert suffix.occurrences(index, pattern) == len(places(index, pattern) if pattern else [])


def test_intervals_of_many_patterns():
    index = suffix.build(["abab", "ba"])
    low, high = suffix.intervals(index, ["ab", "", "x", "abab", "ababa"])
    assert (high - low).tolist() == [2, 0, 0, 1, 0]
    assert suffix.intervals(index, []).shape == (2, 0)


def test_document_of_a_position():
    index = suffix.build(["ab", "", "c"])
    assert suffix.document_of(index, np.arange(6)).tolist() == [0, 0, 0, 1, 2, 2]


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("documents", [[], [""], ["", ""]])
def test_nothing_matches_an_empty_corpus(documents):
    (match, empty) = suffix.match(suffix.build(documents), ["ab", ""])
    assert match.length.tolist() == [0, 0] and len(empty.length) == 0
    assert suffix.match(suffix.build(documents), []) == []


@pytest.mark.parametrize(
    "document",
    [
        np.array([1, -1]),
        np.array([2**31 - 1]),
        np.array([0.5]),
        np.zeros((2, 2), int),
        np.broadcast_to(np.int8(0), 2**31),
    ],
    ids=["negative", "large", "float", "matrix", "long"],
)
def test_what_is_no_document_is_refused(document):
    with pytest.raises(UserError):
        suffix.build([document])
    with pytest.raises(UserError):
        suffix.match(suffix.build(["a"]), [document])
