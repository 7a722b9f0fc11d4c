"""What is kept for this user between one command and the next."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

import jax

PROGRAMS = 2**30  # bytes of compiled programs; those not used for longest go first


def folder() -> Path:
    """$XDG_CACHE_HOME/creagen_jax or ~/.cache/creagen_jax; it need not be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "creagen_jax"


def keep_programs() -> None:
    """Compiled programs are kept, so that a command that was given before starts in less time.

    JAX's own settings ($JAX_COMPILATION_CACHE_DIR, $JAX_ENABLE_COMPILATION_CACHE) go before. Where
    the disk refuses, nothing is kept.
    """
    if not jax.config.jax_compilation_cache_dir:
        place = folder() / "programs" / _processor()
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        if not os.access(place, os.W_OK):
            return
        jax.config.update("jax_compilation_cache_dir", str(place))
        jax.config.update("jax_compilation_cache_max_size", PROGRAMS)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _processor() -> str:
    """A name for this machine's kind of processor: JAX's keys tell kinds of CPU not apart, and a
    program for one does not run on every other."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    features = [line for line in lines if line.startswith(("flags", "Features", "model name"))]
    kind = "\n".join([platform.machine(), platform.processor(), *sorted(set(features))])
    return hashlib.sha256(kind.encode()).hexdigest()[:12]
