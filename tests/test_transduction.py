"""Scores of outputs against references are those of their definitions and of other libraries."""

import functools
import itertools

import nltk
import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax.creativity import catalogue, transduction
from creagen_jax.types import UserError

few = settings(max_examples=20, deadline=None)
word = st.text("abc", max_size=7)
pairs = st.lists(st.tuples(word, word), min_size=1, max_size=12)
items = st.lists(
    st.tuples(word, st.lists(word.filter(len), min_size=1, max_size=3)), min_size=2, max_size=10
)


@functools.cache
def edits(a: str, b: str) -> int:
    """The definition, read from the end."""
    if not a or not b:
        return len(a) + len(b)
    return min(edits(a[:-1], b) + 1, edits(a, b[:-1]) + 1, edits(a[:-1], b[:-1]) + (a[-1] != b[-1]))


# --- edit distance -------------------------------------------------------------------------------


@few
@given(pairs)
def test_edit_distances_are_those_of_the_definition_and_of_nltk(pairs):
    a, b = zip(*pairs, strict=True)
    found = transduction.edit_distances(a, b)
    np.testing.assert_array_equal(found, [edits(*pair) for pair in pairs])
    np.testing.assert_array_equal(found, [nltk.edit_distance(*pair) for pair in pairs])
    np.testing.assert_array_equal(found, transduction.edit_distances(b, a))


def test_distances_of_many_long_pairs_do_not_depend_on_the_others(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = ([rng.integers(0, 5, rng.integers(0, 60)) for _ in range(50)] for _ in range(2))
    whole = transduction.edit_distances(a, b)
    np.testing.assert_array_equal(whole, [nltk.edit_distance(*p) for p in zip(a, b, strict=True)])
    monkeypatch.setattr(transduction, "CHUNK", 7)
    np.testing.assert_array_equal(transduction.edit_distances(a, b), whole)


def test_distances_of_words_count_words():
    a, b = ["the", "cat", "sat"], ["the", "big", "cat", "sits"]
    assert transduction.edit_distances([a], [b]).tolist() == [2]
    assert transduction.edit_distances([], []).shape == (0,)
    with pytest.raises(UserError, match="1 and 0"):
        transduction.edit_distances([a], [])


# --- tokens --------------------------------------------------------------------------------------


@few
@given(items)
def test_scores_of_tokens_are_those_of_their_definitions(items):
    outputs, references = map(list, zip(*items, strict=True))
    right = [output in texts for output, texts in items]
    assert transduction.exact_match(outputs, references).value == pytest.approx(np.mean(right))
    assert transduction.word_error(outputs, references).value == pytest.approx(1 - np.mean(right))

    nearest = [min((edits(o, each), len(each)) for each in texts) for o, texts in items]
    distance, length = map(sum, zip(*nearest, strict=True))
    found = transduction.error_rate(outputs, references)
    assert (
        found.value == pytest.approx(distance / length) and found.low <= found.value <= found.high
    )

    def agreement(output, reference):
        places = itertools.zip_longest(output, reference)
        same = [a == b for a, b in places]
        return sum(same), len(same)

    best = [
        max((agreement(o, each) for each in texts), key=lambda a: (a[0] / max(a[1], 1), -a[1]))
        for o, texts in items
    ]
    same, places = map(sum, zip(*best, strict=True))
    found = transduction.token_accuracy(outputs, references)
    assert found.value == pytest.approx(same / places)


@few
@given(items, st.randoms())
def test_the_order_of_outputs_and_of_references_does_not_matter(items, random):
    mixed = [(output, random.sample(texts, len(texts))) for output, texts in items]
    random.shuffle(mixed)
    for score in (transduction.exact_match, transduction.error_rate, transduction.token_accuracy):
        a, b = (score(*map(list, zip(*each, strict=True))) for each in (items, mixed))
        assert a.value == pytest.approx(b.value)


def test_of_several_pronunciations_the_nearest_counts_with_its_length():
    output = ["T", "AH", "M", "EY", "T", "OW"]
    references = [
        ["T", "AH", "M", "AA", "T", "OW"],
        ["T", "AH", "M", "EY", "T", "OW", "Z"],
        ["T", "AH"],
    ]
    (rate,) = {transduction.error_rate([output] * 2, [references] * 2).value}
    assert rate == pytest.approx(1 / 6)  # not 1 / 7


def test_lists_arrays_and_strings_of_the_same_tokens_are_equal():
    for output in (["1", "2"], ("1", "2"), np.array(["1", "2"]), "12"):
        assert transduction.exact_match([output], ["12"]).value == 0
        assert transduction.exact_match([output], [["12"]]).value == 1


# --- language ------------------------------------------------------------------------------------

ENGLISH = [
    ("the cat sat on the mat today", ["the cat is sitting on the mat", "a cat sat on a mat today"]),
    ("he does not like to swim at night", ["he never likes swimming at night"]),
    ("what a day", ["what a lovely day", "what a day this is", "such a day"]),
    ("we went home early, and slept", ["we went home early and slept well"]),
]
CHINESE = [
    ("我不知道你在说什么。", ["我不知道你说的是什么。"]),
    ("今天天气很好", ["今天的天气很好。"]),
] * 2


@pytest.mark.parametrize(("pairs", "cut"), [(ENGLISH, "13a"), (CHINESE, "zh")])
def test_chrf_and_bleu_are_those_of_sacrebleu(pairs, cut):
    outputs, references = map(list, zip(*pairs, strict=True))
    most = max(map(len, references))
    # sacrebleu takes None where an output has fewer references.
    streams = [[texts[i] if i < len(texts) else None for texts in references] for i in range(most)]
    chrf, bleu = transduction.chrf(outputs, references), transduction.bleu(outputs, references)
    assert chrf.value == pytest.approx(sacrebleu.corpus_chrf(outputs, streams).score)
    assert bleu.value == pytest.approx(sacrebleu.corpus_bleu(outputs, streams, tokenize=cut).score)
    assert chrf.low < chrf.value < chrf.high and f"tok:{cut}" in bleu.note


def test_perfect_outputs_score_all_and_others_less():
    texts = [text for _, references in ENGLISH for text in references]
    exact = transduction.measure(texts, [[each] for each in texts], words=True)
    assert [round(each.value, 9) for each in exact.values()] == [1, 1, 0, 0, 100, 100]
    wrong = transduction.measure(texts[1:] + texts[:1], [[each] for each in texts], words=True)
    assert wrong["exact_match"].value == 0 < wrong["chrf"].value < 60
    assert wrong["error_rate"].value > 0.5


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("plain words", "13a"),
        ("слова и знаки", "13a"),
        ("안녕하세요 여러분", "13a"),
        ("床前明月光 OK", "zh"),
        ("私は昨日学校へ行きました", "char"),
        ("สวัสดีครับ", "char"),
        ("123 + 45", "13a"),
        ("", "13a"),
    ],
)
def test_the_script_tells_how_words_are_cut(text, cut):
    assert transduction.tokenizer([text]) == cut


def test_the_interval_holds_the_value_of_more_of_the_same():
    rng = np.random.default_rng(0)
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    truth = [" ".join(rng.choice(words, 8)) for _ in range(600)]
    mixed = [" ".join(w if rng.random() < 0.8 else "x" for w in each.split()) for each in truth]
    whole = transduction.chrf(mixed, [[each] for each in truth])
    held = []
    for start in range(0, 600, 60):
        part = slice(start, start + 60)
        found = transduction.chrf(mixed[part], [[each] for each in truth[part]])
        held.append(found.low <= whole.value <= found.high)
    assert np.mean(held) >= 0.7


# --- degenerate input ----------------------------------------------------------------------------


def test_nothing_is_undetermined():
    for each in transduction.measure([], [], words=False).values():
        assert each.value is None and each.note == "no items"


def test_short_outputs_have_no_bleu():
    found = transduction.measure(["12", "7", ""], [["12"], ["8"], ["9"]], words=False)
    assert found["bleu"].value is None and "4 words" in found["bleu"].note
    assert found["exact_match"].value == pytest.approx(1 / 3)
    assert found["error_rate"].value == pytest.approx(2 / 4)


@pytest.mark.parametrize("references", [[["a"]], [["a"], []]])
def test_each_output_needs_a_reference(references):
    for score in (transduction.exact_match, transduction.error_rate, transduction.chrf):
        with pytest.raises(UserError):
            score(["a", "b"], references)


def test_all_scores_are_in_the_catalogue():
    assert set(transduction.measure([], [], words=True)) <= set(catalogue.METRICS)
