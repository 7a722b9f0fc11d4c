"""Where arrays live: one mesh over all devices; families know nothing of it.

Batches are split over the devices. Parameters are copied to each, or sharded (FSDP), and XLA
inserts the collectives either way.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from creagen_jax.types import UserError

AXIS = "data"
SMALLEST_SHARDED = 4096  # elements; smaller leaves are copied: gathering them would cost more


def join(how: str) -> None:
    """Join the other processes of a run, before any device is touched.

    "auto": found in the environment (Slurm, Open MPI, Kubernetes, a TPU pod); or, by hand,
    "ADDRESS:PORT,PROCESSES,INDEX"; or empty: this process is alone. Raises UserError.
    """
    try:
        if how == "auto":
            jax.distributed.initialize()
        elif how:
            address, count, index = how.split(",")
            jax.distributed.initialize(address, int(count), int(index))
    except (ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"--distributed {how}: {reason}; choose auto, or ADDRESS:PORT,PROCESSES,INDEX"
        ) from None


def largest(number: int) -> int:
    """The largest of the numbers that the processes call this with; each must call it."""
    if jax.process_count() == 1:
        return number
    return int(np.max(multihost_utils.process_allgather(np.array(number))))


def mesh() -> Mesh:
    """One axis over all devices of all processes."""
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))


def check(mesh: Mesh, batch: int) -> None:
    """Raises UserError if a batch cannot be split evenly."""
    if batch % mesh.size:
        raise UserError(
            f"a batch of {batch} does not divide over {mesh.size} devices; "
            f"choose --train.batch as a multiple of {mesh.size}"
        )


def state_shardings(mesh: Mesh, state: Any, placement: str) -> Any:
    """A sharding for each leaf. "replicated": copies. "fsdp": the longest axis that divides."""

    def rule(leaf) -> NamedSharding:
        spec = [None] * leaf.ndim
        if placement == "fsdp" and leaf.size >= SMALLEST_SHARDED:
            fitting = [axis for axis in range(leaf.ndim) if leaf.shape[axis] % mesh.size == 0]
            if fitting:
                spec[max(fitting, key=lambda axis: leaf.shape[axis])] = AXIS
        return NamedSharding(mesh, PartitionSpec(*spec))

    return jax.tree.map(rule, state)


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def rows(mesh: Mesh) -> NamedSharding:
    """Split over the devices along the first axis."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def place(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """A batch on the devices, split along its first axis.

    Every process makes the same global batch and hands over the rows of its own devices.
    """
    where = rows(mesh)
    if jax.process_count() == 1:
        return jax.device_put(batch, where)
    return {
        key: jax.make_array_from_callback(array.shape, where, array.__getitem__)
        for key, array in batch.items()
    }


def sync(name: str) -> None:
    """Wait until every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
