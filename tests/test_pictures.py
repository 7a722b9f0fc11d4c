import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from creagen_jax.data import pictures
from creagen_jax.types import UserError

ABOUT = {"seed": "17", "label": "猫", "settings": '{"steps": 18}'}


def noise(count, height=6, width=5, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), np.uint8)


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(1, 12),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    channels=st.sampled_from([1, 3]),
    columns=st.integers(0, 13),
    scale=st.integers(0, 3),
)
def test_a_sheet_holds_every_picture_in_its_place(count, height, width, channels, columns, scale):
    images = noise(count, height, width, channels)
    sheet = pictures.grid(images, columns=columns, scale=scale)
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    scale = scale or -(-48 // height)
    tall, broad = height * scale + 2, width * scale + 2
    rows, across = (sheet.shape[0] - 2) // tall, (sheet.shape[1] - 2) // broad
    assert (rows * tall + 2, across * broad + 2) == sheet.shape[:2]
    assert rows * across >= count > (rows - 1) * across
    assert not columns or across == min(columns, count)
    for i, picture in enumerate(images):
        top, left = 2 + i // across * tall, 2 + i % across * broad
        cell = sheet[top : top + tall - 2, left : left + broad - 2]
        expected = np.broadcast_to(picture, (height, width, 3))
        np.testing.assert_array_equal(cell[::scale, ::scale], expected)
        np.testing.assert_array_equal(cell[scale - 1 :: scale, scale - 1 :: scale], expected)


def test_a_sheet_of_many_is_nearly_square():
    for height, width in ((8, 8), (32, 8), (8, 32)):
        tall, broad, _ = pictures.grid(noise(60, height, width)).shape
        assert 0.7 < tall / broad < 1.4
    assert pictures.grid(noise(64, 8, 8)).shape == (8 * 50 + 2, 8 * 50 + 2, 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_keeps_pixels_and_text(tmp_path, channels):
    pixels = noise(1, channels=channels)[0]
    path = tmp_path / "new" / "a.png"
    pictures.write_png(path, pixels, ABOUT)
    with Image.open(path) as picture:
        assert picture.text == ABOUT
        assert picture.mode == ("L" if channels == 1 else "RGB")
        np.testing.assert_array_equal(np.asarray(picture).reshape(pixels.shape), pixels)
    assert path.read_bytes() == pictures.png(pixels, ABOUT)


@pytest.mark.parametrize("channels", [1, 3])
def test_gif_shows_the_frames_and_holds_the_last(tmp_path, channels):
    frames = [np.full((8, 9, channels), 40 * i, np.uint8) for i in range(6)]
    path = tmp_path / "a.gif"
    pictures.write_gif(path, iter(frames), seconds=0.1, about=ABOUT, hold=2)
    with Image.open(path) as animation:
        assert animation.n_frames == 6 and animation.info["loop"] == 0
        assert json.loads(animation.info["comment"]) == ABOUT
        for i, frame in enumerate(frames):
            animation.seek(i)
            assert animation.info["duration"] == (2000 if i == 5 else 100)
            read = np.asarray(animation.convert("RGB"))
            np.testing.assert_array_equal(read, np.broadcast_to(frame, (8, 9, 3)))


def test_a_folder_of_samples(tmp_path):
    images = noise(5)
    with pictures.folder_writer(tmp_path / "out") as writer:
        writer.add(images[:3], np.arange(3), [{"seed": str(i)} for i in range(3)])
        writer.add(images[3:], None, [{"seed": str(i)} for i in range(3, 5)])
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"00000{i}.png" for i in range(5)]
    for i, name in enumerate(names):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.text == {"seed": str(i)}
            np.testing.assert_array_equal(np.asarray(picture), images[i])


@settings(max_examples=20, deadline=None)
@given(parts=st.lists(st.integers(0, 4), min_size=1, max_size=6), channels=st.sampled_from([1, 3]))
def test_an_npz_of_samples_in_any_parts(tmp_path_factory, parts, channels):
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    images = noise(sum(parts), channels=channels)
    labels = np.arange(len(images)) % 3
    with pictures.npz_writer(path, len(images), images.shape[1:]) as writer:
        for i, stop in enumerate(np.cumsum(parts)):
            part = slice(stop - parts[i], stop)
            writer.add(images[part], None if i == 0 else labels[part], [{}] * parts[i])
    with np.load(path) as file:
        assert sorted(file.files) == ["images", "labels"]
        np.testing.assert_array_equal(file["images"], images)
        assert file["images"].dtype == np.uint8 and file["labels"].dtype == np.int32
        np.testing.assert_array_equal(file["labels"], [-1] * parts[0] + list(labels[parts[0] :]))
    assert [file.name for file in path.parent.iterdir()] == ["a.npz"]


def test_an_npz_is_complete_or_absent(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(KeyboardInterrupt), pictures.npz_writer(path, 4, (6, 5, 3)) as writer:
        writer.add(noise(2), None, [{}] * 2)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="2 samples were written, not 4"):  # noqa: SIM117
        with pictures.npz_writer(path, 4, (6, 5, 3)) as writer:
            writer.add(noise(2), None, [{}] * 2)
    assert not list(tmp_path.iterdir())


def test_the_memory_of_writing_does_not_grow_with_the_number(tmp_path):
    block = noise(10, 64, 64)

    def peak(count):
        tracemalloc.start()
        with pictures.npz_writer(tmp_path / "a.npz", count, (64, 64, 3)) as writer:
            for _ in range(count // 10):
                writer.add(block, None, [{}] * 10)
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    peak(10)
    assert peak(1000) < peak(100) + block.nbytes  # 900 more pictures are 90 blocks


def test_a_disk_that_refuses_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    image = noise(1)[0]
    with pytest.raises(UserError, match=r"cannot write .*file"):
        pictures.write_png(tmp_path / "file" / "a.png", image, {})
    with pytest.raises(UserError, match=r"cannot write .*file"):
        pictures.write_gif(tmp_path / "file" / "a.gif", [image] * 2, seconds=0.1, about={})
    with pytest.raises(UserError, match=r"cannot write .*file"):  # noqa: SIM117
        with pictures.folder_writer(tmp_path / "file") as writer:
            writer.add(image[None], None, [{}])
    with pytest.raises(UserError, match=r"cannot write .*No space left"):  # noqa: SIM117
        with pictures.npz_writer(tmp_path / "a.npz", 2, image.shape) as writer:
            writer.add(image[None], None, [{}])
            raise OSError(28, "No space left on device")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
