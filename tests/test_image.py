import dataclasses
import gzip
import io
import json
import os
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from creagen_jax import data
from creagen_jax.data import image, image_store
from creagen_jax.data.labels import in_order
from creagen_jax.types import Spec, UserError

SHARES = {"validation": 0.2, "test": 0.0, "probe": 0.0}
ALL = {"validation": 0.0, "test": 0.0, "probe": 0.0}


def noise(count, height=6, width=5, channels=3, seed=0):
    shape = (count, height, width, channels)[: 3 if channels == 1 else 4]
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def fill(folder, images, name="{:03d}.png"):
    """A folder with the images as files."""
    for i, pixels in enumerate(images):
        path = folder / name.format(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def load(path, **fields):
    return image.load(image.Config(path=str(path), **{**ALL, **fields}))


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def one(tmp_path, picture, **fields):
    """The pixels of a picture as the folder that holds it and others gives them."""
    fill(tmp_path, noise(4, *picture.size[::-1]))
    picture.save(tmp_path / "zzz.png")
    return load(tmp_path, **fields).splits["train"].images[-1]


def assert_all(pixels, color, atol):
    np.testing.assert_allclose(pixels, np.broadcast_to(color, pixels.shape), atol=atol)


@pytest.fixture(scope="module")
def digits():
    return image.load(image.Config(flip=True, shift=2))


# --- splits ------------------------------------------------------------------------------------


def test_digits_are_scikit_learns(digits):
    from sklearn.datasets import load_digits

    real = load_digits()
    known = {
        (pixels.astype(int).tobytes(), label)
        for pixels, label in zip(real.images, real.target, strict=True)
    }
    rows = {
        name: {
            (np.round(pixels[..., 0] / 255 * 16).astype(int).tobytes(), label)
            for pixels, label in zip(split.images, split.labels, strict=True)
        }
        for name, split in digits.splits.items()
    }
    assert list(rows) == ["train", "validation", "test", "probe"]
    assert set.union(*rows.values()) == known
    sizes = np.array([len(split.images) for split in digits.splits.values()])
    assert sizes.sum() == 1797
    np.testing.assert_allclose(sizes / 1797, [0.6, 0.15, 0.15, 0.1], atol=0.03)
    assert digits.spec(8) == Spec(shape=(8, 8, 1), classes=10, augment=3)
    assert digits.codec.labels == tuple("0123456789")
    assert sum(digits.codec.label_shares) == pytest.approx(1)


def test_no_picture_moves_when_others_are_added(tmp_path):
    some, more = noise(60), noise(120)
    rows = [
        {pixels.tobytes(): name for name, split in load(path, **SHARES).splits.items()
         for pixels in split.images}
        for path in (npz(tmp_path / "a.npz", x=some), npz(tmp_path / "b.npz", x=more))
    ]  # fmt: skip
    assert len(rows[0]) == 60 and set(rows[0].values()) == {"train", "validation"}
    assert rows[0].items() <= rows[1].items()


def test_equal_pictures_share_a_split(tmp_path):
    pixels = np.concatenate([noise(40)] * 3)
    dataset = load(npz(tmp_path / "a.npz", images=pixels), **SHARES)
    train, validation = (
        {pixels.tobytes() for pixels in dataset.splits[name].images}
        for name in ("train", "validation")
    )
    assert not train & validation
    counts = dataset.fingerprint["splits"]
    assert counts["train"]["examples"] == 3 * len(train)
    assert sum(split["duplicates"] for split in counts.values()) == 80
    assert counts["validation"]["also_in_train"] == 0


def test_a_test_split_stays_what_it_is(tmp_path):
    train, test = noise(50), noise(9, seed=1)
    test[0] = train[0]
    path = npz(tmp_path / "a.npz", x_train=train, y_train=np.arange(50)[:, None] % 2, x_test=test)
    with pytest.raises(UserError, match=r"9 of 59 pictures have no label.*no_labels"):
        load(path)
    dataset = load(path, validation=0.2, test=0.5, probe=0.2, labels=False)
    np.testing.assert_array_equal(dataset.splits["test"].images, test)
    assert sum(len(dataset.splits[name].images) for name in ("train", "validation", "probe")) == 50
    assert "also_in_train" not in dataset.fingerprint["splits"]["train"]
    assert dataset.spec(2).classes == 0


# --- batches -----------------------------------------------------------------------------------


def test_an_epoch_holds_every_picture_once(tmp_path):
    pixels = noise(12)
    dataset = load(npz(tmp_path / "a.npz", images=pixels, labels=np.arange(12)))
    batches = [image.train_batch(dataset, seed=1, step=step, size=4) for step in range(3)]
    label = np.concatenate([batch["condition"] for batch in batches])
    assert sorted(label) == list(range(12))
    x = np.concatenate([batch["x"] for batch in batches])
    np.testing.assert_array_equal(dataset.codec.decode(x), pixels[label])
    again = image.train_batch(dataset, seed=1, step=2, size=4)
    np.testing.assert_array_equal(again["x"], batches[2]["x"])
    large = image.train_batch(dataset, seed=1, step=0, size=30)  # larger than the data
    assert np.bincount(large["condition"]).min() >= 2
    assert set(large) == {"x", "condition"}
    assert large["x"].dtype == np.float32 and large["condition"].dtype == np.int32


def shifted(pixels, dx, dy):
    """Brute force: each pixel from where it was, or from the nearest in the frame."""
    H, W, _ = pixels.shape
    out = np.empty_like(pixels)
    for i in range(H):
        for j in range(W):
            out[i, j] = pixels[min(max(i - dy, 0), H - 1), min(max(j - dx, 0), W - 1)]
    return out


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), flip=st.booleans(), shift=st.integers(0, 4))
def test_augment_tells_what_was_done(seed, flip, shift):
    cfg = image.Config(flip=flip, shift=shift)
    images = noise(16, seed=seed)
    if not flip and not shift:
        return
    moved, numbers = image._augment(images, cfg, (seed, 0))
    assert numbers.shape == (16, flip + 2 * (shift > 0)) and numbers.dtype == np.float32
    for before, after, row in zip(images, moved, numbers, strict=True):
        mirrored = before[:, ::-1] if flip and row[0] else before
        dx, dy = np.round(row[-2:] * shift).astype(int) if shift else (0, 0)
        np.testing.assert_array_equal(after, shifted(mirrored, dx, dy))
    assert np.abs(numbers).max() <= 1


def test_augmentation_is_of_every_kind_and_new_each_step(digits):
    batches = [image.train_batch(digits, seed=0, step=step, size=500) for step in range(2)]
    flip, dx, dy = batches[0]["augment"].T
    assert set(flip) == {0, 1} and abs(flip.mean() - 0.5) < 0.1
    assert set(dx) == set(dy) == {-1, -0.5, 0, 0.5, 1}
    assert abs(np.corrcoef(dx, dy)[0, 1]) < 0.2
    assert not np.array_equal(batches[0]["augment"], batches[1]["augment"])


@settings(max_examples=20, deadline=None)
@given(size=st.integers(2, 300))
def test_evaluation_counts_every_picture_once_as_it_is(digits, size):
    split = digits.splits["test"]
    batches = list(image.eval_batches(digits, "test", size=size))
    assert {len(batch["x"]) for batch in batches} == {size}
    mask = np.concatenate([batch["mask"] for batch in batches]) > 0
    x = np.concatenate([batch["x"] for batch in batches])[mask]
    label = np.concatenate([batch["condition"] for batch in batches])[mask]
    np.testing.assert_array_equal(digits.codec.decode(x), split.images)
    np.testing.assert_array_equal(label, split.labels)
    assert len(x) == image.windows(digits, "test")
    assert all(batch["augment"].shape == (size, 3) for batch in batches)
    assert not any(batch["augment"].any() for batch in batches)


def test_limited_evaluation_is_evenly_spaced(digits):
    batches = list(image.eval_batches(digits, "probe", size=8, limit=20))
    assert sum(batch["mask"].sum() for batch in batches) == 20
    images = digits.splits["probe"].images
    index = np.arange(20) * len(images) // 20
    x = np.concatenate([batch["x"] for batch in batches])[:20]
    np.testing.assert_array_equal(digits.codec.decode(x), images[index])
    with pytest.raises(UserError, match="no valid split; choose one of train, validation, test"):
        next(image.eval_batches(digits, "valid", size=2))


def test_units_are_means_over_the_examples():
    totals = {"loss": 20.0, "energy": 5.0, "weight": 4.0}
    assert image.units(totals) == {"loss": 5.0, "energy": 1.25}


# --- folders -----------------------------------------------------------------------------------


def test_sub_folders_are_classes_and_numbers_are_sorted_as_numbers(tmp_path):
    pixels = noise(9)
    for i, label in enumerate(["10", "9", "2"]):
        fill(tmp_path / label / ("deeper" * (i == 1)), pixels[3 * i : 3 * i + 3])
    (tmp_path / "README.txt").write_text("not a picture")
    (tmp_path / "2" / ".DS_Store").write_bytes(b"\0")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "a.png").write_bytes(b"")
    dataset = load(tmp_path)
    assert dataset.codec.labels == ("2", "9", "10")
    split = dataset.splits["train"]
    read = {pixels.tobytes(): label for pixels, label in zip(split.images, split.labels)}  # noqa: B905
    assert read == {row.tobytes(): 2 - i // 3 for i, row in enumerate(pixels)}
    assert dataset.fingerprint["splits"]["train"]["labels"] == {"2": 3, "9": 3, "10": 3}
    assert dataset.fingerprint["damaged"] == []


def test_labels_in_order():
    assert in_order({"b10", "b9", "a", "10", "9", "1b"}) == ("1b", "9", "10", "a", "b9", "b10")
    assert in_order({"07", "7"}) == ("07", "7")


def test_metadata_names_files_and_labels(tmp_path):
    fill(tmp_path / "sub", pixels := noise(6))
    rows = [{"file_name": f"sub/{i:03d}.png", "label": i % 2, "text": "é"} for i in range(5)]
    meta = tmp_path / "metadata.jsonl"
    meta.write_text("\n\n".join(map(json.dumps, rows)))
    dataset = load(tmp_path)
    np.testing.assert_array_equal(dataset.splits["train"].images, pixels[:5])
    assert list(dataset.splits["train"].labels) == [0, 1, 0, 1, 0]
    meta.write_text(json.dumps(rows[0]) + '\n{"file": "sub/001.png"}')
    with pytest.raises(UserError, match="line 2 has no `file_name`"):
        load(tmp_path)
    meta.write_text("{")
    with pytest.raises(UserError, match="line 1 is not JSON"):
        load(tmp_path)


def test_loose_pictures_have_no_labels(tmp_path):
    fill(tmp_path, noise(4))
    assert load(tmp_path).spec(2) == Spec(shape=(6, 5, 3))
    fill(tmp_path / "cats", noise(2, seed=1))
    with pytest.raises(UserError, match="4 of 6 pictures have no label"):
        load(tmp_path)
    assert len(load(tmp_path, labels=False).splits["train"].images) == 6


def test_one_class_only_is_a_class(tmp_path):
    fill(tmp_path / "cats", noise(4))
    dataset = load(tmp_path)
    assert dataset.spec(2).classes == 1 and dataset.codec.label_shares == (1.0,)


def test_a_folder_with_splits_keeps_them(tmp_path):
    fill(tmp_path / "train" / "cat", noise(3))
    fill(tmp_path / "train" / "dog", noise(3, seed=1))
    fill(tmp_path / "test" / "dog", noise(2, seed=2))
    dataset = load(tmp_path, test=0.4)
    assert {name: len(split.images) for name, split in dataset.splits.items()} == {
        "train": 6,
        "test": 2,
    }
    assert dataset.codec.labels == ("cat", "dog")


# --- from any picture to an array ----------------------------------------------------------------


def wide(values):
    return Image.fromarray(np.array(values, np.uint16))


def palette():
    picture = Image.new("P", (5, 6), 1)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((0, 0), 0)
    picture.info["transparency"] = 1
    return picture


@pytest.mark.parametrize(
    "picture, expected",
    [
        (Image.new("RGBA", (5, 6), (255, 0, 0, 255)), (255, 0, 0)),
        (Image.new("RGBA", (5, 6), (255, 0, 0, 0)), (0, 255, 0)),
        (Image.new("RGBA", (5, 6), (255, 0, 0, 51)), (51, 204, 0)),
        (Image.new("LA", (5, 6), (100, 255)), (100, 100, 100)),
        (Image.new("LA", (5, 6), (100, 0)), (0, 255, 0)),
        (Image.new("L", (5, 6), 100), (100, 100, 100)),
        (Image.new("1", (5, 6), 1), (255, 255, 255)),
        (wide(np.full((6, 5), 65535)), (255, 255, 255)),
        (wide(np.full((6, 5), 257 * 7)), (7, 7, 7)),
        (palette(), (0, 255, 0)),
    ],
)
def test_every_mode_is_brought_to_rgb(tmp_path, picture, expected):
    pixels = one(tmp_path, picture, background="lime")
    assert tuple(pixels[-1, -1]) == expected
    if picture.mode == "P":
        assert tuple(pixels[0, 0]) == (255, 0, 0)


def test_cmyk_is_brought_to_rgb(tmp_path):
    fill(tmp_path, noise(3, 16, 16))
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "z.jpg", quality=95)
    assert_all(load(tmp_path).splits["train"].images[-1], (255, 0, 0), atol=4)


def test_grey_is_kept_if_all_pictures_are(tmp_path):
    fill(tmp_path, grey := noise(3, channels=1))
    np.testing.assert_array_equal(load(tmp_path).splits["train"].images[..., 0], grey)
    assert load(tmp_path, color="rgb").spec(2).shape == (6, 5, 3)
    Image.new("RGBA", (5, 6), "red").save(tmp_path / "z.png")
    assert load(tmp_path).spec(2).shape == (6, 5, 3)
    assert load(tmp_path, color="grey").spec(2).shape == (6, 5, 1)


def test_orientation_is_honoured(tmp_path):
    upright = noise(1, 8, 4)[0]
    fill(tmp_path, noise(3, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be turned by 90 degrees clockwise
    Image.fromarray(np.rot90(upright)).save(tmp_path / "z.png", exif=exif)
    np.testing.assert_array_equal(load(tmp_path).splits["train"].images[-1], upright)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".PNG"])
def test_the_first_frame_of_an_animation(tmp_path, suffix):
    fill(tmp_path, noise(3, 16, 16))
    red, blue = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (16, 16), "blue")
    path = tmp_path / f"z{suffix}"
    red.save(path, suffix[1:].lower(), save_all=True, append_images=[blue])
    assert_all(load(tmp_path).splits["train"].images[-1], (255, 0, 0), atol=2)


STRIPES = Image.fromarray(np.repeat([[[255, 0, 0]], [[0, 255, 0]], [[0, 0, 255]]], 30, 0)
                          .repeat(30, 1).astype(np.uint8))  # fmt: skip


def test_crop_keeps_the_centre_and_pad_keeps_all(tmp_path):
    crop = one(tmp_path, STRIPES, height=10)
    assert crop.shape == (10, 10, 3) and (crop[1:-1].argmax(-1) == 1).all()
    assert crop[4:6].min((0, 1)).tolist() == crop[4:6].max((0, 1)).tolist() == [0, 255, 0]
    pad = one(tmp_path, STRIPES, height=9, width=9, fit="pad", background="#010203")
    assert (pad[:, [0, 1, 2, 6, 7, 8]] == [1, 2, 3]).all()
    assert pad[[0, 4, 8], 4].argmax(-1).tolist() == [0, 1, 2]
    rectangle = one(tmp_path, STRIPES, height=18, width=6)
    assert rectangle[[0, 9, 17], 3].argmax(-1).tolist() == [0, 1, 2]


def test_pictures_are_made_small_without_aliasing(tmp_path):
    board = np.indices((64, 64)).sum(0) % 2 * 255
    pixels = one(tmp_path, Image.fromarray(board.astype(np.uint8)), height=8, color="grey")
    np.testing.assert_allclose(pixels, 127.5, atol=4)


def test_a_large_jpeg_is_as_its_lossless_twin(tmp_path):
    fine = Image.fromarray(noise(1, 30, 40, channels=1)[0]).resize((800, 600), Image.Resampling.BOX)
    fine.save(tmp_path / "a.png")
    fine.save(tmp_path / "b.jpg", quality=95)
    one, two = load(tmp_path, height=60, width=80).splits["train"].images.astype(float)
    assert np.abs(one - two).mean() < 2


# --- damaged pictures ----------------------------------------------------------------------------


def damage(path):
    whole = io.BytesIO()
    Image.fromarray(noise(1, 40, 40)[0]).save(whole, "png")
    bomb = whole.getvalue()[:16] + struct.pack(">II", 60_000, 60_000) + whole.getvalue()[24:]
    contents = {"text": b"I am a text", "empty": b"", "cut": whole.getvalue()[:900], "bomb": bomb}
    for name, content in contents.items():
        (path / f"{name}.png").write_bytes(content)
    return [f"{name}.png" for name in sorted(contents)]


def test_damaged_pictures_are_skipped_named_and_counted(tmp_path):
    fill(tmp_path, pixels := noise(400))
    names = damage(tmp_path)
    dataset = load(tmp_path, height=6, width=5)
    np.testing.assert_array_equal(dataset.splits["train"].images, pixels)
    assert dataset.fingerprint["damaged"] == names
    assert "skipped    4 damaged: bomb.png, cut.png, empty.png, text.png" in image.describe(dataset)


def test_many_damaged_pictures_stop_with_the_list(tmp_path):
    fill(tmp_path, noise(20))
    damage(tmp_path)
    with pytest.raises(
        UserError, match=r"4 of 24 .*bomb.png \(.*empty.png \(no picture\)"
    ) as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_picture_that_is_not_there_is_damaged(tmp_path):
    fill(tmp_path, noise(2))
    rows = [{"file_name": f"{i:03d}.png"} for i in range(3)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match=r"1 of 3 .*002.png \(No such file"):
        load(tmp_path)


# --- large sets ----------------------------------------------------------------------------------


def test_a_large_set_is_mapped_and_equals_a_small_one(tmp_path, monkeypatch):
    for label in "ab":
        fill(tmp_path / "pictures" / label, noise(40, seed=ord(label)))
    cfg = image.Config(path=str(tmp_path / "pictures"), height=4, **{**SHARES, "test": 0.2})
    small = image.load(cfg)
    monkeypatch.setattr(image_store, "MEMORY_BYTES", 100)
    cache = tmp_path / "cache"
    first = image.load(cfg, cache=cache)
    with monkeypatch.context() as once:
        once.setattr(image_store, "_decode", None)  # it is decoded once only
        again = image.load(cfg, cache=cache)
    for large in (first, again):
        assert large.fingerprint == small.fingerprint
        assert large.codec == small.codec
        for name, split in small.splits.items():
            assert isinstance(large.splits[name].images.base, np.memmap)
            np.testing.assert_array_equal(large.splits[name].images, split.images)
            np.testing.assert_array_equal(large.splits[name].labels, split.labels)
    batches = [image.train_batch(d, seed=0, step=1, size=8)["x"] for d in (small, again)]
    np.testing.assert_array_equal(*batches)
    assert len(list(cache.iterdir())) == 1  # nothing partial

    os.utime(tmp_path / "pictures" / "a" / "000.png", (1, 1))  # changed
    image.load(cfg, cache=cache)
    image.load(dataclasses.replace(cfg, fit="pad"), cache=cache)
    assert len(list(cache.iterdir())) == 3
    fill(tmp_path / "pictures", noise(1), name="broken/{}.png")
    (tmp_path / "pictures" / "broken" / "0.png").write_bytes(b"")
    with pytest.raises(UserError, match="1 of 81 pictures are damaged"):
        image.load(cfg, cache=cache)
    assert len(list(cache.iterdir())) == 3  # nothing is left of what failed


def test_a_large_set_follows_its_metadata(tmp_path, monkeypatch):
    monkeypatch.setattr(image_store, "MEMORY_BYTES", 100)
    fill(tmp_path / "pictures", noise(2))
    for labels in ("ab", "cc"):
        rows = [{"file_name": f"{i:03d}.png", "label": label} for i, label in enumerate(labels)]
        rows[1]["file_name"] = str(tmp_path / "pictures" / rows[1]["file_name"])  # may be absolute
        (tmp_path / "pictures" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
        cfg = image.Config(path=str(tmp_path / "pictures"), **ALL)
        dataset = image.load(cfg, cache=tmp_path / "cache")
        assert dataset.codec.labels == tuple(sorted(set(labels)))


# --- IDX and .npz --------------------------------------------------------------------------------


def idx(path, array, opener=open):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    with opener(path, "wb") as file:
        file.write(header + array.astype(np.uint8).tobytes())


@pytest.mark.parametrize("opener, suffix", [(open, ""), (gzip.open, ".gz")])
@pytest.mark.parametrize("prefix", ["", "emnist-balanced"])
def test_idx_files(tmp_path, opener, suffix, prefix):
    start = f"{prefix}-" if prefix else ""
    sets = {"train": noise(30, channels=1), "t10k": noise(8, channels=1, seed=1)}
    for stem, images in sets.items():
        labels = np.arange(len(images)) % 3
        idx(tmp_path / f"{start}{stem}-images-idx3-ubyte{suffix}", images, opener)
        idx(tmp_path / f"{start}{stem}-labels-idx1-ubyte{suffix}", labels, opener)
    dataset = load(tmp_path / prefix)
    np.testing.assert_array_equal(dataset.splits["train"].images[..., 0], sets["train"])
    np.testing.assert_array_equal(dataset.splits["test"].images[..., 0], sets["t10k"])
    np.testing.assert_array_equal(dataset.splits["test"].labels, np.arange(8) % 3)


def test_damaged_idx_files_are_named(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    idx(path, noise(4, channels=1))
    assert load(tmp_path).spec(2) == Spec(shape=(6, 5, 1))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(UserError, match="damaged: it holds 119 bytes of 4 x 6 x 5"):
        load(tmp_path)
    path.write_bytes(b"\0\0\x0d\3" + whole[4:])
    with pytest.raises(UserError, match="is no IDX file"):
        load(tmp_path)
    path.write_bytes(whole)
    idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(3))
    with pytest.raises(UserError, match="3 labels of 4 pictures"):
        load(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").rename(tmp_path / "train-labels-idx1-ubyte.gz")
    with pytest.raises(UserError, match=r"cannot read .*gz"):
        load(tmp_path)


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("x_train", "y_train")])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_npz_files(tmp_path, names, channels):
    pixels, labels = noise(10, channels=channels), np.array(["cat", "dog"] * 5)
    path = npz(tmp_path / "a.npz", **dict(zip(names, (pixels, labels), strict=True)))
    dataset = load(path)
    assert dataset.codec.labels == ("cat", "dog")
    if channels < 4:
        images = dataset.splits["train"].images
        np.testing.assert_array_equal(images, pixels.reshape(images.shape))


# --- TensorFlow Datasets -------------------------------------------------------------------------


def test_tfds_set(tmp_path):
    import tensorflow_datasets as tfds

    pixels = noise(30)

    class Tiles(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path  # where it would look for a README

        def _info(self):
            label = tfds.features.ClassLabel(names=["floor", "wall"])
            features = {"image": tfds.features.Image(shape=(None, None, 3)), "label": label}
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {
                "train": self._generate_examples(pixels[:20]),
                "test": self._generate_examples(pixels[20:]),
            }

        def _generate_examples(self, pixels):
            for i, row in enumerate(pixels):
                file = io.BytesIO()
                Image.fromarray(row).save(file, "png")
                file.seek(0)
                yield i, {"image": file, "label": int(row[0, 0, 0]) % 2}

    Tiles(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    cfg = image.Config(tfds="tiles", tfds_dir=str(tmp_path), **SHARES)
    dataset = image.load(cfg)
    assert dataset.codec.labels == ("floor", "wall")
    assert list(dataset.splits) == ["train", "validation", "test"]
    for rows, names in ((pixels[:20], ("train", "validation")), (pixels[20:], ("test",))):
        read = {
            (row.tobytes(), label)
            for name in names
            for row, label in zip(*dataset.splits[name], strict=True)
        }
        assert read == {(row.tobytes(), row[0, 0, 0] % 2) for row in rows}
    with pytest.raises(UserError, match=r"'tile' is not prepared .*there: tiles"):
        image.load(dataclasses.replace(cfg, tfds="tile"))


# --- the codec -----------------------------------------------------------------------------------


def test_encoding_is_inverted_exactly(digits):
    values = np.arange(256, dtype=np.uint8)
    x = digits.codec.encode(values)
    assert x.dtype == np.float32 and x.min() == -1 and x.max() == 1
    np.testing.assert_array_equal(digits.codec.decode(x), values)
    np.testing.assert_array_equal(digits.codec.decode([-9, -1.001, 1.001, 9]), [0, 0, 255, 255])


def test_codec_survives_saving(digits, tmp_path):
    image.save(digits, tmp_path / "new")
    codec = image.load_codec(tmp_path / "new")
    assert codec == digits.codec and hash(codec) == hash(digits.codec)
    assert codec.label_id("7") == 7
    with pytest.raises(UserError, match="no label '11'"):
        codec.label_id("11")
    with pytest.raises(UserError, match=r"no codec\.json in"):
        image.load_codec(tmp_path)


def test_a_users_picture_is_read_as_in_training(tmp_path):
    fill(tmp_path, noise(5, 20, 30))
    dataset = load(tmp_path, height=8, fit="pad", background="red")
    for i, pixels in enumerate(dataset.splits["train"].images):
        x = dataset.codec.read(tmp_path / f"{i:03d}.png")
        np.testing.assert_array_equal(dataset.codec.decode(x), pixels)
    with pytest.raises(UserError, match=r"cannot read .*none.png: No such file"):
        dataset.codec.read(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(UserError, match=r"cannot read .*text.png: no picture"):
        dataset.codec.read_mask(tmp_path / "text.png")


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_mask_covers_what_is_white(tmp_path, fit):
    fill(tmp_path, noise(3, 8, 8))
    codec = load(tmp_path, fit=fit, background="white").codec
    mask = np.zeros((80, 160), np.uint8)
    mask[:40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    mask = codec.read_mask(tmp_path / "mask.png")
    assert mask.shape == (8, 8, 1) and mask.dtype == np.float32
    rows = {"crop": [1, 1, 1, 1, 0, 0, 0, 0], "pad": [0, 0, 1, 1, 0, 0, 0, 0]}[fit]
    np.testing.assert_array_equal(mask[..., 0], np.repeat(np.c_[rows], 8, 1))


def test_describe_names_splits_and_labels(digits):
    text = image.describe(digits)
    assert "digits, pictures of 8x8, grey" in text
    assert f"train      {len(digits.splits['train'].images):,} examples" in text
    assert json.loads(json.dumps(digits.fingerprint)) == digits.fingerprint


def test_the_content_decides_the_fingerprint(tmp_path):
    pixels = noise(10)
    paths = [npz(tmp_path / f"{i}.npz", x=pixels) for i in range(2)]
    changed = pixels.copy()
    changed[3, 2, 1, 0] ^= 1
    paths.append(npz(tmp_path / "2.npz", x=changed))
    paths.append(npz(tmp_path / "3.npz", x=pixels, y=np.arange(10)))
    one, two, three, four = (load(path).fingerprint["sha256"] for path in paths)
    assert one == two and len({one, three, four}) == 3


def test_image_is_a_modality_and_its_helpers_are_none():
    assert "image" in data.names() and "text" in data.names()
    assert not {"pictures", "cutting", "labels"} & set(data.names())


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arrays, fields, message",
    [
        ({"x": noise(1)}, {}, "needs at least 2 different pictures to train on; it has 1"),
        ({"x": np.concatenate([noise(1)] * 9)}, {}, "needs at least 2 different pictures"),
        ({"x": noise(4)}, {"probe": 1e-9}, "the probe split needs at least 1 of the 4 .* 0"),
        ({"x": noise(4)}, {"validation": 0.6, "test": 0.4}, "leave something for training"),
        ({"x": noise(4)}, {"test": -0.1}, "must be at least 0"),
        ({"x": noise(4)}, {"height": -1}, "height is -1; choose 0 or more"),
        ({"x": noise(4)}, {"shift": 5}, "shift 5 moves pictures of 6x5 out of the frame"),
        ({"x": noise(4)}, {"background": "whit"}, "background 'whit' is no color"),
        ({"x": noise(4), "y": np.zeros(3)}, {}, "3 labels of 4 pictures"),
        ({"x": noise(4) / 255}, {}, "are float64 .*must be uint8"),
        ({"x": noise(4)[0, 0]}, {}, r"uint8 \[5, 3\]; they must be"),
        ({"x": noise(4)[..., :2]}, {}, "2 channels; choose 1, 3 or 4"),
        ({"pictures": noise(4)}, {}, "holds no `images`, `x` or `x_train`; it holds pictures"),
        ({"x": np.array([{}, []], object)}, {}, "cannot read .*allow_pickle=False"),
    ],
)
def test_bad_data_is_one_clear_line(tmp_path, arrays, fields, message):
    with pytest.raises(UserError, match=message) as error:
        load(npz(tmp_path / "a.npz", **arrays), **fields)
    assert "\n" not in str(error.value)


def test_missing_things_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no such file or folder: .*/emoij; near it: emoji"):
        (tmp_path / "emoji").mkdir()
        load(tmp_path / "emoij")
    with pytest.raises(UserError, match=r"holds no .png"):
        load(tmp_path / "emoji")
    (tmp_path / "a.npz").write_text("text")
    with pytest.raises(UserError, match=r"is no .npz file"):
        load(tmp_path / "a.npz")
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(UserError, match="is one file; choose a folder of pictures"):
        load(tmp_path / "a.png")
    with pytest.raises(UserError, match="no embedded set 'digit'; did you mean 'digits'"):
        image.load(image.Config(source="digit"))


def test_pictures_of_several_sizes_ask_for_one(tmp_path):
    fill(tmp_path, noise(3))
    Image.new("RGB", (50, 40)).save(tmp_path / "z.png")
    with pytest.raises(UserError, match=r"2 sizes, from 6x5 to 40x50 .*--data.height"):
        load(tmp_path)
    assert load(tmp_path, width=7).spec(2).shape == (7, 7, 3)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no picture that can be read"):
        load(tmp_path)
