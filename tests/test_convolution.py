"""Convolution and changes of resolution against their definitions, pixel by pixel."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate

from creagen_jax.functional import convolution

few = settings(max_examples=8, deadline=None)
seeds, sizes = st.integers(0, 99), st.integers(1, 5)


def noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def call(name, *args, static=()):
    """A function of the module, compiled at once: operation by operation takes longer."""
    function = jax.jit(lambda *arrays: getattr(convolution, name)(*arrays, *static))
    return np.asarray(function(*map(jnp.asarray, args)))


@pytest.mark.parametrize("height, width, kernel", [(5, 7, 3), (1, 4, 3), (4, 3, 1), (2, 2, 5)])
def test_convolve(height, width, kernel):
    x, W = noise(0, 3, height, width, 2), noise(1, kernel, kernel, 2, 4)
    expected = np.zeros((3, height, width, 4))
    border = kernel // 2
    padded = np.pad(x, [(0, 0), (border, border), (border, border), (0, 0)])
    for b, o in np.ndindex(3, 4):
        expected[b, ..., o] = correlate(padded[b], W[..., o], mode="valid")[..., 0]
    np.testing.assert_allclose(call("convolve", x, W), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("h, w", [(3, 3), (1, 1), (5, 1), (1, 3)])
def test_the_gradients_are_those_of_the_plain_convolution(h, w):
    x, W, dy = noise(0, 3, 4, 5, 2), noise(1, h, w, 2, 4), noise(2, 3, 4, 5, 4)

    def plain(x, W):
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, W, (1, 1), "SAME", dimension_numbers=layout)

    def penalty(convolve, x, W):  # a gradient inside, as that of a critic
        inner = jax.grad(lambda x: (jnp.tanh(convolve(x, W)) * dy).sum())(x)
        return (inner**2).sum()

    for function in (lambda convolve, x, W: (convolve(x, W) * dy).sum(), penalty):
        mine, other = (
            jax.jit(jax.grad(partial(function, convolve), (0, 1)))(x, W)
            for convolve in (convolution.convolve, plain)
        )
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), mine, other)


@few
@given(seeds, sizes, sizes, st.integers(1, 3), st.integers(1, 3))
def test_a_square_of_pixels_becomes_the_channels_of_one(seed, height, width, channels, size):
    x = noise(seed, 2, height * size, width * size, channels)
    deep = call("space_to_depth", x, static=(size,))
    for b, h, w in np.ndindex(2, height, width):
        square = x[b, h * size : (h + 1) * size, w * size : (w + 1) * size]
        np.testing.assert_array_equal(deep[b, h, w], square.ravel())
    np.testing.assert_array_equal(call("depth_to_space", deep, static=(size,)), x)


@few
@given(seeds, sizes, sizes, st.integers(1, 3))
def test_halve_is_the_mean_of_squares_and_an_edge_stands_for_itself(seed, height, width, channels):
    x = noise(seed, 2, height, width, channels)
    half = call("halve", x)
    assert half.shape == (2, -(-height // 2), -(-width // 2), channels)
    for h, w in itertools.product(*map(range, half.shape[1:3])):
        # At an odd side the square is cut short: the repeated edge does not change its mean.
        square = x[:, 2 * h : 2 * h + 2, 2 * w : 2 * w + 2]
        np.testing.assert_allclose(half[:, h, w], square.mean((1, 2)), atol=1e-6)


@few
@given(seeds, sizes, sizes, st.integers(1, 3))
def test_double_repeats_pixels_and_is_undone_by_halve(seed, height, width, channels):
    x = noise(seed, 2, height, width, channels)
    doubled = call("double", x)
    np.testing.assert_array_equal(doubled, x.repeat(2, axis=1).repeat(2, axis=2))
    np.testing.assert_allclose(call("halve", doubled), x, rtol=1e-6)
