"""Video: files, clips, batches, networks along time, continuation, motion, and its judgement."""

import base64
import builtins
import io
import json
import types

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from creagen_jax import (
    evaluation,
    features,
    generation,
    judging_pictures,
    models,
    output,
    synthesis,
)
from creagen_jax.config import Experiment, Optim, Train
from creagen_jax.creativity import anchors, motion, spaces
from creagen_jax.creativity import arrays as yardsticks
from creagen_jax.creativity import report as render
from creagen_jax.data import pictures, video, video_files, video_sources
from creagen_jax.models import _time, diffusion
from creagen_jax.sampling import solvers
from creagen_jax.types import Spec, UserError

ALL = {"validation": 0.0, "test": 0.0, "probe": 0.0}
TINY = diffusion.Config(network="dit", width=8, depth=1, heads=2, patch=2)
SHAPES = st.tuples(st.integers(2, 5), st.just(4), st.just(5), st.sampled_from([1, 3]))
quick = settings(deadline=None, max_examples=20)


def made(frames=6, shape=(8, 10, 3), seed=0):
    """A clip [F, H, W, C] uint8 of few colours: a bright bar that goes right."""
    clip = np.full((frames, *shape), 20 + 10 * (seed % 9), np.uint8)
    for t in range(frames):
        clip[t, :, (t + seed) % shape[1]] = 255 - seed % 7
    return clip


def write(path, frames=6, seed=0, **how):
    video_files.write(path, made(frames, seed=seed, **how), 0.1, {})
    return path


def fill(folder, count=6, frames=6, **how):
    for i in range(count):
        write(folder / f"{i:03d}.gif", frames, seed=i, **how)
    return folder


def load(path, **fields):
    how = {"frames": 6, **ALL, **fields}
    return video.load(video.Config(path=str(path), **how))


def read(path):
    return np.stack([np.asarray(frame.convert("RGB")) for frame in video_files.frames(path)])


@pytest.fixture(scope="module")
def digits():
    return video.load(video.Config(color="grey", shift=1, flip=True))


# --- files -------------------------------------------------------------------------------------


@quick
@given(
    arrays.arrays(
        np.uint8, st.tuples(st.integers(2, 5), st.just(4), st.just(5), st.sampled_from([1, 3]))
    ),
    st.integers(0, 3),
)
def test_a_gif_gives_back_each_frame(tmp_path_factory, clip, held):
    """Whatever the colours, and if frames are the same, too: these are left out of the file."""
    clip = np.concatenate([clip, clip[-1:].repeat(held, 0)])
    if (clip == clip[0]).all():
        clip[-1] = ~clip[-1]
    path = tmp_path_factory.mktemp("gif") / "剪.gif"
    about = {"label": "走", "seed": "3"}
    video_files.write(path, clip, 0.05, about)
    back = read(path)
    np.testing.assert_array_equal(back, np.broadcast_to(clip, back.shape))
    assert video_files.read_about(path) == about
    assert video_files.length(path) == len(clip) and video_files.size(path) == (4, 5)


def test_an_mp4_gives_back_about_the_same(tmp_path):
    clip = made(7, shape=(33, 40, 3))  # an odd height
    path = tmp_path / "a.mp4"
    video_files.write(path, clip, 0.1, {"seed": "3"})
    assert video_files.read_about(path) == {"seed": "3"}
    assert video_files.length(path) == 7
    back = read(path)
    scale = back.shape[2] // 40
    assert back.shape[0] == 7 and scale >= 2  # smaller ones are enlarged
    small = back[:, : 33 * scale : scale, ::scale].astype(int)
    assert np.abs(small - clip).mean() < 12
    assert b"creagen" not in path.read_bytes()
    video_files.write(tmp_path / "grey.mp4", made(3, shape=(8, 8, 1)), 0.1, {})
    assert video_files.length(tmp_path / "grey.mp4") == 3


def test_other_files_say_nothing_of_themselves(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.gif")
    assert video_files.read_about(tmp_path / "a.gif") == {}
    (tmp_path / "occupied").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write(tmp_path / "occupied" / "x.gif")


def test_without_the_extra_mp4_is_one_clear_line(tmp_path, monkeypatch):
    write(tmp_path / "v" / "a.mp4")
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "av":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for call in (lambda: write(tmp_path / "b.mp4"), lambda: load(tmp_path / "v")):
        with pytest.raises(UserError, match=r"creagen_jax\[video\]"):
            call()


@pytest.mark.parametrize("kind", [".gif", ".webp", ".mp4", "folder"])
def test_every_kind_of_video_is_read(tmp_path, kind):
    for i in range(3):
        clip, place = made(6, shape=(8, 8, 3), seed=i), tmp_path / "v" / "走" / f"片 {i}{kind}"
        place.parent.mkdir(parents=True, exist_ok=True)
        if kind == "folder":
            for t, frame in enumerate(clip):  # 10 comes behind 9
                pictures.write_png(place / f"frame {t + 8}.png", frame, {})
        elif kind == ".webp":
            images = [Image.fromarray(frame) for frame in clip]
            images[0].save(place, save_all=True, append_images=images[1:], lossless=True)
        else:
            video_files.write(place, clip, 0.1, {})
    dataset = load(tmp_path / "v", height=8)
    found = video.samples(dataset, "train")
    assert dataset.codec.labels == ("走",) and found.shape == (3, 6, 8, 8, 3)
    expected = np.stack([made(6, shape=(8, 8, 3), seed=i) for i in range(3)])
    assert np.abs(found.astype(int) - expected).mean() < (25 if kind == ".mp4" else 1e-9)


# --- from files to clips -----------------------------------------------------------------------


def test_long_videos_give_several_clips_which_share_a_split(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(12):
        clip = rng.integers(0, 256, (26, 6, 6, 1), np.uint8)
        video_files.write(tmp_path / f"{i:02d}.gif", clip, 0.1, {})
    dataset = load(tmp_path, frames=4, every=2, color="grey", validation=0.4)
    total = 0
    of_video = {}
    for split in ("train", "validation"):
        for clip in video.samples(dataset, split):
            total += 1
            for i in range(12):
                whole = read(tmp_path / f"{i:02d}.gif")[..., :1]
                for start in (0, 8, 16):
                    if (whole[start : start + 8 : 2] == clip).all():
                        of_video.setdefault(i, set()).add(split)
    assert total == 12 * 3 and sorted(of_video) == list(range(12))
    assert all(len(splits) == 1 for splits in of_video.values())


def test_a_short_video_holds_its_last_frame(tmp_path):
    dataset = load(fill(tmp_path, frames=4))
    clips = video.samples(dataset, "train")
    np.testing.assert_array_equal(clips[:, 3:], clips[:, 3:4].repeat(3, 1))
    assert (clips[:, 2] != clips[:, 3]).any()


@pytest.mark.parametrize("damage", ["one frame", "torn", "empty", "text"])
def test_damaged_videos_are_named_and_many_stop(tmp_path, damage):
    fill(tmp_path, count=120)
    bad = tmp_path / "坏.gif"
    if damage == "one frame":
        Image.new("RGB", (10, 8)).save(bad)
    else:
        whole = (tmp_path / "000.gif").read_bytes()
        bad.write_bytes({"torn": whole[:60], "empty": b"", "text": b"no video"}[damage])
    dataset = load(tmp_path, height=8, width=10)
    assert dataset.fingerprint["damaged"] == ["坏.gif"] and "坏.gif" in video.describe(dataset)
    assert len(video.samples(dataset, "train")) == 120
    for file in sorted(tmp_path.glob("0[0-8]*.gif")):
        file.write_bytes(bad.read_bytes())
    with pytest.raises(UserError, match="clips are damaged"):
        load(tmp_path, height=8, width=10)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"frames": 1}, "--data.frames is 1"),
        ({"every": 0}, "--data.every is 0"),
        ({"seconds": 0.0}, "--data.seconds"),
        ({"height": -1}, "--data.height"),
        ({"shift": 8}, "out of the frame"),
        ({"background": "reddish"}, "no color"),
        ({"validation": 0.9, "test": 0.2}, "must be at least 0"),
    ],
)
def test_flags_that_no_clip_can_have(tmp_path, fields, says):
    with pytest.raises(UserError, match=says):
        load(fill(tmp_path), **fields)


def test_paths_that_hold_no_video(tmp_path):
    fill(tmp_path / "v", count=2)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "mixed" / "a.gif")
    write(tmp_path / "mixed" / "b.gif", shape=(9, 9, 3))
    for name, says in {
        "v/000.gif": "one file; choose a folder",
        "empty": "holds no .gif",
        "none": "none",
        "mixed": "2 sizes, from 8x10 to 9x9",
    }.items():
        with pytest.raises(UserError, match=says):
            load(tmp_path / name)
    assert load(tmp_path / "mixed", height=8).codec.shape == (6, 8, 8, 3)
    with pytest.raises(UserError, match="no embedded set 'moving'"):
        video.load(video.Config(source="moving"))


def test_metadata_and_own_splits(tmp_path):
    for split in ("train", "test"):
        fill(tmp_path / split, count=4)
        rows = [{"file_name": f"{i:03d}.gif", "label": "ab"[i % 2]} for i in range(4)]
        lines = "\n".join(map(json.dumps, rows))
        (tmp_path / split / "metadata.jsonl").write_text(lines)
    dataset = load(tmp_path)
    assert set(dataset.splits) == {"train", "test"} and dataset.codec.labels == ("a", "b")
    assert dataset.spec(4) == Spec(shape=(6, 8, 10, 3), classes=2)


# --- batches -----------------------------------------------------------------------------------


def test_a_batch_is_pure_and_all_frames_move_alike(digits):
    batch = video.train_batch(digits, seed=3, step=7, size=16)
    again = video.train_batch(digits, seed=3, step=7, size=16)
    helpers.assert_same(helpers.arrays(batch), helpers.arrays(again))
    assert batch["x"].shape == (16, 8, 16, 16, 1) and batch["augment"].shape == (16, 3)
    plain = video.load(video.Config(color="grey"))
    still = video.train_batch(plain, seed=3, step=7, size=16)["x"]
    for clip, other, (flip, right, down) in zip(still, batch["x"], batch["augment"], strict=True):
        clip = np.pad(clip, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        top, left = 1 - int(down), 1 - int(right)
        clip = clip[:, :, ::-1] if flip else clip
        np.testing.assert_array_equal(clip[:, top : top + 16, left : left + 16], other)


def test_every_clip_of_a_split_comes_once(digits):
    batches = list(video.eval_batches(digits, "test", size=100))
    x = np.concatenate([batch["x"] for batch in batches])
    mask = np.concatenate([batch["mask"] for batch in batches]).astype(bool)
    clips = video.samples(digits, "test")
    np.testing.assert_array_equal(digits.codec.decode(x[mask]), clips)
    with pytest.raises(UserError, match="no probes split"):
        next(video.eval_batches(digits, "probes", size=4))


def test_what_is_compared_is_the_clip(digits):
    clips = video.samples(digits, "probe")[:5]
    compared = digits.codec.compared(clips)
    assert compared.shape == (5, 16, 16, 8)
    np.testing.assert_array_equal(compared[..., 3], clips[:, 3, ..., 0])
    strips = digits.codec.visible(clips)
    assert strips.shape == (5, 16, 8 * 17 - 1, 1)
    np.testing.assert_array_equal(strips[:, :, 17:33], clips[:, 1])


def test_digits_move_as_thrown_and_their_takes_share_a_split(digits):
    shapes = [
        {frame[frame > 0].tobytes() for frame in video.samples(digits, split)[:, 0]}
        for split in ("train", "validation", "test", "probe")
    ]
    for i, one in enumerate(shapes):
        assert all(not one & other for other in shapes[i + 1 :])
    real = video.samples(digits, "test")[:64]
    how = {"room": 8.0, "fastest": 2.5}
    residual = motion.bounce_residual(motion.places(real), **how)
    assert residual.max() < 2**-0.5 + 0.1  # of rounding, half a pixel along each axis
    rng = np.random.default_rng(0)
    shuffled = np.stack([clip[rng.permutation(8)] for clip in real])
    assert motion.bounce_residual(motion.places(shuffled), **how).mean() > 4 * residual.mean()


# --- motion ------------------------------------------------------------------------------------


@quick
@given(st.integers(0, 2**32 - 1))
def test_what_bounces_has_no_residual(seed):
    rng = np.random.default_rng(seed)
    start, velocity = rng.uniform(0, 5, (7, 1, 2)), rng.uniform(-2, 2, (7, 1, 2))
    there = video_sources.bounce(start, velocity, np.arange(9)[:, None], 5.0)
    assert there.min() >= 0 and there.max() <= 5
    offset = rng.uniform(0, 3, (7, 1, 2))
    residual = motion.bounce_residual(there + offset, room=5.0, fastest=2.0)
    assert residual.max() < 0.12  # the step of the grid
    noise = rng.normal(0, 1, there.shape)
    assert motion.bounce_residual(there + noise, room=5.0, fastest=2.0).mean() > 0.5


def test_places_and_steadiness():
    clips = np.zeros((2, 3, 8, 8, 1), np.uint8)
    clips[0, :, 2, 5] = 200
    clips[0, 1, 4, 5] = 200
    found = motion.places(clips)
    np.testing.assert_allclose(found[0], [[2, 5], [3, 5], [2, 5]])
    np.testing.assert_allclose(found[1], 3.5)
    read = np.array([[1, 1, 1], [2, 2, 3], [4, 4, 4], [5, 5, 5]])
    assert motion.steady(read).value == 0.75
    assert motion.steady(read, np.array([1, 2, 4, 4])).value == 0.5
    with pytest.raises(UserError, match="2 frames"):
        motion.bounce_residual(np.zeros((1, 2, 2)), room=8.0, fastest=2.0)


# --- networks ----------------------------------------------------------------------------------


def random_params(module, x):
    """Of a layer whose own begin as zeros."""
    params = module.init(jax.random.key(0), x)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return tree.unflatten(
        [jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    )


@pytest.mark.parametrize("layer", ["attention", "convolution"])
def test_layers_along_time_see_one_place_of_one_clip(layer):
    F, shape = 5, (2 * 5, 2, 3, 8)
    if layer == "attention":
        module, reach = _time.TimeAttention(heads=2, frames=F), F
    else:
        module, reach = _time.TimeConvolution(frames=F), 1
    x = jax.random.normal(jax.random.key(2), shape)
    np.testing.assert_array_equal(module.apply(module.init(jax.random.key(0), x), x), x)
    params = random_params(module, x)
    frame, row, column = 1, 1, 2  # of the second clip

    def seen(x):
        return module.apply(params, x)[F + frame, row, column].sum()

    gradient = np.abs(jax.grad(seen)(x)).sum(-1)
    expected = np.zeros(shape[:-1], bool)
    for t in range(F):
        expected[F + t, row, column] = abs(t - frame) <= reach
    np.testing.assert_array_equal(gradient > 0, expected)


@pytest.mark.parametrize("network", ["unet", "dit"])
def test_a_denoiser_of_clips_takes_each_clip_for_itself(network):
    spec = Spec(shape=(4, 6, 10, 3), classes=3)
    cfg = diffusion.Config(network=network, width=8, levels=(1,), depth=1, heads=2, patch=2)
    state = diffusion.init(jax.random.key(0), cfg, spec, optax.sgd(0.1))
    keys = iter(jax.random.split(jax.random.key(1), 200))
    params = jax.tree.map(
        lambda leaf: leaf + 0.1 * jax.random.normal(next(keys), leaf.shape), state.params
    )
    x = jax.random.normal(jax.random.key(2), (3, 4, 6, 10, 3))
    sigma_B, label_B = jnp.array([0.5, 1.0, 2.0]), jnp.array([0, 2, 3])
    whole = diffusion.denoise(params, cfg, x, sigma_B, label_B)
    assert whole.shape == x.shape
    for i in range(3):
        alone = diffusion.denoise(params, cfg, x[i : i + 1], sigma_B[i : i + 1], label_B[i : i + 1])
        np.testing.assert_allclose(alone[0], whole[i], atol=2e-4)
    moved = diffusion.denoise(params, cfg, x[:, ::-1], sigma_B, label_B)
    assert np.abs(moved[:, ::-1] - whole).max() > 1e-3  # frames are told apart from one another


def test_what_cannot_make_clips_says_so():
    spec = Spec(shape=(4, 8, 8, 3))
    with pytest.raises(UserError, match="choose diffusion"):
        models.get("gan").init(jax.random.key(0), models.get("gan").Config(), spec, optax.sgd(0.1))
    cfg = diffusion.Config(width=6, levels=(1,), heads=2)
    with pytest.raises(UserError, match=r"twice --model\.heads 2"):
        diffusion.init(jax.random.key(0), cfg, spec, optax.sgd(0.1))


def test_a_family_of_tokens_refuses_arrays(tmp_path):
    experiment = Experiment(
        data=video.Config(path=str(fill(tmp_path / "v", count=30)), frames=6),
        model=models.get("lstm").Config(width=8, depth=1),
    )
    with pytest.raises(UserError, match="lstm makes tokens, and these data are arrays"):
        helpers.train(experiment, tmp_path / "run")


# --- a run -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("video")
    for label in ("left", "right"):
        fill(folder / label, count=60, shape=(8, 8, 3))
        for file in (folder / "left").iterdir() if label == "left" else ():
            clip = read(file)
            video_files.write(file, clip[:, :, ::-1].copy(), 0.1, {})
    return Experiment(
        data=video.Config(path=str(folder), frames=6, shift=1),
        model=TINY,
        optim=Optim(warmup=2, ema=0.9),
        train=Train(
            steps=4,
            batch=8,
            log_every=1,
            eval_every=2,
            eval_windows=8,
            save_every=2,
            sample_every=4,
        ),
    )


@pytest.fixture(scope="module")
def run(experiment, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert helpers.train(experiment, run) == 0
    return run


def test_resuming_is_bitwise(experiment, run, tmp_path):
    parted = tmp_path / "parted"
    assert helpers.train(experiment, parted, stop_at=2) == 0
    assert helpers.train(experiment, parted) == 0
    whole, other = (helpers.states(experiment, each)[4] for each in (run, parted))
    helpers.assert_same(whole, other)
    lines, others = (helpers.without_seconds(helpers.metrics(each)) for each in (run, parted))
    assert lines == others
    sheets = [(each / "samples" / "step_000004.png").read_bytes() for each in (run, parted)]
    assert sheets[0] == sheets[1]


def drawn(run, num=3, **request):
    model = generation.load(run)
    sampling = solvers.Solving(solver="euler", steps=3)
    asked = synthesis.Denoising(sampling=sampling, **request)
    return np.concatenate([part.images for part in synthesis.draw(model, asked, num=num, seed=5)])


def test_samples_do_not_depend_on_the_batch(run):
    whole = drawn(run, num=3)
    assert whole.shape == (3, 6, 8, 8, 3) and whole.dtype == np.uint8
    assert np.abs(drawn(run, num=1).astype(int) - whole[:1]).max() <= 1


def test_a_clip_goes_on_from_its_first_frames(run, tmp_path):
    clip = made(6, shape=(8, 8, 3), seed=4)
    video_files.write(tmp_path / "a.gif", clip, 0.1, {})
    going = drawn(run, image=str(tmp_path / "a.gif"), first=2)
    np.testing.assert_array_equal(going[:, :2], np.broadcast_to(clip[:2], (3, 2, 8, 8, 3)))
    assert (going[:, 2:] != clip[2:]).any() and (going[0, 2:] != going[1, 2:]).any()
    Image.fromarray(clip[0]).save(tmp_path / "a.png")
    going = drawn(run, image=str(tmp_path / "a.png"), first=1)
    np.testing.assert_array_equal(going[:, 0], np.broadcast_to(clip[0], (3, 8, 8, 3)))
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 4:] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    half = drawn(run, image=str(tmp_path / "a.gif"), mask=str(tmp_path / "m.png"))
    np.testing.assert_array_equal(
        half[:, :, :, :4], np.broadcast_to(clip[:, :, :4], (3, 6, 8, 4, 3))
    )
    (tmp_path / "text.gif").write_text("no video")
    for request, says in (
        ({"first": 2}, "--first needs --image"),
        ({"first": 6, "image": str(tmp_path / "a.gif")}, "choose 1 to 5 frames"),
        ({"first": -1, "image": str(tmp_path / "a.gif")}, "choose 1 to 5 frames"),
        ({"image": str(tmp_path / "text.gif")}, r"cannot read .*text\.gif"),
        ({"image": str(tmp_path / "none.mp4")}, r"cannot read .*none\.mp4"),
        ({"first": 1, "image": str(tmp_path / "a.gif"), "strength": 0.5}, "--strength goes with"),
    ):
        with pytest.raises(UserError, match=says):
            drawn(run, **request)


def test_sample_writes_gif_mp4_npz_and_a_sheet_that_plays(run, tmp_path):
    model, command = generation.load(run), output.COMMANDS["diffusion"]
    request = synthesis.Denoising(sampling=solvers.Solving(steps=2))

    def call(num, out, **flags):
        args = command.Args(request=request, num=num, out=str(tmp_path / out), **flags)
        return command.run(run, model, args)

    call(2, "folder")
    assert [path.name for path in sorted((tmp_path / "folder").iterdir())] == [
        "000000.gif",
        "000001.gif",
    ]
    about = video_files.read_about(tmp_path / "folder" / "000001.gif")
    assert about["seed"] == "1" and about["label"] in ("left", "right")
    call(2, "clips.mp4")
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == [
        "clips_000.mp4",
        "clips_001.mp4",
    ]
    call(1, "one.gif")
    assert video_files.length(tmp_path / "one.gif") == 6
    call(2, "all.npz")
    with np.load(tmp_path / "all.npz") as file:
        clips = file["images"]
    assert clips.shape == (2, 6, 8, 8, 3)
    back = read(tmp_path / "folder" / "000000.gif").astype(int)
    assert np.abs(back - clips[0]).mean() < 8  # a GIF has 256 colours a frame
    call(3, "sheet.gif", grid=True)
    assert 2 <= video_files.length(tmp_path / "sheet.gif") <= 6
    call(3, "sheet.png", grid=True)
    assert Image.open(tmp_path / "sheet.png").width > 6 * 8 * 6
    for out, flags, says in (
        ("a.png", {}, "--grid makes it a contact sheet"),
        ("a.wav", {}, r"choose a folder, or one of \.npz, \.gif, \.mp4"),
        ("a.mp4", {"grid": True}, r"--grid writes a \.png or a \.gif"),
    ):
        with pytest.raises(UserError, match=says):
            call(2, out, **flags)


# --- the judge ---------------------------------------------------------------------------------


def flat(items):
    return items.reshape(len(items), -1).astype(np.float32)


@pytest.mark.parametrize("move", ["later", "sooner", "backwards", "mirrored"])
def test_a_copy_in_another_time_is_found(move):
    rng = np.random.default_rng(0)
    train = rng.integers(0, 256, (40, 6, 6, 8 * 3), np.uint8)
    train[..., :3], train[..., -3:] = train[..., 3:6], train[..., -6:-3]  # still at both ends
    order = np.arange(8)
    order = {"later": order - 1, "sooner": order + 1, "backwards": order[::-1]}.get(move, order)
    copies = spaces.reordered(train[:10], order.clip(0, 7), 3)
    copies = copies[:, :, ::-1] if move == "mirrored" else copies
    space = spaces.build("pixels", flat, spaces.clip_moves(3), train, train[:0], train[:0])
    found = spaces.nearness(space, copies, space.features(copies))
    assert found.train_N.tolist() == list(range(10))
    assert np.allclose(found.distance_N, 0, atol=1e-3)


def test_frames_and_motion_are_two_sides_of_a_clip(digits):
    clips = digits.codec.compared(video.samples(digits, "test")[:40])
    spoilt = anchors.clip_spoilers(1)["shuffled frames"](clips, np.random.default_rng(0))
    sides = features.of_clips(digits.codec.shape)
    np.testing.assert_allclose(sides["frames"](spoilt), sides["frames"](clips), atol=1e-4)
    assert np.abs(sides["motion"](spoilt) - sides["motion"](clips)).max() > 0.1
    still = anchors.clip_spoilers(1)["still"](clips, np.random.default_rng(0))
    assert (still == clips[..., :1]).all()


def test_a_run_is_judged_by_frames_and_motion_and_played(run, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "STEPS", (20, 40))
    request = evaluation.request_of([run])
    report = evaluation.of_run(run, request, evaluation.Config(num=40))
    assert report.kind == "video" and report.metrics["label_accuracy"].n == 40
    assert {"likeness_par_frames", "likeness_par_motion"} <= report.metrics.keys()
    first = report.gallery.unselected[0].picture
    assert first.startswith("data:image/gif;base64,")
    image = Image.open(io.BytesIO(base64.b64decode(first.partition(",")[2])))
    assert image.n_frames > 1
    assert report.gallery.copied[0].train.picture != first
    shuffled, real = report.anchors["shuffled frames"], report.anchors["held-out"]
    assert shuffled.profile["quality"].value < real.profile["quality"].value
    page = render.render(report)
    assert "Held-out clips with their frames in random order" in page


def test_real_clips_are_shown_as_themselves_though_equal_ones_are_compared_once():
    raw = np.array(["a", "a", "b"])
    train = judging_pictures.Pictures(np.zeros((3, 2, 2, 4), np.uint8), None, raw)
    on = types.SimpleNamespace(
        material=types.SimpleNamespace(
            train=train, codec=types.SimpleNamespace(exhibit=lambda clip: {"text": str(clip)})
        ),
        yardstick=types.SimpleNamespace(pool=np.array([0, 2])),  # without the second of the same
        reference=train,
    )
    assert judging_pictures._fields(on, train)("train", 1) == {"text": "b"}


def test_the_pool_says_which_training_items_are_compared():
    rng = np.random.default_rng(0)
    items = rng.integers(0, 256, (40, 4, 4, 2), np.uint8)
    items[7] = items[3]
    y = yardsticks.yardstick(
        train=items,
        reference=items[:0],
        heldout=items[:0],
        features={"pixels": flat},
        domain="pixels",
        size=10,
    )
    assert len(y.pool) == 39 and not {3, 7} <= set(y.pool.tolist())
    np.testing.assert_array_equal(y.train, items[y.pool])
