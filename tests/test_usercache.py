"""What stays between commands, and between the steps of one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from creagen_jax import usercache

ADD = """
from creagen_jax import usercache
usercache.keep_programs()
import jax
print(jax.jit(lambda x: x * 3 + 1)(2.0), jax.config.jax_compilation_cache_dir)
"""
FAULTS = """
import resource, sys
import numpy as np
from creagen_jax import cli
if sys.argv[1:]:
    cli.keep_memory()
def touch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**26, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
touch()
print(touch())
"""


def run(code: str, *arguments: str, **environment: str) -> str:
    env = {key: value for key, value in os.environ.items() if not key.startswith("JAX_")}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env={**env, **environment}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def programs(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*-cache")}


def test_a_compiled_program_is_found_again(tmp_path):
    place = {"XDG_CACHE_HOME": str(tmp_path)}
    first = run(ADD, **place)
    assert first.startswith("7.0") and str(tmp_path / "creagen_jax" / "programs") in first
    kept = programs(tmp_path)
    assert kept
    assert run(ADD, **place) == first and programs(tmp_path) == kept


def test_where_the_disk_refuses_nothing_is_kept(tmp_path):
    (tmp_path / "file").touch()
    assert run(ADD, XDG_CACHE_HOME=str(tmp_path / "file")).split() == ["7.0", "None"]


def test_the_settings_of_jax_go_before(tmp_path):
    out = run(
        ADD, XDG_CACHE_HOME=str(tmp_path / "x"), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "y")
    )
    assert out.split() == ["7.0", str(tmp_path / "y")] and programs(tmp_path / "y")
    assert not (tmp_path / "x").exists()


def test_the_folder_is_that_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert usercache.folder() == tmp_path / "creagen_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert usercache.folder() == Path.home() / ".cache" / "creagen_jax"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone is asked")
def test_freed_memory_stays_with_the_process():
    assert int(run(FAULTS)) > 2**26 / 4096 / 600  # pages of 4 KiB, or of 2 MiB
    assert int(run(FAULTS, "keep", JAX_PLATFORMS="cpu")) < 10


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone is asked")
def test_it_does_not_where_there_may_be_an_accelerator(tmp_path):
    """One arena for all threads holds up the compilers of a GPU."""
    plugin = tmp_path / "plugin-1.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Name: plugin\nVersion: 1\n")
    (plugin / "entry_points.txt").write_text("[jax_plugins]\nplugin = plugin\n")
    for place in ({"JAX_PLATFORMS": "cuda,cpu"}, {"PYTHONPATH": str(tmp_path)}):
        assert int(run(FAULTS, "keep", **place)) > 2**26 / 4096 / 600


def test_writing_for_tensorboard_does_not_import_pytorch(tmp_path):
    (tmp_path / "torch.py").write_text("print('PyTorch is imported')")
    code = "import creagen_jax.logging; print('before'); import torch"
    out = run(code, PYTHONPATH=str(tmp_path))
    assert out.splitlines() == ["before", "PyTorch is imported"]
