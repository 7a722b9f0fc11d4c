"""What holds in all tests."""

import os

import jaxtyping

# Tests compile far more than they compute: the compiler need not try hard.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

# Shapes and types in signatures are checked at every call of modules imported from now on.
jaxtyping.install_import_hook(
    ["creagen_jax.functional", "creagen_jax.sampling"], "beartype.beartype"
)
