"""Measurements. Each is one command that prints its table as Markdown; RESULTS.md keeps them."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax

from creagen_jax import logging


def machine(*libraries: str) -> str:
    """What a table was measured on and under which load."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    cpu = models[0] if models else platform.machine()
    python = f"Python {platform.python_version()}"
    versions = ", ".join([python, *(f"{name} {version(name)}" for name in libraries)])
    device = jax.devices()[0]
    where = "" if device.platform == "cpu" else f"{device.device_kind}; "
    cores = f"{os.cpu_count()} cores of {cpu}"
    return f"{where}{cores}; {versions}; load before {os.getloadavg()[0]:.1f}"


def trained(run: Path) -> tuple[str, str]:
    """The steps of a run, and the minutes that they took, as cells of a table."""
    last = [line for line in logging.read(run) if line["split"] == "train"][-1]
    return f"{last['step']:,}", f"{last['seconds'] / 60:.1f}"


def header(*names: str) -> None:
    """The first two lines of a table."""
    print()
    row(*names)
    row(*["---"] * len(names))


def row(*cells: object) -> None:
    """A line of a table, printed at once, so that a long measurement shows how far it is."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
