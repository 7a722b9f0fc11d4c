import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from helpers import arrays, assert_same

from creagen_jax import checkpoint
from creagen_jax.types import TrainState, UserError


def state(seed: float = 0.0, ema: bool = False) -> TrainState:
    """Arrays of JAX and of NumPy, of many types and shapes."""
    params = {"w": jnp.arange(6.0).reshape(2, 3) + seed, "half": jnp.ones(4, jnp.bfloat16)}
    return TrainState(
        params=params,
        opt_state=(np.arange(5, dtype=np.int64) + 2**40, {"counts": np.ones((1, 3), np.int32)}),
        carry=None,
        ema=jax.tree.map(lambda p: p + 1, params) if ema else None,
        step=jnp.asarray(7, jnp.int32),
        skipped=jnp.zeros([], jnp.int32),
        skipped_in_row=jnp.zeros([], jnp.int32),
    )


def save(folder: Path, step: int, keep=(), seed: float | None = None) -> None:
    meta = {"step": step, "losses": [0.1, 1 / 3]}
    checkpoint.save(folder, state(step if seed is None else seed), meta, set(keep))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the checkpoints 1, 2 and 3."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for step in (1, 2, 3):
        save(folder, step, keep={1, 2})
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def newest(folder: Path):
    """The step of the newest sound checkpoint, and what was reported on the way to it."""
    reports = []

    def read(path):
        checkpoint.verify(path)
        return int(path.name)

    return checkpoint.newest(folder, read, reports.append), reports


# --- writing and reading -------------------------------------------------------------------------


@pytest.mark.parametrize("ema", [False, True])
def test_what_is_read_is_what_was_saved(tmp_path, ema):
    meta = {"step": 4, "losses": [0.1, 1 / 3], "best_loss": float("inf")}
    checkpoint.save(tmp_path, state(0.5, ema), meta, set())
    like = jax.tree.map(lambda leaf: leaf * 0, state(0.0, ema))
    got, got_meta = checkpoint.restore(tmp_path / "4", like)
    assert_same(arrays(got), arrays(state(0.5, ema)))
    assert isinstance(got.opt_state[0], np.ndarray)
    assert got_meta == checkpoint.read_meta(tmp_path / "4") == meta
    params = checkpoint.restore_params(tmp_path / "4", state().params)
    assert_same(arrays(params), arrays(state(0.5, ema).eval_params))


def test_arrays_may_have_grown_since_the_start(tmp_path):
    grown = state().replace(opt_state=(np.arange(90), {"counts": np.ones((4, 3), np.int32)}))
    checkpoint.save(tmp_path, grown, {"step": 1}, set())
    assert_same(arrays(checkpoint.restore(tmp_path / "1", state())[0]), arrays(grown))


@pytest.mark.parametrize("change", ["another", "one less"])
def test_parameters_of_another_version_are_one_clear_line(folder, change):
    params = dict(state().params)
    if change == "another":
        params["gain"] = jnp.ones(3)
    else:
        del params["half"]
    name = "gain" if change == "another" else "half"
    with pytest.raises(UserError, match=f"another version of this network: `{name}`"):
        checkpoint.restore_params(folder / "3", params)


def test_only_the_new_one_and_those_to_keep_stay(folder):
    save(folder, 4, keep={1, 3})
    assert checkpoint.steps(folder) == [1, 3, 4]
    assert sorted(path.name for path in folder.iterdir()) == ["1", "3", "4"]


def test_a_step_saved_again_replaces_the_old_one(folder):
    save(folder, 3, keep={2}, seed=99.0)
    got, _ = checkpoint.restore(folder / "3", state())
    assert got.params["w"][0, 0] == 99.0
    assert checkpoint.steps(folder) == [2, 3]


def test_no_checkpoint_is_none(tmp_path):
    assert newest(tmp_path / "missing") == (None, [])


def test_what_is_no_checkpoint_is_ignored(folder):
    (folder / "9").mkdir()
    (folder / "8").write_text("a stray file")
    shutil.copytree(folder / "3", folder / "7.backup")
    shutil.copytree(folder / "3", folder / "copy")
    assert checkpoint.steps(folder) == [1, 2, 3]
    assert newest(folder) == (3, [])


def test_an_unfinished_checkpoint_is_invisible_and_cleaned_up(folder, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_hashes", killed)
        with pytest.raises(KeyboardInterrupt):
            save(folder, 4, keep={1, 2, 3})
    with monkeypatch.context() as patch:  # between two files of a checkpoint that is removed
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoint._remove(folder / "1")
    assert newest(folder) == (3, [])
    assert checkpoint.steps(folder) == [2, 3]
    save(folder, 4, keep={2, 3})
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3", "4"]


# --- damage --------------------------------------------------------------------------------------


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_byte(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def delete(file: Path) -> None:
    file.unlink()


def files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file())


@pytest.mark.parametrize("damage", [truncate, flip_a_byte, delete])
def test_a_damaged_file_is_named_and_the_newest_sound_checkpoint_is_used(folder, damage):
    victims = files(folder / "3")
    assert len(victims) > 5
    for victim in victims:
        if victim.name == "manifest.json" and damage is delete:
            continue  # without it, it is no checkpoint
        sound = victim.read_bytes()
        if not sound and damage is not delete:
            continue
        damage(victim)
        step, reports = newest(folder)
        assert step == 2
        (report,) = reports
        # A changed manifest names the file whose sum it no longer has.
        assert str(victim if victim.name != "manifest.json" else folder / "3") in report
        victim.write_bytes(sound)
    assert newest(folder) == (3, [])


def test_each_damaged_checkpoint_is_reported(folder):
    delete(files(folder / "3" / "model")[0])
    truncate(folder / "2" / "manifest.json")
    step, reports = newest(folder)
    assert step == 1
    assert [report.partition(" passed")[0] for report in reports] == [
        "damaged checkpoint 3",
        "damaged checkpoint 2",
    ]


def test_damage_is_found_by_every_way_to_read(folder):
    flip_a_byte(folder / "3" / "meta.json")
    for read in (
        lambda: checkpoint.restore(folder / "3", state()),
        lambda: checkpoint.restore_params(folder / "3", state().params),
        lambda: checkpoint.read_meta(folder / "3"),
    ):
        with pytest.raises(checkpoint.Damaged, match=r"meta\.json"):
            read()


def test_an_added_file_is_damage(folder):
    (folder / "3" / "model" / "stray").write_text("")
    assert newest(folder)[0] == 2


def test_all_damaged_is_one_clear_line(folder):
    for step in (1, 2, 3):
        flip_a_byte(folder / str(step) / "meta.json")
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged.*--overwrite") as error:
        newest(folder)
    assert "\n" not in str(error.value)


# --- a full disk ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ValueError("...: File too large [...]")]
)
@pytest.mark.parametrize("item", ["model", "training"])
def test_a_full_disk_leaves_the_older_checkpoints(folder, monkeypatch, error, item):
    real = ocp.StandardCheckpointer.save

    def full(self, path, *args, **kwargs):
        if path.name == item:
            raise error
        real(self, path, *args, **kwargs)

    monkeypatch.setattr(ocp.StandardCheckpointer, "save", full)
    with pytest.raises(UserError, match="intact checkpoints: 1, 2, 3"):
        save(folder, 4)
    assert newest(folder) == (3, [])
    assert sorted(path.name for path in folder.iterdir()) == ["1", "2", "3"]


def test_any_other_error_is_not_hidden(folder, monkeypatch):
    def broken(*_, **__):
        raise ValueError("a bug")

    monkeypatch.setattr(ocp.StandardCheckpointer, "save", broken)
    with pytest.raises(ValueError, match="a bug"):
        save(folder, 4)
