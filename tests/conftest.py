"""What holds in all tests."""

import os

import jaxtyping
import pytest

# Tests compile far more than they compute: the compiler need not try hard.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

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
