"""Neighbours and balls equal brute force in float64, ties and copies included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax.creativity import distances
from creagen_jax.creativity.distances import count_inside, inside, nearest
from creagen_jax.types import UserError

fast = settings(max_examples=30, deadline=None)


@st.composite
def items(draw, most=50):
    """Features [N, 2] that float32 cannot tell apart, or that are often equally far."""
    kind = draw(st.sampled_from(["grid", "far", "near", "random"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(5, most))
    if kind == "grid":
        return rng.integers(-2, 3, size=(n, 2)).astype(float)
    scale, offset = {"far": (1e-3, 1e5), "near": (1e-12, 0), "random": (1, 0)}[kind]
    return offset + scale * rng.standard_normal((n, 2))


def matrix(x_ND, y_MD):
    return np.sqrt(((x_ND[:, None] - y_MD[None]) ** 2).sum(axis=-1))


def first(distance_NM, k):
    """The k least of each row and where they are, the lowest index of equal ones."""
    index_NK = np.argsort(distance_NM, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distance_NM, index_NK, axis=1), index_NK


@fast
@given(items(), items(), st.sampled_from([1, 4]))
def test_nearest_is_brute_force(queries, pool, k):
    distance, index = nearest(queries, pool, k=k)
    expected, where = first(matrix(queries, pool), k)
    np.testing.assert_array_equal(index, where)
    np.testing.assert_allclose(distance, expected, rtol=1e-14)
    assert distance.dtype == np.float64 and index.dtype == np.int64


@fast
@given(items(), st.sampled_from([1, 4]))
def test_an_item_is_not_its_own_neighbour_but_its_copy_is(pool, k):
    matrix_NN = matrix(pool, pool)
    np.fill_diagonal(matrix_NN, np.inf)
    distance, index = nearest(pool, pool, k=k, exclude_self=True)
    expected, where = first(matrix_NN, k)
    np.testing.assert_array_equal(index, where)
    np.testing.assert_allclose(distance, expected, rtol=1e-14)


@fast
@given(items(), items(), st.integers(1, 4))
def test_balls_hold_what_brute_force_finds(points, centres, k):
    # Radii are distances to points, so that many points are at the very edge of a ball.
    matrix_MN = matrix(centres, points)
    radii = np.sort(matrix_MN, axis=1)[:, k]
    balls_N, points_M = count_inside(points=points, centres=centres, radii=radii)
    inside_MN = matrix_MN < radii[:, None]
    np.testing.assert_array_equal(balls_N, inside_MN.sum(axis=0))
    np.testing.assert_array_equal(points_M, inside_MN.sum(axis=1))


def test_the_radius_of_a_neighbour_and_the_distance_to_its_copy_are_a_tie():
    pool = 1e3 + np.random.default_rng(0).standard_normal((40, 37))
    radii, _ = nearest(pool, pool, k=3, exclude_self=True)
    _, points_M = count_inside(points=pool, centres=pool, radii=radii[:, -1])
    np.testing.assert_array_equal(points_M, 3)  # itself and two neighbours; the third is outside
    copies, where = nearest(pool, pool[::-1])
    assert not copies.any()
    np.testing.assert_array_equal(where[:, 0], np.arange(40)[::-1])


def test_chunk_does_not_matter():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((90, 5)), rng.integers(-1, 2, size=(130, 5)).astype(float)
    unit = rng.uniform(0.5, 2, size=130)
    radii = nearest(y, y, k=3, exclude_self=True)[0][:, -1]
    results = [
        (
            *nearest(x, y, k=20, chunk=chunk),
            *nearest(x, y, k=5, unit=unit, chunk=chunk),
            *nearest(y, y, k=5, exclude_self=True, chunk=chunk),
            *count_inside(points=x, centres=y, radii=radii, chunk=chunk),
        )
        for chunk in (13, 64, distances.CHUNK)
    ]
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_blocks_name_their_points_and_centres():
    rng = np.random.default_rng(2)
    points, centres = rng.standard_normal((30, 3)), rng.standard_normal((20, 3))
    radii = rng.uniform(0, 3, size=20)
    whole = np.full((20, 30), -1)
    blocks = inside(points=points, centres=centres, radii=radii, chunk=8)
    for rows, cols, inside_AB in blocks:
        whole[rows, cols] = inside_AB
    np.testing.assert_array_equal(whole, matrix(centres, points) < radii[:, None])


def test_order_does_not_matter():
    rng = np.random.default_rng(3)
    x, y, order = rng.standard_normal((50, 5)), rng.standard_normal((60, 5)), rng.permutation(60)
    distance, index = nearest(x, y, k=3)
    shuffled, where = nearest(x, y[order], k=3)
    np.testing.assert_array_equal(distance, shuffled)
    np.testing.assert_array_equal(index, order[where])
    np.testing.assert_array_equal(nearest(x[::-1], y, k=3)[0], distance[::-1])


def test_distances_are_counted_in_units_of_the_pool():
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal((50, 2)), rng.standard_normal((60, 2))
    unit = 10 ** rng.normal(size=60)
    distance, index = nearest(x, y, k=4, unit=unit)
    expected, where = first(matrix(x, y) / unit, 4)
    np.testing.assert_array_equal(index, where)
    np.testing.assert_allclose(distance, expected, rtol=1e-14)


def test_rotation_and_shift_do_not_matter():
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((50, 5)), rng.standard_normal((60, 5))
    rotation = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    distance, index = nearest(x, y, k=3)
    turned, where = nearest(x @ rotation + 100, y @ rotation + 100, k=3)
    np.testing.assert_array_equal(index, where)
    np.testing.assert_allclose(turned, distance, rtol=1e-10)


def test_copies_of_one_item_are_all_at_distance_0():
    distance, index = nearest(np.ones((1500, 3)), np.ones((1500, 3)), k=2, exclude_self=True)
    assert not distance.any()
    np.testing.assert_array_equal(index[:3], [[1, 2], [0, 2], [0, 1]])
    np.testing.assert_array_equal(index[3:], np.tile([0, 1], (1497, 1)))


def test_nothing_asked_nothing_found():
    distance, index = nearest(np.zeros((0, 3)), np.ones((4, 3)), k=2)
    assert distance.shape == index.shape == (0, 2)
    balls_N, points_M = count_inside(
        points=np.zeros((0, 3)), centres=np.ones((4, 3)), radii=np.ones(4)
    )
    assert balls_N.shape == (0,) and not points_M.any()


@pytest.mark.parametrize("exclude_self, k", [(False, 5), (True, 4), (False, 0)])
def test_more_neighbours_than_items_is_a_clear_error(exclude_self, k):
    with pytest.raises(UserError, match=f"{k} nearest neighbours among"):
        nearest(np.ones((4, 2)), np.ones((4, 2)), k=k, exclude_self=exclude_self)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (np.ones((4, 3)), "real 2, generated 3"),
        (np.ones(4), "generated: shape"),
        (np.ones((4, 0)), "generated: shape"),
        (np.array([[0, 0], [0, np.nan]]), "generated: item 1 is not finite"),
        (np.array([[0, np.inf], [0, 0]]), "generated: item 0 is not finite"),
        (np.array([["a", "b"]]), "generated: not an array of numbers"),
        ([[0], [0, 1]], "generated: not an array of numbers"),
    ],
)
def test_wrong_features_are_named(wrong, message):
    with pytest.raises(UserError, match=message):
        distances.features(real=np.ones((4, 2)), generated=wrong)
