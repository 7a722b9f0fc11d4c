"""What a step costs on many chips, read from the program that XLA makes for them.

    python -m benchmarks.scaling [--chips 8 256] [--derived 4096] [--only gpt-1b]

Nothing is run: the training step is compiled for as many CPU devices as there are chips, from
shapes alone, and its collectives are added up. A chip's share of the FLOPs is that of the program
before it is split. The bytes that a collective sends and receives at one chip are those of a ring
of n chips: (n - 1) / n of what it makes or takes in, and twice that for an all-reduce. Each row is
a process of its own. A derived row has the collectives of the largest program, for more chips. Two
machines tell what that takes at their peaks (`MACHINES`). SCALING.md keeps the table.
"""

import argparse
import collections
import dataclasses
import math
import os
import re
import subprocess
import sys

import benchmarks


def nodes(chips: int, size: float) -> float:
    """Seconds for bytes at each of `chips` H100 in nodes of 8: NVLink, 450 GB/s in each direction,
    and between nodes 400 Gb/s of InfiniBand a GPU, where an eighth of the bytes goes."""
    return size / 450e9 + (size / 8 / 50e9 if chips > 8 else 0.0)


def torus(chips: int, size: float) -> float:
    """The same of TPU v5p: six links, 600 GB/s in each direction together."""
    return size / 600e9


# FLOPs a second of dense products in bfloat16, and what a collective takes; from data sheets.
MACHINES = {"H100": (989e12, nodes), "TPU v5p": (459e12, torus)}

UNOPTIMISED = "--xla_backend_optimization_level=0"  # of the machine code, which never runs
WIDTHS = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "pred": 1, "f16": 2, "u8": 1, "s64": 8, "u64": 8}
SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
COMMENT = re.compile(r"/\*.*?\*/")
COLLECTIVE = re.compile(
    r" = (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)
GROUP = re.compile(r"replica_groups=(?:\{\{([\d,]+)\}|\[(\d+),(\d+)\])")


def jobs():
    """Name: (experiment, spec, examples a chip)."""
    from creagen_jax.config import Experiment, Optim, Train
    from creagen_jax.data import image, text
    from creagen_jax.models import diffusion, transformer
    from creagen_jax.types import Spec

    gpt = transformer.Config(width=2048, depth=20, heads=16, context=2048, dtype="bfloat16")
    unet = diffusion.Config(
        width=192, levels=(1, 2, 3, 4), blocks=2, heads=12, patch=4, dtype="bfloat16"
    )
    optim = Optim(ema=0.999)
    return {
        "gpt-1b": (
            Experiment(text.Config(), gpt, optim, Train()), Spec(vocab=32_768, length=2048), 4
        ),
        "unet-256": (
            Experiment(image.Config(), unet, optim, Train()),
            Spec(shape=(256, 256, 3), classes=1000),
            16,
        ),
    }  # fmt: skip


@dataclasses.dataclass
class Traffic:
    """Of one kind of collective, at one chip."""

    count: int = 0
    bytes: float = 0.0


def traffic(program: str, chips: int) -> dict[str, Traffic]:
    """What the collectives of a compiled program, as text, send through a chip."""
    found = collections.defaultdict(Traffic)
    for line in COMMENT.sub("", program).splitlines():
        match = COLLECTIVE.search(line)
        if not match:
            continue
        made, kind = match.groups()
        size = sum(
            WIDTHS[dtype] * math.prod(int(n) for n in shape.split(",") if n)
            for dtype, shape in SHAPE.findall(made)
        )
        group = GROUP.search(line)
        n = chips
        if group:
            n = len(group[1].split(",")) if group[1] else int(group[3])
        if kind == "reduce-scatter":
            size *= n
        share = (n - 1) / n * (2 if kind == "all-reduce" else 1)
        found[kind].count += 1
        found[kind].bytes += size * share
    return found


def measure(name: str, placement: str, chips: int, derived: int) -> None:
    """Prints the row of one job, in a process that has as many devices as chips; and that of more
    chips, unless it is 0, whose collectives grow as those of a ring do."""
    import jax

    from creagen_jax import config, flops, models, parallel, update

    experiment, spec, each = jobs()[name]
    experiment = config.replace(experiment, train={"batch": each * chips, "placement": placement})
    family, mesh = models.get(config.family(experiment)), parallel.mesh()
    assert mesh.size == chips
    make = lambda: update.new_state(experiment, family, spec, steps=1000, mesh=mesh)  # noqa: E731
    state = jax.eval_shape(make)
    shardings = parallel.state_shardings(mesh, state, placement)
    state = jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
        state,
        shardings,
    )
    batch = shapes(spec, each * chips, parallel.rows(mesh))
    step = update.make_step(experiment, family, spec, steps=1000)
    program = update.jitted(step, shardings, mesh).lower(state, batch).compile()
    found = traffic(program.as_text(), chips)
    memory = program.memory_analysis()
    count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    work = flops.of(step, state, batch) / chips

    def row(n: int, about: str, *sizes: str) -> None:
        grown = (n - 1) / n * chips / (chips - 1)
        size = sum(each.bytes for each in found.values()) * grown
        kinds = (
            f"{kind} {each.count}: {each.bytes * grown / 1e9:.2f} GB"
            for kind, each in sorted(found.items())
        )
        times = (
            f"{work / peak * 1e3:.0f} + {takes(n, size) * 1e3:.0f}"
            for peak, takes in MACHINES.values()
        )
        parameters, each = f"{count / 1e6:,.0f} M", f"{work / 1e12:.1f}"
        benchmarks.row(name, parameters, about, placement, each, *sizes, "; ".join(kinds), *times)

    state_and_batch, room = memory.argument_size_in_bytes, memory.temp_size_in_bytes
    row(chips, f"{chips:,}", f"{state_and_batch / 1e9:.2f}", f"{room / 1e9:.1f}")
    if derived:
        row(derived, f"{derived:,} (derived)", "", "")


def shapes(spec, size: int, where) -> dict:
    """A batch by shape and type."""
    import jax
    import jax.numpy as jnp

    def array(dtype, *shape):
        return jax.ShapeDtypeStruct((size, *shape), dtype, sharding=where)

    if spec.vocab:
        return {"x": array(jnp.int32, spec.length + 1), "mask": array(jnp.float32, spec.length)}
    return {"x": array(jnp.float32, *spec.shape), "condition": array(jnp.int32)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chips", type=int, nargs="+", default=[8, 256])
    parser.add_argument("--derived", type=int, default=0, help="chips of rows without a program")
    parser.add_argument("--only", nargs="+", default=["gpt-1b", "unet-256"])
    parser.add_argument("--placements", nargs="+", default=["replicated", "fsdp"])
    parser.add_argument("--one", action="store_true", help="this process is that of one row")
    args = parser.parse_args()
    if min(args.chips) < 2 or args.derived < 0:
        parser.error("--chips must be 2 or more, --derived 0 or more")
    if args.one:
        measure(args.only[0], args.placements[0], args.chips[0], args.derived)
        return
    print(benchmarks.machine("jax"))
    benchmarks.header(
        "model",
        "parameters",
        "chips",
        "placement",
        "TFLOP a chip",
        "state and batch a chip, GB",
        "room for the step a chip, GB",
        "collectives a chip",
        *(f"{name}: products + collectives, ms" for name in MACHINES),
    )
    for name in args.only:
        for placement in args.placements:
            for chips in args.chips:
                flags = f"--xla_force_host_platform_device_count={chips} {UNOPTIMISED}"
                which = ["--only", name, "--placements", placement, "--chips", str(chips)]
                if chips == max(args.chips):
                    which += ["--derived", str(args.derived)]
                subprocess.run(
                    [sys.executable, "-m", "benchmarks.scaling", "--one", *which],
                    env={**os.environ, "XLA_FLAGS": flags},
                    check=True,
                )


if __name__ == "__main__":
    main()
