"""Creative generation in JAX: prepare, build, train, sample, evaluate."""

__version__ = "0.1.0"
