"""The rules of the house that a program can check."""

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import creagen_jax
from creagen_jax import models
from creagen_jax.models import names

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "creagen_jax").rglob("*.py"))
DRAWS = {
    "autoregressive": {"init_carry", "next_logits"},
    "diffusion": {"denoise"},
    "latent": {"generate"},
}
CONTRACT = {"init", "make_step", "eval_metrics"}.union(*DRAWS.values())
MODULES = [m.name for m in pkgutil.walk_packages(creagen_jax.__path__, "creagen_jax.")]


def imported(path):
    """The modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_run_downward_only():
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_family_is_in_the_contract_of_independence():
    text = (ROOT / "pyproject.toml").read_text()
    assert all(f'"creagen_jax.models.{name}"' in text for name in names())


def test_linen_stays_in_models():
    for path in SOURCES:
        if path.parent.name != "models":
            assert not [name for name in imported(path) if name.startswith("flax.linen")], path


def test_tensorflow_and_torch_are_not_needed():
    for path in SOURCES:
        tops = {name.partition(".")[0] for name in imported(path)}
        assert not tops & {"tensorflow", "torch"}, path


@pytest.mark.parametrize("name", ["train.py", "sample.py", "evaluate.py"])
def test_commands_are_short(name):
    assert len((ROOT / name).read_text().splitlines()) <= 60


@pytest.mark.parametrize("name", MODULES)
def test_what_is_public_is_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__, name
    contract = CONTRACT if name.startswith("creagen_jax.models.") else set()  # documented once
    for key, value in vars(module).items():
        own = getattr(value, "__module__", None) == name and not key.startswith("_")
        if own and key not in contract and (inspect.isfunction(value) or inspect.isclass(value)):
            assert inspect.getdoc(value), f"{name}.{key}"


def test_families_keep_the_contract():
    for name in names():
        family = models.get(name)
        for kind, functions in DRAWS.items():
            assert (kind == family.KIND) == (functions <= set(vars(family)))
        assert {"HOST", "Config", "init", "make_step", "eval_metrics"} <= set(vars(family))
        assert family.KIND in DRAWS
