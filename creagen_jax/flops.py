"""The arithmetic of a step, and the share of what a device could do that it reaches.

Counted are matrix products and convolutions, a multiplication and an addition for each of their
terms, as they stand in the program: what a compiler saves or adds does not count. Divided by the
time and by the peak of the devices, this is the model FLOPs utilisation (Chowdhery et al. 2022,
appendix B), if nothing is computed twice for want of memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

# FLOPs a second of dense products in bfloat16, by the name that JAX gives a device; from the data
# sheets of their makers. One of JAX's devices is a chip, but half a chip for "TPU v2" and "TPU v3".
PEAKS = {
    "NVIDIA H200": 989e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
    "Tesla V100-SXM2-16GB": 125e12,
    "Tesla T4": 65e12,
    "TPU v2": 22.5e12,
    "TPU v3": 61.5e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
}


def peak(devices: list[jax.Device]) -> float:
    """FLOPs a second of all of them; 0 if that is not known, as of a CPU."""
    return sum(PEAKS.get(device.device_kind, 0.0) for device in devices)


def of(function: Callable, *arguments: Any) -> int:
    """FLOPs of one call, for arguments that are arrays or stand for such by shape and type.

    Of a `cond` the dearest branch counts, of a `while` one round: how many there are is not known.
    """
    return _of_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def _of_jaxpr(jaxpr: Jaxpr) -> int:
    return sum(map(_of_equation, jaxpr.eqns))


def _of_equation(equation: JaxprEqn) -> int:
    name, given = equation.primitive.name, equation.params
    out = equation.outvars[0].aval if equation.outvars else None
    if name == "dot_general":
        (contracted, _), _ = given["dimension_numbers"]
        terms = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        return 2 * out.size * terms
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        terms = math.prod(kernel) // kernel[given["dimension_numbers"].rhs_spec[0]]
        return 2 * out.size * terms
    inner = [_of_jaxpr(jaxpr) for jaxpr in _inside(given)]
    if name == "cond":
        return max(inner)
    return sum(inner) * given.get("length", 1) if name == "scan" else sum(inner)


def _inside(given: dict[str, Any]) -> list[Jaxpr]:
    """The programs that an equation holds."""
    values = jax.tree.leaves(list(given.values()))  # those of a `cond` are a tuple
    values = [value.jaxpr if isinstance(value, ClosedJaxpr) else value for value in values]
    return [value for value in values if isinstance(value, Jaxpr)]
