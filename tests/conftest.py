"""What holds in all tests."""

import mmap
import os
import tempfile
from pathlib import Path

import jaxlib
import jaxtyping
import pytest

# Tests compile far more than they compute: the compiler need not try hard.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Its older way to emit code for a CPU takes two thirds of the time. XLA ends a process that has
# flags which it does not know.
OLDER = "xla_cpu_use_fusion_emitters"


def knows(flag: str) -> bool:
    library = Path(jaxlib.__file__).parent / "libjax_common.so"
    if not library.exists():
        return False
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(flag.encode()) >= 0


if OLDER not in os.environ.get("XLA_FLAGS", "") and knows(OLDER):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --{OLDER}=false"

# And the same program once, in whatever process: those of pytest-xdist and of the commands that
# tests start find this place in their environment.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _cache = tempfile.TemporaryDirectory()
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

# Shapes and types in signatures are checked at every call of modules imported from now on.
jaxtyping.install_import_hook(
    ["creagen_jax.functional", "creagen_jax.sampling"], "beartype.beartype"
)


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Compiled programs go with the file that needed them: some thousands of them take all the
    memory maps that Linux allows a process, and then it crashes."""
    yield
    import jax  # not before its flags are set

    jax.clear_caches()


@pytest.fixture
def optimised():
    """For a test that computes more than it compiles."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)
