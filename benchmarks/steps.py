"""The time of a training step, ours beside PyTorch's, and beside what this machine can do.

    python -m benchmarks.steps [--only gpt lstm] [--repeats 9] [--bf16]

Both sides have the same network with the same weights, the same loss and batch, and AdamW with
clipping; for random weights their outputs must be the same up to 1e-4, which is checked first. Ours
is the whole step of the training loop, with its guard and its average; PyTorch runs eagerly,
pictures in the faster of its two layouts. nanoGPT's GPT-2 stands beside our Transformer as another
model of the same size. The steps take turns, and the median of each is printed; compilation is left
out. The limit is a product of two matrices of 2,048 x 2,048 in float32, of which the share that
the products and convolutions of a step reach is printed.

On a GPU both work there, and a GPT of a size that fills one is added; `--bf16` computes in bfloat16
(PyTorch under autocast). For a machine that has other work: OMP_NUM_THREADS=1 taskset -c 0 gives
each side one core, where no thread waits for another.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.nn import functional as F

import benchmarks
from benchmarks import image_peers, peers
from benchmarks.decoding import race
from creagen_jax import cli, config, flops, models, parallel, update
from creagen_jax.config import Experiment, Optim, Train
from creagen_jax.data import text
from creagen_jax.functional.attention import causal_attention
from creagen_jax.models import diffusion, gan, gru, lstm, transformer
from creagen_jax.types import Batch, Params, Spec
from train import CONFIGS

TURN = 5  # steps in a turn
OURS = "creagen_jax"
VOCAB = 65  # characters of tinyshakespeare
LAYOUTS = {
    "PyTorch, NCHW": torch.contiguous_format,
    "PyTorch, channels last": torch.channels_last,
}
PICTURES = Spec(shape=(28, 28, 1), classes=10)
LARGE = "gpt, 768 wide, 12 layers, 16 x 1,024 tokens"  # nanoGPT's of 124 M parameters
GPTS = {  # width, depth, heads, batch, length
    "gpt, 128 wide, 12 x 64 tokens": (128, 4, 4, 12, 64),
    "gpt, 192 wide, 24 x 128 tokens": (192, 4, 6, 24, 128),
    LARGE: (768, 12, 12, 16, 1024),
}
RECURRENT = {"lstm": (lstm, peers.LSTM), "gru": (gru, peers.GRU)}
WIDTHS = {128: 64, 256: 64, 512: 32}  # of a recurrent layer, and the batch
LENGTH = 64  # tokens of a window of theirs
ATTENTION = {256: (8, 6, 32), 1024: (2, 6, 32)}  # T: batch, heads, head width


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table: who takes turns, and the FLOPs of one step."""

    name: str
    turns: dict[str, Callable[[], None]]
    flops: int


Dtype = Literal["float32", "bfloat16"]

ROWS: dict[str, Callable[[Dtype], Iterator[Row]]] = {
    "gpt": lambda dtype: gpts(dtype),
    "lstm": lambda dtype: recurrent("lstm", dtype),
    "gru": lambda dtype: recurrent("gru", dtype),
    "attention": lambda dtype: attentions(dtype),
    "gan": lambda dtype: pictures("mnist_gan", dtype),
    "diffusion": lambda dtype: pictures("mnist_diffusion", dtype),
}


# --- our side -----------------------------------------------------------------------------------


def ours(
    experiment: Experiment, spec: Spec, batch: Batch
) -> tuple[Params, Callable[[], None], int]:
    """The parameters of a family at the start, a turn of steps as in training, and FLOPs a step."""
    family, mesh, steps = models.get(config.family(experiment)), parallel.mesh(), 1000
    batch = jax.tree.map(jnp.asarray, batch)
    state = update.new_state(experiment, family, spec, steps=steps, mesh=mesh)
    params = jax.tree.map(np.array, state.params)  # a copy: the state is donated
    plain = update.make_step(experiment, family, spec, steps=steps)
    counted = flops.of(plain, state, batch)
    step = update.compiled(plain, state, family, mesh)

    def turn():
        nonlocal state
        for _ in range(TURN):
            state, metrics = step(state, batch)
        float(metrics["loss"])

    turn()  # compiles
    return params, turn, counted


def randomise(params: Params) -> Params:
    """Weights of which none is zero, as some are at the start of training."""
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: rng.normal(0, leaf[..., 0].size ** -0.5, leaf.shape).astype(np.float32), params
    )


def count(params: Params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def alike(mine: jax.Array, other: torch.Tensor) -> None:
    """Raises AssertionError unless they are the same up to 1e-4."""
    np.testing.assert_allclose(mine, other.detach().cpu().numpy(), rtol=1e-4, atol=1e-4)


def repeated(step: Callable[[], object], dtype: Dtype) -> Callable[[], None]:
    """A turn of a peer's steps, the first of which has been made."""
    device, low = torch.get_default_device().type, dtype == "bfloat16"

    def turn():
        with torch.autocast(device, torch.bfloat16, enabled=low):
            for _ in range(TURN):
                step()
        if device == "cuda":
            torch.cuda.synchronize()

    turn()
    return turn


# --- text ---------------------------------------------------------------------------------------


def tokens(size: int, length: int) -> Batch:
    """A batch of random tokens: which they are does not change the time."""
    x_BT = np.random.default_rng(0).integers(VOCAB, size=(size, length + 1), dtype=np.int32)
    return {"x": x_BT, "mask": np.ones((size, length), np.float32)}


def language(cfg: config.Model, size: int, dtype: Dtype = "float32") -> Experiment:
    model = dataclasses.replace(cfg, dtype=dtype)
    return Experiment(data=text.Config(), model=model, optim=Optim(), train=Train(batch=size))


def logits(cfg: config.Model, family, params: Params, batch: Batch) -> jax.Array:
    """Of the first 8 tokens of each window, one after the other."""

    def feed(carry, token_B):
        logits_BV, carry = family.next_logits(params, cfg, carry, token_B)
        return carry, logits_BV

    params = jax.tree.map(jnp.asarray, params)
    carry = family.init_carry(params, cfg, len(batch["x"]), None)
    return jax.jit(partial(jax.lax.scan, feed))(carry, batch["x"][:, :8].T)[1].swapaxes(0, 1)


def gpts(dtype: Dtype) -> Iterator[Row]:
    for name, (width, depth, heads, size, length) in GPTS.items():
        if name == LARGE and jax.default_backend() == "cpu":
            continue
        cfg = transformer.Config(width=width, depth=depth, heads=heads, context=length)
        batch, experiment = tokens(size, length), language(cfg, size, dtype)
        params, turn, counted = ours(experiment, Spec(vocab=VOCAB, length=length), batch)
        random = randomise(params)
        check = peers.Transformer(cfg, random)
        with peers.exact():
            theirs = check.head(check(peers.tensor(batch["x"][:, :8]).long()))
            alike(logits(cfg, transformer, random, batch), theirs)
        model = peers.Transformer(cfg, params)
        assert image_peers.count([model]) == count(params)
        same = peers.language_step(lambda x, m=model: m.head(m(x)), experiment.optim, model, batch)
        plain = peers.GPT(VOCAB, length, width=width, depth=depth, heads=heads)
        other = peers.language_step(plain, experiment.optim, plain, batch)
        turns = {
            OURS: turn,
            "PyTorch": repeated(same, dtype),
            "PyTorch, nanoGPT's GPT-2": repeated(other, dtype),
        }
        yield Row(name, turns, counted)


def recurrent(name: str, dtype: Dtype) -> Iterator[Row]:
    family, peer = RECURRENT[name]
    for width, size in WIDTHS.items():
        cfg = family.Config(width=width, depth=1)
        batch, experiment = tokens(size, LENGTH), language(cfg, size, dtype)
        params, turn, counted = ours(experiment, Spec(vocab=VOCAB, length=LENGTH), batch)
        random = randomise(params)
        with peers.exact():
            theirs = peer(cfg, random)(peers.tensor(batch["x"][:, :8]).long())[0]
            alike(logits(cfg, family, random, batch), theirs)
        model = peer(cfg, params)
        step = peers.language_step(lambda x, m=model: m(x)[0], experiment.optim, model, batch)
        turns = {OURS: turn, "PyTorch": repeated(step, dtype)}
        yield Row(f"{name}, {width} wide, {size} x {LENGTH} tokens", turns, counted)


def attentions(dtype: Dtype) -> Iterator[Row]:
    """Causal attention alone, forward and backward."""

    def loss(q, k, v):
        return jnp.square(causal_attention(q, k, v)).sum()

    for T, (B, N, K) in ATTENTION.items():
        rng = np.random.default_rng(0)
        qkv = [rng.normal(size=(B, T, N, K)).astype(np.float32) for _ in range(3)]
        gradient = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
        arrays = [jnp.asarray(a, dtype) for a in qkv]

        def mine(gradient=gradient, arrays=arrays):
            for _ in range(TURN):
                result = gradient(*arrays)
            jax.block_until_ready(result)

        def other(tensors):
            y = F.scaled_dot_product_attention(*tensors, is_causal=True)
            return torch.autograd.grad(y.square().sum(), tensors)

        tensors = [peers.tensor(a).transpose(1, 2).requires_grad_() for a in qkv]
        with peers.exact():
            for a, b in zip(gradient(*qkv)[1], other(tensors), strict=True):
                alike(a, b.transpose(1, 2))
        mine()  # compiles
        low = [a.detach().to(getattr(torch, dtype)).requires_grad_() for a in tensors]
        products = 6 * 2 * B * N * T * (T + 1) // 2 * K  # of those that may be seen, six in all
        turns = {OURS: mine, "PyTorch, fused": repeated(partial(other, low), dtype)}
        yield Row(f"attention, {T:,} positions", turns, products)


# --- pictures -----------------------------------------------------------------------------------


def noise(size: int, side: int = 28) -> Batch:
    """A batch of pictures: what is in them does not change the time."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (size, side, side, 1)).astype(np.float32)
    return {"x": x, "condition": rng.integers(PICTURES.classes, size=size, dtype=np.int32)}


def check_gan(cfg: gan.Config, params: Params, batch: Batch) -> None:
    """Raises AssertionError unless both generators and both discriminators are the same."""
    z_BZ = np.random.default_rng(2).normal(size=(len(batch["x"]), cfg.latent)).astype(np.float32)
    x, label_B = batch["x"], batch["condition"]
    generator, discriminator = image_peers.gan(cfg, params)
    real, labels = image_peers.tensors(batch)
    with torch.no_grad():
        fake, logit_B = generator(peers.tensor(z_BZ), labels), discriminator(real, labels)
    fake = fake.permute(0, 2, 3, 1)
    alike(jax.jit(gan.generate, static_argnums=1)(params, cfg, z_BZ, label_B), fake)
    alike(jax.jit(lambda params, x: gan._critic(params, cfg, label_B, None)(x))(params, x), logit_B)


def check_diffusion(cfg: diffusion.Config, params: Params, batch: Batch) -> None:
    """Raises AssertionError unless both denoisers are the same."""
    sigma_B = np.geomspace(0.01, 10, len(batch["x"]), dtype=np.float32)
    (model,) = image_peers.diffusion(cfg, params)
    y_BCHW, labels = image_peers.tensors(batch)
    with torch.no_grad():
        D = image_peers.denoise(model, y_BCHW, peers.tensor(sigma_B), labels)
    denoise = jax.jit(diffusion.denoise, static_argnums=1)
    mine = denoise(params, cfg, batch["x"], sigma_B, batch["condition"])
    alike(mine, D.permute(0, 2, 3, 1))


FAMILIES = {
    "gan": (check_gan, image_peers.gan, image_peers.gan_step),
    "diffusion": (check_diffusion, image_peers.diffusion, image_peers.diffusion_step),
}


def pictures(name: str, dtype: Dtype) -> Iterator[Row]:
    """The networks, losses and batches of a config of MNIST, with AdamW."""
    exact = config.load(name, CONFIGS).model
    experiment = config.replace(
        config.load(name, CONFIGS), optim={"name": "adamw"}, model={"dtype": dtype}
    )
    check, build, make_step = FAMILIES[config.family(experiment)]
    batch = noise(experiment.train.batch)
    params, turn, counted = ours(experiment, PICTURES, batch)
    with peers.exact():
        check(exact, randomise(params), batch)
    turns = {OURS: turn}
    for layout_name, layout in LAYOUTS.items():
        networks = [each.to(memory_format=layout) for each in build(experiment.model, params)]
        assert image_peers.count(networks) == count(params)
        step = make_step(experiment.model, experiment.optim, *networks, batch)
        turns[layout_name] = repeated(step, dtype)
    yield Row(f"{name}, {experiment.train.batch} pictures", turns, counted)


# --- the machine --------------------------------------------------------------------------------


def product_limit(dtype: Dtype) -> float:
    """FLOPs a second of one large product of matrices, the best of several."""
    size = 2048 if jax.default_backend() == "cpu" else 8192
    A = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(jnp.matmul)
    product(A, A).block_until_ready()
    return 2 * size**3 / best(lambda: product(A, A).block_until_ready())


def copy_limit(megabytes: int = 256) -> float:
    """Bytes a second read and written where JAX works, the best of several."""
    source = jnp.ones(megabytes * 2**18)
    negative = jax.jit(jnp.negative)
    negative(source).block_until_ready()
    return 2 * source.nbytes / best(lambda: negative(source).block_until_ready())


def best(work: Callable[[], object], repeats: int = 7) -> float:
    def seconds() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return min(seconds() for _ in range(repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    args = parser.parse_args()
    cli.keep_memory()  # as every command does
    peers.share_device()
    dtype: Dtype = "bfloat16" if args.bf16 else "float32"
    limit = product_limit(dtype)
    print(
        f"{benchmarks.machine('jax', 'torch')}; PyTorch threads {torch.get_num_threads()}; "
        f"{dtype}; median of {args.repeats} turns of {TURN} steps; "
        f"limit: {limit / 1e9:,.0f} GFLOP/s, copies {copy_limit() / 1e9:,.0f} GB/s"
    )
    benchmarks.header("step", "by", "ms", "ours / theirs", "of the limit")
    for name in args.only:
        for row in ROWS[name](dtype):
            medians = race(row.turns, args.repeats)
            for who, seconds in medians.items():
                ratio = "" if who == OURS else f"{medians[OURS] / seconds:.2f}x"
                # Another model has other FLOPs; that of nanoGPT nearly the same.
                share = f"{row.flops * TURN / seconds / limit:.0%}"
                benchmarks.row(row.name, who, f"{seconds / TURN * 1e3:.2f}", ratio, share)


if __name__ == "__main__":
    main()
