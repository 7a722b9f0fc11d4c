"""Why steps on a CPU were slow: each cause of RESULTS.md alone, before and after its remedy.

    taskset -c 1 python -m benchmarks.causes

Products: the gradient of W in x W, x with three axes or as one of two. Convolution: the gradient of
a kernel, by XLA's convolution and by ours. Recurrence: h U in a scan, as it stands and with the
batch last. Attention: forward and backward under a causal mask, whole and as ours. Muon: the
updates of a block's matrices, by optax and by ours. Memory: a step of an LSTM, 256 wide, as glibc
has it and with `cli.keep_memory`, each in a process of its own, with its page faults.
"""

import resource
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib

import benchmarks
from benchmarks import steps
from creagen_jax import cli
from creagen_jax.functional import convolution
from creagen_jax.functional.attention import causal_attention, causal_mask, dot_product_attention
from creagen_jax.functional.layers import linear
from creagen_jax.models import lstm
from creagen_jax.muon import scale_by_muon
from creagen_jax.types import Spec

TIME = 64  # steps of the scan


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, shape[-1] ** -0.5, shape).astype(np.float32)


def milliseconds(function, *arguments) -> str:
    """The best of several calls of the compiled function."""
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*arguments))
    seconds = steps.best(lambda: jax.block_until_ready(compiled(*arguments)), repeats=15)
    return f"{seconds * 1e3:.1f} ms"


def gradient_of(product):
    return lambda x, W, dy: jax.vjp(lambda W: product(x, W), W)[1](dy)[0]


def scanned(h_BK, U_KG):
    def body(h_BK, _):
        return jnp.tanh(h_BK @ U_KG)[:, : h_BK.shape[1]], None

    return jax.lax.scan(body, h_BK, length=TIME)[0]


def scanned_turned(h_KB, U_KG):
    U_GK = U_KG.T

    def body(h_KB, _):
        return jnp.tanh(U_GK @ h_KB)[: h_KB.shape[0]], None

    return jax.lax.scan(body, h_KB, length=TIME)[0]


def whole(q, k, v):
    return dot_product_attention(q, k, v, causal_mask(q.shape[1]))


def gradients(attend):
    return jax.grad(lambda *qkv: jnp.square(attend(*qkv)).sum(), (0, 1, 2))


def optax_muon() -> optax.GradientTransformation:
    numbers = optax.contrib.MuonDimensionNumbers()
    return optax.contrib.scale_by_muon(weight_dimension_numbers=lambda x: [numbers] * len(x))


def updates(tx: optax.GradientTransformation, matrices: list[np.ndarray]):
    return lambda x, state: tx.update(x, state)[0], matrices, tx.init(matrices)


def memory(keep: bool) -> None:
    """Prints the time of a step, and its page faults."""
    if keep:
        cli.keep_memory()
    spec, batch = Spec(vocab=steps.VOCAB, length=64), steps.tokens(64, 64)
    turn = steps.ours(steps.language(lstm.Config(width=256, depth=1), 64), spec, batch)[1]
    turn()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    seconds = steps.best(turn, repeats=5) / steps.TURN
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    print(f"{seconds * 1e3:.0f} ms, {faults / 5 / steps.TURN:,.0f} page faults")


def in_a_process(what: str) -> str:
    command = [sys.executable, "-m", "benchmarks.causes", what]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    if sys.argv[1:]:
        memory(keep=sys.argv[1] == "kept")
        return
    print(benchmarks.machine("jax"))
    benchmarks.header("what", "before", "after")
    freed, kept = in_a_process("freed"), in_a_process("kept")
    benchmarks.row("memory: a step of an LSTM", freed, kept)
    cli.keep_memory()
    given = normal(24, 128, 192), normal(192, 768), normal(24, 128, 768)
    before, after = (milliseconds(gradient_of(f), *given) for f in (jnp.matmul, linear))
    benchmarks.row("products: gradient of W, 192 x 768, 3,072 rows", before, after)
    given = normal(64, 14, 14, 192), normal(3, 3, 192, 64), normal(64, 14, 14, 64)
    convolutions = convolution._plain, convolution.convolve
    before, after = (milliseconds(gradient_of(f), *given) for f in convolutions)
    benchmarks.row("convolution: gradient of W, 3 x 3 x 192 x 64, 64 x 14 x 14", before, after)
    h_BK, U_KG = normal(32, 512), normal(512, 2048)
    before, after = milliseconds(scanned, h_BK, U_KG), milliseconds(scanned_turned, h_BK.T, U_KG)
    benchmarks.row("recurrence: h U, 32 x 512 x 2,048, 64 times", before, after)
    for B, T in ((24, 128), (2, 1024)):
        qkv = [normal(B, T, 6, 32)] * 3
        before, after = (milliseconds(gradients(f), *qkv) for f in (whole, causal_attention))
        benchmarks.row(f"attention: {T:,} positions, whole and as ours", before, after)
    matrices = [normal(192, 576), normal(192, 192), normal(192, 768), normal(768, 192)]
    both = optax_muon(), scale_by_muon(beta=0.95)
    before, after = (milliseconds(*updates(tx, matrices)) for tx in both)
    benchmarks.row("Muon: updates of a block 192 wide", before, after)


if __name__ == "__main__":
    main()
