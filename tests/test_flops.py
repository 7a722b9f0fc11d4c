"""FLOPs are those that a pencil finds."""

import jax
import jax.numpy as jnp
import pytest

from creagen_jax import flops
from creagen_jax.functional.convolution import convolve


def zeros(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def test_a_product_a_batch_of_them_and_a_convolution():
    assert flops.of(jnp.matmul, zeros(3, 5), zeros(5, 7)) == 2 * 3 * 5 * 7
    assert flops.of(jnp.matmul, zeros(2, 3, 5), zeros(2, 5, 7)) == 2 * 2 * 3 * 5 * 7
    picture, kernel = zeros(2, 8, 6, 3), zeros(3, 3, 3, 4)
    assert flops.of(convolve, picture, kernel) == 2 * (2 * 8 * 6) * (3 * 3 * 3) * 4


def test_a_backward_pass_is_two_forward_ones():
    def loss(x, W):
        return jnp.square(x @ W).sum()

    forward = 2 * 3 * 5 * 7
    assert flops.of(loss, zeros(3, 5), zeros(5, 7)) == forward
    assert flops.of(jax.grad(loss, (0, 1)), zeros(3, 5), zeros(5, 7)) == 3 * forward


def test_a_scan_counts_each_round_and_a_cond_its_dearest_branch():
    W = zeros(5, 5)

    def scanned(x, W):
        return jax.lax.scan(lambda x, _: (x @ W, None), x, length=11)[0]

    assert flops.of(scanned, zeros(3, 5), W) == 11 * 2 * 3 * 5 * 5

    def either(x, W):
        return jax.lax.cond(x.sum() > 0, lambda: x @ W @ W, lambda: x @ W)

    assert flops.of(either, zeros(3, 5), W) == 2 * 2 * 3 * 5 * 5


def test_functions_in_functions_count():
    @jax.jit
    @jax.checkpoint
    def inner(x, W):
        return jnp.tanh(x @ W)

    assert flops.of(lambda x, W: inner(x, W) + 1, zeros(3, 5), zeros(5, 7)) == 2 * 3 * 5 * 7


def test_the_peak_of_what_is_not_known_is_zero():
    assert flops.peak(jax.devices("cpu")) == 0


@pytest.mark.parametrize("kind", flops.PEAKS)
def test_the_peak_of_several_devices_is_their_sum(kind):
    class Device:
        device_kind = kind

    assert flops.peak([Device(), Device()]) == 2 * flops.PEAKS[kind]
