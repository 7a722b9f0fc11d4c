"""The frontier of quality and diversity has the numbers of NLTK and says who is ahead."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

from creagen_jax.creativity import catalogue, frontier, ngrams, text
from creagen_jax.creativity.estimate import Estimate, undetermined
from creagen_jax.creativity.report import shown
from creagen_jax.types import UserError

few = settings(max_examples=20, deadline=None)
grid = st.tuples(*[st.integers(0, 6)] * 2)
curves = st.lists(grid, min_size=1, max_size=5)

ADJECTIVES, NOUNS = ["red", "old", "tall", "shy"], ["cat", "dog", "bus", "man", "cow"]
VERBS, PLACES = ["sits", "waits", "sleeps"], ["home", "the road", "a park", "the sea"]


def sentences(seed: int, n: int, nouns=NOUNS) -> list[str]:
    rng = np.random.default_rng(seed)

    def one() -> str:
        a, b, c, d = (rng.choice(words) for words in (ADJECTIVES, nouns, VERBS, PLACES))
        return f"a {a} {b} {c} at {d}."

    return [one() for _ in range(n)]


def shuffled(texts: list[str], seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.permutation(each.split())) for each in texts]


# --- which is ahead ------------------------------------------------------------------------------


def walked(curve: np.ndarray) -> np.ndarray:
    """Many points on the pieces of a curve: on a grid of 0 .. 6 no place of interest is between."""
    places = np.linspace(0, 1, 61)[:, None]
    pieces = [a + places * (b - a) for a, b in itertools.pairwise(curve)]
    return np.concatenate([curve, *pieces])


@few
@given(st.lists(grid, min_size=1, max_size=8), curves)
def test_a_point_is_dominated_if_some_place_of_the_curve_is_better(points, curve):
    points, curve = np.array(points, float), np.array(curve, float)
    slack = points[:, None] - walked(curve)
    expected = ((slack >= -1e-9).all(-1) & (slack > 1e-9).any(-1)).any(-1)
    found = frontier.dominated(points, curve)
    # Points exactly on a piece may be told either way by rounding, which the walk does not settle.
    on = (np.abs(slack).max(-1) < 1e-9).any(-1)
    np.testing.assert_array_equal(found[~on], expected[~on])


@few
@given(curves)
def test_a_falling_curve_dominates_none_of_its_own_points(curve):
    curve = np.array(sorted(curve, key=lambda point: (point[0], -point[1])), float)
    curve[:, 1] = 10 - np.arange(len(curve))
    curve[:, 0] = np.arange(len(curve)) + curve[:, 0]
    assert not frontier.dominated(curve, curve).any()
    assert not frontier.ahead(curve, curve).any()
    assert frontier.dominated(curve + 0.01, curve).all()
    nearer = curve - 0.01
    assert not frontier.dominated(nearer, curve).any() and frontier.ahead(nearer, curve).all()


def test_a_point_between_two_temperatures_is_dominated_by_the_line_between():
    curve = np.array([[0.0, 2.0], [2.0, 0.0]])
    points = np.array([[1.1, 1.1], [0.9, 0.9], [3.0, -1.0], [-1.0, 3.0], [3.0, 3.0]])
    assert frontier.dominated(points, curve).tolist() == [True, False, False, False, True]
    assert frontier.ahead(points, curve).tolist() == [False, True, False, False, False]


def row(system: str, at: float, quality: float, diversity: float, half: float = 0.0):
    """Of a system whose four measures are these two, all the lower the better."""
    values = {"heldout_forward": quality, "heldout_backward": diversity}
    values |= {"bleu_5": -quality, "self_bleu_5": diversity}
    metrics = {name: Estimate(x, x - half, x + half, "", 9) for name, x in values.items()}
    return frontier.Row(system, at, metrics, ["a text"])


LINE = [(0.5, 1, 3), (1.0, 2, 2), (1.5, 3, 1)]


@pytest.mark.parametrize(
    ("points", "half", "words"),
    [
        ([(0.7, 1.4, 2.4), (1, 2.5, 2.5)], 0.01, "helped by {}: ml never does .* gan at .* 0.7."),
        ([(0.7, 1.4, 2.4)], 0.2, "may have helped by {}: .* 0.7, but the intervals overlap"),
        ([(0.7, 1.7, 2.7), (1, 2.5, 2.5)], 0.01, "did not help by {}: whatever"),
        ([(0.2, 0.5, 4), (1, 2.5, 2.5)], 0.01, "as far as it can be told: gan at temperature 0.2"),
        ([(0.9, 1.9, 1.9), (1.0, 2, 1.9), (1.1, 2.1, 1.8)], 0, "temperature 0.9, 1 and 1.1."),
    ],
)
def test_the_verdict_says_whether_it_helped(points, half, words):
    rows = [row("ml", *each, half) for each in LINE] + [row("gan", *each, half) for each in points]
    found = frontier.verdict(rows, "gan", "ml")
    assert len(found) == len(frontier.PLANES)
    for sentence, plane in zip(found, frontier.PLANES, strict=True):
        assert re.search(words.format(plane), sentence), sentence
        assert sentence.startswith("The adversarial phase ")


def test_without_values_there_is_no_verdict():
    unknown = {
        name: undetermined("few", n=1) for names in frontier.PLANES.values() for name in names
    }
    rows = [row("ml", *each) for each in LINE] + [frontier.Row("gan", 1.0, unknown, [])]
    for sentence in frontier.verdict(rows, "gan", "ml", what="Training"):
        assert sentence.startswith("Whether training helped") and "cannot be told" in sentence
    assert frontier.verdict(rows, "gan", "nobody")[0].endswith("cannot be told.")
    frontier.render("x", rows)


# --- numbers -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found():
    real = sentences(0, 400)
    systems = {
        "narrow": {1.0: sentences(3, 80, NOUNS[:1]), 0.5: sentences(2, 60, NOUNS[:1])},
        "broken": {1.0: shuffled(sentences(4, 70))},
        "good": {1.0: sentences(5, 60)},
    }
    rows = frontier.frontier(systems, train=real[:200], heldout=real[200:], words=True)
    return rows, systems, real[200:]


def values(rows, system, name):
    return [each.metrics[name].value for each in rows if each.system == system]


def test_there_is_a_row_for_each_temperature_and_one_for_real_data(found):
    rows, _, _ = found
    keys = [(each.system, each.temperature) for each in rows]
    assert keys == [("narrow", 0.5), ("narrow", 1.0), ("broken", 1.0), ("good", 1.0),
                    (frontier.REAL, None)]  # fmt: skip
    for each in rows:
        assert set(each.metrics) <= set(catalogue.METRICS)
        assert all(m.n == 60 and m.low <= m.value <= m.high for m in each.metrics.values())


def test_bleu_is_that_of_nltk_against_all_held_out_texts(found):
    rows, systems, heldout = found
    texts = frontier.tokens(systems["narrow"][1.0][:60], True)
    real, smooth = frontier.tokens(heldout, True), SmoothingFunction().method1
    for n in (2, 5):
        weights = (1 / n,) * n
        mean = np.mean([sentence_bleu(real, each, weights, smooth) for each in texts])
        assert values(rows, "narrow", f"bleu_{n}")[1] == pytest.approx(mean)
        others = [texts[:i] + texts[i + 1 :] for i in range(60)]
        among = [sentence_bleu(*pair, weights, smooth) for pair in zip(others, texts, strict=True)]
        assert values(rows, "narrow", f"self_bleu_{n}")[1] == pytest.approx(np.mean(among))


def test_cross_entropies_are_those_of_models_of_the_other_side(found):
    rows, systems, heldout = found
    known = sorted({word for each in [*heldout, *sentences(0, 200)] for word in
                    frontier.TOKEN.findall(each)})  # fmt: skip
    ids = {word: i for i, word in enumerate(known, 1)}

    def encoded(texts):
        return [[ids[word] for word in frontier.TOKEN.findall(each)] for each in texts]

    def nats(of, on):
        model = ngrams.fit(encoded(of), vocabulary=len(ids) + 1, order=text.PHRASES)
        total, count = ngrams.score(model, encoded(on))
        return total.sum() / count.sum()

    good = systems["good"][1.0]
    assert values(rows, "good", "heldout_forward")[0] == pytest.approx(nats(heldout, good))
    assert values(rows, "good", "heldout_backward")[0] == pytest.approx(nats(good, heldout))


def test_each_fault_shows_in_its_own_measure(found):
    rows, _, _ = found
    (good,), (broken,) = (values(rows, name, "heldout_forward") for name in ("good", "broken"))
    assert broken > good + 0.5
    narrow = values(rows, "narrow", "heldout_backward")[1]
    (good,) = values(rows, "good", "heldout_backward")
    assert narrow > good + 0.2
    assert values(rows, "narrow", "self_bleu_5")[1] > values(rows, "good", "self_bleu_5")[0]
    assert "did not help" in frontier.verdict(rows, "broken", "good")[0]


def test_unknown_words_and_empty_texts_have_finite_values():
    real = sentences(0, 60)
    systems = {"odd": {1.0: ["", "qwx", "漢字", "a red cat"] * 5}}
    for words in (True, False):
        rows = frontier.frontier(systems, train=real[:30], heldout=real[30:], words=words)
        for each in rows:
            assert all(m.value is not None for m in each.metrics.values())


def test_collapse_shows():
    real = sentences(0, 60)
    systems = {"one": {1.0: real[30:31] * 20}}
    one, _ = frontier.frontier(systems, train=real[:30], heldout=real[30:], words=True)
    assert one.metrics["distinct_texts"].value == 1 / 20
    assert one.metrics["self_bleu_5"].value == one.metrics["bleu_5"].value == 1


@pytest.mark.parametrize(
    "how",
    [
        {"systems": {"real data": {1.0: ["a"]}}},
        {"systems": {"x": {1.0: []}}},
        {"systems": {}, "train": []},
        {"systems": {"x": {1.0: ["a"]}}, "heldout": []},
    ],
)
def test_what_cannot_be_compared_is_a_user_error(how):
    with pytest.raises(UserError):
        frontier.frontier(**{"train": ["a", "b"], "heldout": ["a"], "words": False, **how})


# --- page ----------------------------------------------------------------------------------------


def test_the_page_shows_all_rows_and_runs_nothing(found):
    rows, _, _ = found
    hostile = "<script>alert(1)</script>"
    bad = frontier.Row(hostile, 2.0, rows[0].metrics, [hostile, "ann@example.org"])
    html = frontier.render("Frontier", [*rows, bad], sentences=["It helped.", hostile])
    assert "<script" not in html and "It helped." in html and not re.search("https?:", html)
    for each in rows:
        assert each.system in html and each.samples[0] in html
        assert all(shown(m) in html for m in each.metrics.values())
    assert html.count("<svg") == 2 == html.count("<figcaption")
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))


def test_personal_data_is_masked():
    real = ["write to ann@example.org now", *sentences(0, 59)]
    systems = {"x": {1.0: real[:20]}}
    x, _ = frontier.frontier(systems, train=real[20:40], heldout=real[40:], words=True)
    assert "ann@example.org" not in "".join(x.samples) and "write to" in x.samples[0]
