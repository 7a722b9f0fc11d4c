"""Samples in files, whoever made them: read again they are what was written, in any modality."""

import numpy as np
import pytest

from creagen_jax import judging_pictures, material
from creagen_jax.data import audio, image, music, text, video
from creagen_jax.types import UserError

ABOUTS = [{}] * 12
NEAR = {image: 0, audio: 1e-4, video: 0}  # sound is written with 16 bits


@pytest.mark.parametrize(
    ("modality", "cfg"),
    [
        (image, image.Config()),
        (audio, audio.Config(rate=6000, hop=60, window=200, bands=20)),
        (audio, audio.Config(form="tokens")),
        (video, video.Config(color="grey", frames=4, every=1)),
    ],
)
def test_what_was_drawn_is_judged_as_drawn(tmp_path, modality, cfg):
    dataset = modality.load(cfg)
    samples = judging_pictures._samples(modality, dataset, "test")[: len(ABOUTS)]
    drawn = judging_pictures.seen(dataset.codec, samples, None)
    with dataset.codec.writer(tmp_path / "made") as file:
        file.add(samples, None, ABOUTS)
    found = judging_pictures.others(modality, dataset.codec, str(tmp_path / "made"))
    assert found.labels is None and found.images.dtype == np.uint8
    np.testing.assert_allclose(found.images.astype(int), drawn.images.astype(int), atol=1)
    if drawn.raw is not None:
        np.testing.assert_allclose(found.raw, drawn.raw, atol=NEAR[modality])


def test_folders_are_labels_that_the_data_must_know(tmp_path):
    dataset = image.load(image.Config())
    part = dataset.splits["test"]
    for name in ("3", "7"):
        chosen = part.images[part.labels == dataset.codec.label_id(name)][:5]
        with dataset.codec.writer(tmp_path / "made" / name) as file:
            file.add(chosen, None, ABOUTS[:5])
    found = judging_pictures.others(image, dataset.codec, str(tmp_path / "made"))
    assert found.labels.tolist() == [3] * 5 + [7] * 5
    (tmp_path / "made" / "7").rename(tmp_path / "made" / "cat")
    with pytest.raises(UserError, match="no label 'cat'"):
        judging_pictures.others(image, dataset.codec, str(tmp_path / "made"))


def test_music_is_read_in_the_form_of_the_run(tmp_path):
    tunes = "\n".join(
        f"X:{i}\nT:t\nM:4/4\nL:1/4\nK:C\n" + " ".join("CDEFGABc"[(i + j) % 8] for j in range(16))
        for i in range(8)
    )
    (tmp_path / "tunes.abc").write_text(tunes)
    dataset = music.load(music.Config(path=str(tmp_path / "tunes.abc"), validation=0, test=0))
    wanted = music.texts(dataset, "train")
    for i, each in enumerate(wanted):
        dataset.codec.write(tmp_path / "made" / f"{i}.mid", each, None, {})
    found, labels = material.others(music, dataset.codec, str(tmp_path / "made"))
    judge = dataset.codec.judged
    assert sorted(map(judge, found)) == sorted(map(judge, wanted)) and len(labels) == len(found)


@pytest.mark.parametrize("unit", ["line", "stream"])
def test_text_is_cut_as_the_run_cuts_it(tmp_path, unit):
    (tmp_path / "a.txt").write_text("one\ntwo ä\n")
    (tmp_path / "b.txt").write_text("three\nfour\n")
    dataset = text.load(text.Config(path=str(tmp_path), unit=unit, length=1, validation=0))
    found, _ = material.others(text, dataset.codec, str(tmp_path))
    documents = ["one\ntwo ä\n", "three\nfour\n"]
    assert found == (["one", "two ä", "three", "four"] if unit == "line" else documents)
