"""MAUVE equals the reference from its own histograms, and agrees with it from end to end."""

import mauve as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax.creativity import mauve as module
from creagen_jax.creativity.mauve import mauve, mauve_from_histograms
from creagen_jax.types import UserError

BASIS = np.random.default_rng(9).normal(size=(12, 12)) * np.linspace(2, 0.1, 12)[:, None]


def draw(seed, n, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, 12)) @ BASIS + shift


def library(real, generated, seed=0):
    return reference.compute_mauve(
        p_features=real, q_features=generated, kmeans_num_redo=1, kmeans_max_iter=50, seed=seed
    )


@pytest.fixture(autouse=True)
def few_subsamples(monkeypatch):
    monkeypatch.setattr(module, "REPEATS", 5)


@pytest.mark.parametrize("shift", [0.0, 1.0, 20.0])
def test_equals_the_reference_from_its_histograms(shift):
    found = library(draw(0, 120), draw(1, 120, shift))
    assert mauve_from_histograms(found.p_hist, found.q_hist) == pytest.approx(
        found.mauve, rel=1e-12
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_extremes_and_symmetry_of_histograms(counts):
    p, q = np.array(counts, float).T
    if p.sum() == 0 or q.sum() == 0:
        return
    p, q = p / p.sum(), q / q.sum()
    score = mauve_from_histograms(p, q)
    assert 0 < score <= 1 + 1e-12
    assert score == pytest.approx(mauve_from_histograms(q, p))
    assert mauve_from_histograms(p, p) == pytest.approx(1)
    apart = mauve_from_histograms(np.append(p, 0 * q), np.append(0 * p, q))
    assert apart < 0.02 and apart <= score


def test_agrees_with_the_reference_from_end_to_end():
    real, generated = draw(0, 400), draw(1, 400, 1.0)
    expected = np.mean([library(real, generated, seed).mauve for seed in range(5)])
    estimate = mauve(real=real, generated=generated)
    assert estimate.value == pytest.approx(expected, abs=0.03)
    assert estimate.low < expected < estimate.high
    assert "400 items" in estimate.note


def test_falls_as_distributions_part():
    real = draw(0, 200)
    scores = [mauve(real=real, generated=draw(1, 200, shift)).value for shift in (0, 4, 8, 20)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.9 and scores[-1] < 0.05


def test_sizes_are_made_equal_and_seeds_repeat():
    estimate = mauve(real=draw(0, 300), generated=draw(1, 120), seeds=2)
    assert estimate.n == estimate.n_ref == 120
    assert estimate == mauve(real=draw(0, 300), generated=draw(1, 120), seeds=2)
    assert estimate != mauve(real=draw(0, 300), generated=draw(1, 120), seeds=2, seed=1)
    enough = mauve(real=draw(0, 1000), generated=draw(1, 1000), seeds=1, clusters=5)
    assert enough.note == "" and 0.95 < enough.value <= 1


def test_degenerate_input_is_undetermined_or_exact():
    some = draw(0, 50)
    for real, generated in ((some[:0], some), (some, some[:0]), (some[:1], some[:1])):
        assert mauve(real=real, generated=generated).value is None
    constant = np.ones((50, 12))
    assert "the same" in mauve(real=constant, generated=constant).note
    assert (
        "the same"
        in mauve(real=some[:1] / np.arange(1, 51)[:, None], generated=some[:1] * constant).note
    )
    assert mauve(real=some, generated=constant).value < 0.3
    few = np.repeat(some[:3], 20, axis=0)  # fewer points than clusters
    assert mauve(real=few, generated=few).value == pytest.approx(1)
    assert mauve(real=np.zeros((50, 12)), generated=some).value < 0.3  # rows of no direction


def test_bad_features_are_refused():
    good = draw(0, 30)
    bad = good.copy()
    bad[2, 1] = np.nan
    with pytest.raises(UserError, match="item 2 is not finite"):
        mauve(real=good, generated=bad)
    with pytest.raises(UserError, match="differ in width"):
        mauve(real=good, generated=good[:, :2])


def test_no_seeds_and_no_clusters_are_refused():
    for wrong in ({"seeds": 0}, {"clusters": 0}):
        with pytest.raises(UserError, match="at least 1"):
            mauve(real=draw(0, 30), generated=draw(1, 30), **wrong)
