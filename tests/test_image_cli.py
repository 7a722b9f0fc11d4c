"""The commands on pictures: what train.py and sample.py write, and what they say of a mistake."""

import json

import helpers
import numpy as np
import pytest
import test_cli
from PIL import Image

from creagen_jax import synthesis

command, mistake = test_cli.command, test_cli.mistake  # fixtures
QUICK = ("--steps", "4")
families = pytest.mark.parametrize("family", ["gan", "diffusion"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """runs[family]: a finished run on the digits, by the command."""
    folder = tmp_path_factory.mktemp("runs")
    for family in ("gan", "diffusion"):
        flags = [f"digits_{family}", "--smoke", "--run", str(folder / family)]
        assert test_cli.SCRIPTS["train"].main(flags) == 0
    return {family: folder / family for family in ("gan", "diffusion")}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A picture, a mask of its right half, and a text named .png."""
    folder = tmp_path_factory.mktemp("files")
    Image.new("RGB", (20, 16), "teal").save(folder / "picture.png")
    mask = Image.new("L", (8, 8))
    mask.paste(255, (4, 0, 8, 8))
    mask.save(folder / "mask.png")
    (folder / "text.png").write_text("no picture")
    return folder


def quick(family):
    return QUICK if family == "diffusion" else ()


# --- train.py ------------------------------------------------------------------------------------


@families
def test_a_run_holds_the_documented_files(runs, family):
    run = runs[family]
    assert {path.name for path in run.iterdir()} >= {"config.json", "checkpoints", "metrics.jsonl"}
    fields = json.loads((run / "config.json").read_text())
    assert fields["experiment"]["model"]["family"] == family
    assert fields["spec"]["shape"] == [8, 8, 1] and fields["spec"]["classes"] == 10
    assert not (run / "reference.json").exists()  # there is no likelihood to compare with
    lines = helpers.metrics(run)
    train, held_out = ([li for li in lines if (li["split"] == "train") == is_] for is_ in (1, 0))
    scores = {"energy_distance", "variety", "variety_of_data"} if family == "gan" else {"loss"}
    assert [line["step"] for line in held_out] == [2, 4, 4, 4]
    assert all(scores <= line.keys() for line in held_out)
    more = {"discriminator_loss", "penalty", "real_logit"} if family == "gan" else {"grad_norm"}
    assert all({"loss", "grad_norm", "skipped"} | more <= line.keys() for line in train)


@families
def test_sheets_are_drawn_on_the_way_and_make_a_film_at_the_end(runs, family):
    folder = runs[family] / "samples"
    for step in (2, 4):
        sheet = Image.open(folder / f"step_{step:06d}.png")
        assert sheet.text["step"] == str(step)
    film = Image.open(folder / "progress.gif")
    assert film.n_frames == 2 and film.size == sheet.size


# --- sample.py -----------------------------------------------------------------------------------


@families
def test_a_folder_of_pictures(command, runs, family, tmp_path):
    out = tmp_path / "drawn"
    flags = ["--num", 3, "--label", 7, "--seed", 5, "--out", out, *quick(family)]
    code, shown, err = command("sample", runs[family], *flags)
    assert (code, shown) == (0, "") and f"3 samples: {out}" in err
    assert sorted(path.name for path in out.iterdir()) == [f"{i:06d}.png" for i in range(3)]
    for number in range(3):
        with Image.open(out / f"{number:06d}.png") as picture:
            assert picture.size == (8, 8) and picture.mode == "L"
            assert picture.text["seed"] == str(5 + number) and picture.text["label"] == "7"
            settings = json.loads(picture.text["creagen_jax"])
            assert settings["family"] == family and settings["label"] == "7"
            assert ("truncation" in settings) == (family == "gan")


@families
def test_an_npz_holds_what_the_folder_holds(command, runs, family, tmp_path):
    for out in (tmp_path / "drawn.npz", tmp_path / "drawn"):
        flags = ["--num", 6, "--out", out, *quick(family)]
        assert command("sample", runs[family], *flags)[0] == 0
    with np.load(tmp_path / "drawn.npz") as file:
        assert set(file.files) == {"images", "labels"}
        drawn, labels = file["images"], file["labels"]
    assert drawn.shape == (6, 8, 8, 1) and drawn.dtype == np.uint8
    assert labels.shape == (6,) and labels.dtype == np.int32 and set(labels) <= set(range(10))
    for number in range(6):
        with Image.open(tmp_path / "drawn" / f"{number:06d}.png") as picture:
            np.testing.assert_array_equal(np.asarray(picture), drawn[number, ..., 0])
            assert picture.text["label"] == str(labels[number])


@families
def test_a_contact_sheet_and_an_animation(command, runs, family, tmp_path):
    gif = tmp_path / "film.gif"
    flags = ["--num", 6, "--grid", "--seed", 3, "--animate", gif, *quick(family)]
    code, _, err = command("sample", runs[family], *flags)
    place = runs[family] / "samples" / "grid.png"
    assert code == 0 and str(place) in err and f"animation: {gif}" in err
    with Image.open(place) as sheet:
        assert sheet.width > 100 and sheet.mode == "RGB"
        assert sheet.text["seed"] == "3" and sheet.text["num"] == "6"
        assert json.loads(sheet.text["creagen_jax"])["family"] == family
        assert "label" not in sheet.text
    with Image.open(gif) as film:
        assert film.n_frames > 1
        assert json.loads(film.info["comment"])["seed"] == "3"
    if family == "gan":  # the walk shows one picture at a time
        assert film.n_frames <= 6 * synthesis.WALK and film.width < 100
    else:
        assert film.n_frames <= 5 and film.size == sheet.size


def test_a_picture_to_start_from(command, runs, files, tmp_path):
    """Cut and turned grey as the training pictures are."""
    flags = ["--num", 2, "--image", files / "picture.png", *QUICK, "--out"]
    run, teal = runs["diffusion"], round(0.587 * 128 + 0.114 * 128)
    assert command("sample", run, *flags, tmp_path / "a.npz", "--strength", 0)[0] == 0
    assert command("sample", run, *flags, tmp_path / "b.npz", "--mask", files / "mask.png")[0] == 0
    still, painted = (np.load(tmp_path / name)["images"] for name in ("a.npz", "b.npz"))
    assert (np.abs(still.astype(int) - teal) <= 1).all()
    np.testing.assert_array_equal(painted[:, :, :4], still[:, :, :4])
    assert (painted[:, :, 4:] != still[:, :, 4:]).mean() > 0.9


@families
def test_help_lists_the_flags_of_the_family(command, runs, family):
    code, out, _ = command("sample", runs[family], "--help")
    assert code == 0 and all(flag in out for flag in ("--num", "--label", "--grid", "--animate"))
    assert ("--truncation" in out) == (family == "gan")
    assert ("--guidance" in out) == ("--solver" in out) == (family == "diffusion")
    assert ("--prompt" in out) == (family == "diffusion")


def test_samples_of_an_earlier_call_do_not_pass_for_new_ones(command, mistake, runs, tmp_path):
    own = runs["gan"] / "samples" / "drawn"
    for num in (3, 2):
        assert command("sample", runs["gan"], "--num", num)[0] == 0
        assert len(list(own.glob("*.png"))) == num
    assert command("sample", runs["gan"], "--num", 3, "--out", tmp_path / "mine")[0] == 0
    line = mistake("sample", runs["gan"], "--num", 2, "--out", tmp_path / "mine")
    assert "holds 3 samples, of which 1 would stay" in line
    assert command("sample", runs["gan"], "--num", 3, "--out", tmp_path / "mine")[0] == 0
    assert len(list((tmp_path / "mine").iterdir())) == 3


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "flags", "message"),
    [
        ("gan", ["--label", "10"], "no label '10'"),
        ("gan", ["--guidance", "2"], "no flag --guidance"),
        ("gan", ["--truncation", "-1"], "--truncation is -1"),
        ("gan", ["--num", "0"], "--num is 0"),
        ("gan", ["--grid", "--out", "x.npz"], "--grid writes a .png, not x.npz"),
        ("gan", ["--out", "x.png"], "--out x.png is one picture: --grid makes it a contact sheet"),
        ("gan", ["--animate", "x.mp4"], "--animate writes a .gif, not x.mp4"),
        ("gan", ["--checkpoint", "9"], "no checkpoint '9'"),
        ("gan", ["--num", "1", "--out", "/dev/null/x.npz"], "cannot write"),
        ("diffusion", ["--label", "x"], "no label 'x'"),
        ("diffusion", ["--truncation", "1"], "no flag --truncation"),
        ("diffusion", ["--solver", "hun"], "'hun'"),
        ("diffusion", ["--steps", "0"], "steps is 0"),
        ("diffusion", ["--guidance", "-1"], "guidance is -1"),
        ("diffusion", ["--mask", "mask.png"], "--mask needs --image"),
        ("diffusion", ["--image", "text.png"], "text.png"),
        ("diffusion", ["--image", "absent.png"], "absent.png"),
        ("diffusion", ["--strength", "0.5"], "--strength goes with --image"),
    ],
)
def test_mistakes_in_sampling(mistake, runs, files, family, flags, message, monkeypatch):
    monkeypatch.chdir(files)
    assert message in mistake("sample", runs[family], *flags)
    assert sorted(path.name for path in files.iterdir()) == ["mask.png", "picture.png", "text.png"]


def test_mistakes_in_training(mistake, tmp_path):
    def said(*flags):
        return mistake("train", "digits_gan", "--smoke", "--run", tmp_path / "run", *flags)

    Image.new("L", (8, 8)).save(tmp_path / "only.png")
    assert "needs at least 2 different pictures" in said("--data.path", tmp_path)
    assert "cannot be halved 3 times" in said("--model.levels", 1, 1, 1, 1, "--data.width", 12)
    assert "no augmentation 'blur'" in said("--model.augment", "blur")
    assert "no embedded set 'digit'; did you mean 'digits'" in said("--data.source", "digit")
    assert not (tmp_path / "run").exists()
