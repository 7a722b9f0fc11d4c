"""Preconditioning, noise levels and loss of denoising score matching, as the papers have them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from creagen_jax.functional import diffusion
from creagen_jax.functional.diffusion import PRECONDITIONS, noise_levels

few = settings(max_examples=20, deadline=None)
sigmas = st.lists(st.floats(0.002, 80), min_size=3, max_size=3)  # of one shape: compiled once
key = jax.random.key
objectives = pytest.mark.parametrize("objective", PRECONDITIONS)


def precondition_at(objective, sigma_B, sigma_data=0.5):
    return PRECONDITIONS[objective](jnp.array(sigma_B, jnp.float32), sigma_data)


def beside(c_B, y):
    return np.asarray(c_B).reshape(-1, *(1,) * (y.ndim - 1))


@few
@given(sigmas, st.floats(0.1, 2))
def test_edm_is_table_1(sigma, sigma_data):
    p = precondition_at("edm", sigma, sigma_data)
    sigma = np.array(sigma)
    expected = [
        sigma_data**2 / (sigma**2 + sigma_data**2),
        sigma * sigma_data / np.sqrt(sigma_data**2 + sigma**2),
        1 / np.sqrt(sigma**2 + sigma_data**2),
        np.log(sigma) / 4,
    ]
    for ours, theirs in zip(p, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("sigma_data", [0.3, 1.0])
@pytest.mark.parametrize("sigma", [0.01, 0.5, 20.0])
def test_edm_gives_inputs_and_targets_unit_variance(sigma, sigma_data):
    """Karras et al. 2022, appendix B.6: what c_in, c_out and c_skip were derived from."""
    rng = np.random.default_rng(0)
    x = sigma_data * rng.choice([-1.0, 1.0], 100_000)  # nothing is assumed but the deviation
    y = x + sigma * rng.normal(size=x.shape)
    c_skip, c_out, c_in, _ = precondition_at("edm", [sigma], sigma_data)
    np.testing.assert_allclose(np.std(c_in * y), 1, rtol=0.01)
    np.testing.assert_allclose(np.std((x - c_skip * y) / c_out), 1, rtol=0.01)


@few
@given(sigmas, st.integers(0, 99))
def test_the_true_velocity_denoises_exactly(sigma, seed):
    """On the straight line (1 - t) x + t n at t = sigma / (1 + sigma), which the network sees."""
    x, n = np.random.default_rng(seed).normal(size=(2, 3, 4, 2))
    p = precondition_at("flow", sigma)
    t_B = np.array(sigma) / (1 + np.array(sigma))

    def network(seen, noise_B):
        line = (1 - beside(t_B, x)) * x + beside(t_B, x) * n
        np.testing.assert_allclose(seen, line, atol=1e-5)
        np.testing.assert_allclose(noise_B, t_B, rtol=1e-5)
        return jnp.asarray(n - x, jnp.float32)

    y = jnp.asarray(x + beside(sigma, x) * n, jnp.float32)
    np.testing.assert_allclose(diffusion.precondition(network, p, y), x, atol=1e-4)


@objectives
def test_a_network_of_zeros_leaves_what_is_skipped(objective):
    p = precondition_at(objective, [0.01, 1.0, 50.0])
    y = jax.random.normal(key(0), (3, 5, 4, 2))
    D = diffusion.precondition(lambda x, noise_B: jnp.zeros_like(x), p, y)
    np.testing.assert_allclose(D, beside(p.c_skip, y) * y, rtol=1e-6)


@objectives
def test_the_loss_is_the_squared_error_of_the_network_itself(objective):
    """Karras et al. 2022, eq. 8: |F - (x - c_skip y) / c_out|^2, so 0 for a perfect denoiser."""
    sigma = jnp.array([0.01, 1.0, 50.0])
    x, n, F = jax.random.normal(key(0), (3, 3, 5, 4, 2))
    y = x + beside(sigma, x) * n
    p = precondition_at(objective, sigma)
    error = diffusion.weighted_error(p, diffusion.precondition(lambda *_: F, p, y), x)
    target = (x - beside(p.c_skip, y) * y) / beside(p.c_out, y)
    np.testing.assert_allclose(error, np.square(F - target).mean((1, 2, 3)), rtol=1e-2)
    np.testing.assert_array_equal(diffusion.weighted_error(p, x, x), 0)


@few
@given(st.integers(0, 999), st.sampled_from([1, 7, 64]), st.floats(-2, 2), st.floats(0.1, 2))
def test_one_noise_level_falls_into_each_part_of_equal_probability(seed, count, mean, std):
    sigma = np.asarray(noise_levels(key(seed), count, mean, std))
    assert sigma.shape == (count,) and sigma.dtype == np.float32
    place = norm.cdf((np.log(sigma.astype(np.float64)) - mean) / std) * count
    assert (np.abs(place - np.arange(count) - 0.5) < 0.5 + 1e-3 * count).all()


def test_noise_levels_are_log_normal_in_each_part():
    many = jax.vmap(lambda k: noise_levels(k, 8, -1.2, 1.2))(jax.random.split(key(0), 4000))
    logs = np.log(np.asarray(many))
    np.testing.assert_allclose(logs.mean(), -1.2, atol=0.01)
    np.testing.assert_allclose(logs.std(), 1.2, rtol=0.01)
    quantiles = np.quantile(logs, [0.05, 0.3, 0.77, 0.99])
    np.testing.assert_allclose(quantiles, norm.ppf([0.05, 0.3, 0.77, 0.99], -1.2, 1.2), atol=0.05)
    assert np.isfinite(many).all() and (many > 0).all()
