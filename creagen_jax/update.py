"""One update: the family's step with its random key, its average and its guard, compiled."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp

from creagen_jax import optim, parallel
from creagen_jax.config import Experiment
from creagen_jax.types import Spec, TrainState


def named_key(seed: int, name: str) -> jax.Array:
    """The key of one stream of random numbers; a new name changes no other stream."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def new_state(
    experiment: Experiment,
    family: ModuleType,
    spec: Spec,
    *,
    steps: int,
    mesh: jax.sharding.Mesh,
) -> TrainState:
    """The state before the first step, placed on the devices."""

    def init(rng):
        tx = optim.make(experiment.optim, steps)
        state = family.init(rng, experiment.model, spec, tx)
        # A copy: donation refuses the same buffer twice.
        ema = jax.tree.map(jnp.copy, state.params) if experiment.optim.ema else None
        # Arrays, not Python numbers: those would compile the step twice.
        step, skipped, in_row = (jnp.zeros([], jnp.int32) for _ in range(3))
        return state.replace(ema=ema, step=step, skipped=skipped, skipped_in_row=in_row)

    rng = named_key(experiment.seed, "init")
    if family.HOST:
        return init(rng)
    placement = experiment.train.placement
    shardings = parallel.state_shardings(mesh, jax.eval_shape(init, rng), placement)
    return jax.jit(init, out_shardings=shardings)(rng)


def make_step(
    experiment: Experiment, family: ModuleType, spec: Spec, *, steps: int
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, Any]]]:
    """step(state, batch) -> (state, metrics), pure; the random key follows from seed and step."""
    tx = optim.make(experiment.optim, steps)
    family_step = family.make_step(experiment.model, spec, tx)

    def step(state: TrainState, batch):
        rng = jax.random.fold_in(named_key(experiment.seed, "train"), state.step)
        new, metrics = family_step(state, batch, rng)
        if state.ema is not None:
            decay = experiment.optim.ema
            new = new.replace(ema=optim.average(state.ema, new.params, decay, state.step))
        sound = _is_finite((new, metrics["loss"]))
        if not family.HOST:
            new = jax.tree.map(partial(jnp.where, sound), new, state)
        elif not sound:
            new = state
        skipped = 1 - jnp.asarray(sound, jnp.int32)
        new = new.replace(
            step=state.step + 1,
            skipped=state.skipped + skipped,
            skipped_in_row=(state.skipped_in_row + 1) * skipped,
        )
        return new, {**metrics, "skipped": new.skipped, "skipped_in_row": new.skipped_in_row}

    return step


def _is_finite(tree: Any) -> jax.Array:
    """Whether every number in a pytree is finite."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    floats = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]).all()


def compiled(step: Callable, state: TrainState, family: ModuleType, mesh: jax.sharding.Mesh):
    """The step as the loop calls it, with a NumPy batch: compiled, the state donated and kept
    where it is, the batch split over the devices. A host family's step is left as it is."""
    if family.HOST:
        return step
    step = jitted(step, jax.tree.map(lambda leaf: leaf.sharding, state), mesh)
    return lambda state, batch: step(state, parallel.place(mesh, batch))


def jitted(step: Callable, shardings: Any, mesh: jax.sharding.Mesh):
    """The step compiled, for a state that lies by `shardings`, one a leaf, and stays there."""
    out = (shardings, parallel.replicated(mesh))
    return jax.jit(step, donate_argnums=0, out_shardings=out)
