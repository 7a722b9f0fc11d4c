"""evaluate.py on pictures: real ones are good, new and varied, copies are copies, and whatever is
given the report comes out or one line says why not."""

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path

import helpers
import numpy as np
import pytest

from creagen_jax import cli, evaluation, features, judging_pictures
from creagen_jax.creativity import arrays, record
from creagen_jax.data import image, pictures
from creagen_jax.synthesis import Denoising, Drawing

ROOT = Path(__file__).parent.parent
CLASSES = ("0", "1", "2", "3")


@pytest.fixture(scope="module", autouse=True)
def rough():
    """Rough intervals; networks that are hardly trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "REPEATS", 4)
        patch.setattr(arrays, "PERMUTATIONS", 200)
        patch.setattr(features, "STEPS", (20, 40))
        yield


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The digits 0 to 3 in two files: to train on, and held out."""
    splits = image.load(image.Config()).splits
    images = np.concatenate([part.images for part in splits.values()])
    labels = np.concatenate([part.labels for part in splits.values()])
    images, labels = images[labels < 4], labels[labels < 4]
    folder = tmp_path_factory.mktemp("digits")
    order = np.random.default_rng(0).permutation(len(images))
    for name, part in zip(("train", "heldout", "fresh"), np.split(order, [320, 520]), strict=True):
        np.savez(folder / f"{name}.npz", images=images[part], labels=labels[part])
    return folder


@pytest.fixture(scope="module", params=["gan", "diffusion"])
def run(request, digits, tmp_path_factory):
    """Two steps of a tiny model."""
    made = tmp_path_factory.mktemp("runs") / request.param
    experiment = helpers.experiment(
        request.param,
        digits / "train.npz",
        data={"flip": False, "shift": 0},
        train={"steps": 2, "eval_every": 2, "save_every": 1, "keep_every": 1},
    )
    assert helpers.train(experiment, made) == 0
    return made


@pytest.fixture
def command(monkeypatch, capfd):
    """command(...) of evaluate.py -> exit code, standard output, standard error."""
    spec = importlib.util.spec_from_file_location("evaluate_script", ROOT / "evaluate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)

    def command(*flags):
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, flags)])
        return cli.run(module.main), *capfd.readouterr()

    return command


def of_files(digits, samples, **how):
    paths = {name: str(digits / f"{name}.npz") for name in ("train", "heldout")}
    cfg = evaluation.Config(samples=str(samples), out="unused", fast=True, **{**paths, **how})
    return evaluation.of_files(cfg)


def test_real_pictures_are_good_new_and_varied_and_copies_are_not_new(digits):
    fresh, copies = (of_files(digits, digits / f"{name}.npz") for name in ("fresh", "train"))
    assert all(fresh.profile[axis].high > 0.85 for axis in record.AXES)
    assert copies.profile["novelty"].high < 0.3 < fresh.profile["novelty"].low
    assert copies.profile["diversity"].high > 0.85
    assert {"held-out", "noise", "class Gaussian", "mixup"} <= set(fresh.anchors)
    assert fresh.kind == "image" and [row.label for row in fresh.classes] == list(CLASSES)
    assert sum(row.count for row in fresh.classes) == fresh.protocol["items"]["generated"]


def test_the_report_reads_back_and_holds_pictures(digits):
    found = of_files(digits, digits / "fresh.npz")
    assert record.from_json(json.loads(json.dumps(record.to_json(found)))) == found
    assert found.gallery.unselected[0].picture.startswith("data:image/png")
    assert found.gallery.copied[0].train.picture and found.gallery.copied[0].heldout.picture


def test_without_held_out_pictures_nothing_is_claimed(digits):
    found = of_files(digits, digits / "fresh.npz", heldout="")
    assert all(found.profile[axis].value is None for axis in record.AXES)
    assert any("no held-out data" in line for line in found.warnings)


def test_a_folder_is_judged_as_the_same_pictures_in_a_file(digits, tmp_path):
    images = np.load(digits / "fresh.npz")["images"]
    with pictures.folder_writer(tmp_path / "folder") as writer:
        writer.add(images, None, [{}] * len(images))
    np.savez(tmp_path / "bare.npz", images=images, labels=np.full(len(images), -1))
    one, other = (of_files(digits, tmp_path / name) for name in ("folder", "bare.npz"))
    assert one.profile == other.profile and not one.classes


def test_a_run_is_judged(run, command):
    code, out, _ = command(run, "--fast", "--num", 40)
    assert code == 0 and "written:" in out
    found = record.from_json(json.loads((run / "report.json").read_text()))
    assert found.protocol["items"]["generated"] == 40 and found.classes
    assert "<img" in (run / "report.html").read_text()


def test_samples_in_files_are_judged_as_those_of_a_run(run, command, digits, tmp_path):
    files = {name: ("--samples", digits / f"{name}.npz") for name in ("train", "fresh")}
    found = {}
    for name, flags in files.items():
        assert command(run, *flags, "--out", tmp_path / name, "--fast")[0] == 0
        found[name] = record.from_json(json.loads((tmp_path / name / "report.json").read_text()))
        assert found[name].classes
    assert found["train"].profile["novelty"].high < found["fresh"].profile["novelty"].low


def test_the_loss_of_a_diffusion_model_is_questioned(run):
    request = {"gan": Drawing, "diffusion": Denoising}[run.name]()
    found = evaluation.of_run(run, request, evaluation.Config(num=30))
    assert ("loss_gap" in found.metrics) == (run.name == "diffusion")
    assert "label_accuracy" in found.metrics and "kid" in found.metrics


def test_one_label_is_compared_with_that_label(run):
    request = {"gan": Drawing, "diffusion": Denoising}[run.name](label="2")
    found = evaluation.of_run(run, request, evaluation.Config(num=30, fast=True))
    assert [row.label for row in found.classes] == ["2"]
    real = evaluation.of_run(
        run, dataclasses.replace(request, label=""), evaluation.Config(num=30, fast=True)
    )
    assert found.protocol["items"]["training"] < real.protocol["items"]["training"]


def test_settings_and_checkpoints_are_swept(run, command):
    setting = {"gan": "truncation", "diffusion": "guidance"}[run.name]
    code, out, _ = command(run, "--fast", "--num", 20, "--sweep", setting, 0, 1)
    assert code == 0 and "sweep.html" in out
    code, out, _ = command(run, "--fast", "--num", 20, "--checkpoints")
    assert code == 0 and "checkpoints.html" in out
    rows = json.loads((run / "checkpoints.json").read_text())["rows"]
    assert [row["label"] for row in rows] == ["1", "2"]


def test_the_users_own_features_decide(run, tmp_path):
    (tmp_path / "own.py").write_text(
        "def brightness(images):\n    return images.reshape(len(images), -1)[:, ::7] / 255.0\n"
    )
    request = {"gan": Drawing, "diffusion": Denoising}[run.name]()
    cfg = evaluation.Config(num=30, fast=True, features=f"{tmp_path / 'own.py'}:brightness")
    found = evaluation.of_run(run, request, cfg)
    assert "by user" in found.protocol["features"]
    assert "heldout_neighbour_rate_user" in found.metrics


def test_mistakes_are_one_line(run, command, digits):
    for flags, words in {
        (run, "--label", "7"): "no label '7'",
        (run, "--features", "own.py"): "module:function",
        (run, "--temperature", "1"): "no flag --temperature",
        (run, "--sweep", "solver", "heun", "euler"): "no setting 'solver'",
        ("--samples", digits, "--train", digits / "train.npz"): "--out",
        ("--audit", digits, "--features", "own.py:f"): "--features is for pictures",
        ("--samples", __file__, "--train", __file__, "--out", "o", "--features", "own.py:f"): (
            "--features is for pictures"
        ),
    }.items():
        code, _, err = command(*flags)
        line = err.strip().splitlines()[-1]
        assert code == 2 and line.startswith("error:") and words in line, (flags, err)


def test_a_random_part_is_held_against_and_not_the_sets_own_test_split(tmp_path):
    images, labels = helpers.made_pictures(400)
    path = tmp_path / "keras.npz"
    np.savez(path, x_train=images[:300], y_train=labels[:300], x_test=images[300:],
             y_test=labels[300:])  # fmt: skip
    dataset = image.load(image.Config(path=str(path)))
    found = judging_pictures._of_dataset("", dataset, image)
    assert len(found.heldout.images) == len(dataset.splits["validation"].images)
    dataset = image.load(image.Config(path=str(path), validation=0.0))
    assert len(judging_pictures._of_dataset("", dataset, image).heldout.images) == 100
