import base64
import io
import math

import helpers
import jax
import numpy as np
import optax
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax import evaluation, features, generation, models, output
from creagen_jax.config import Experiment, Train
from creagen_jax.creativity import report as render
from creagen_jax.creativity import spaces
from creagen_jax.data import audio, audio_files
from creagen_jax.data.audio_forms import LogMel, from_mu_law, mu_law
from creagen_jax.data.audio_sources import PEAK, TIMBRES, read_tone, tone
from creagen_jax.models import diffusion, lstm
from creagen_jax.types import Spec, UserError

ALL = {"validation": 0.0, "test": 0.0, "probe": 0.0}
SHORT = {"rate": 4000, "seconds": 0.16, "hop": 40, "window": 128, "bands": 32}
FINE = LogMel(rate=8000, hop=80, window=256, bands=128)
quick = settings(deadline=None, max_examples=20)


def sound(pitch=60.0, timbre="sawtooth", rate=8000, seconds=0.25, **how):
    """A tone whose peak is a half."""
    wave = tone(pitch, timbre, rate=rate, samples=int(seconds * rate), **how)
    return wave * (0.5 / np.abs(wave).max())


def write(path, wave, rate=8000, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, **how)
    return path


def fill(folder, count=6, **how):
    """A folder of tones of different pitches, a semitone apart."""
    for i in range(count):
        write(folder / f"{i:03d}.wav", sound(48 + i % 24, phase=i // 24 / 7), **how)
    return folder


def load(path, **fields):
    return audio.load(audio.Config(path=str(path), **{**ALL, **SHORT, **fields}))


def waves(dataset):
    return audio.samples(dataset, "train")


@pytest.fixture(scope="module")
def tones():
    return audio.load(audio.Config(**SHORT, shift=0.02))


@pytest.fixture(scope="module")
def tokens():
    return audio.load(audio.Config(form="tokens", rate=4000, seconds=0.128))


# --- mu-law ------------------------------------------------------------------------------------


def test_every_level_comes_back():
    levels = np.arange(256)
    wave = from_mu_law(levels)
    np.testing.assert_array_equal(mu_law(wave), levels)
    assert (np.diff(wave) > 0).all() and wave[0] == -1 and wave[-1] == 1


@quick
@given(st.floats(-1, 1, width=32))
def test_mu_law_is_the_nearest_on_its_curve(x):
    curve = math.copysign(math.log(1 + 255 * abs(x)) / math.log(256), x)
    level = int(mu_law(np.array([x]))[0])
    assert abs((curve + 1) / 2 * 255 - level) <= 0.5 + 1e-3
    # Half a step of the curve, whose slope at x is 255 / (1 + 255 |x|) / ln 256.
    step = 2 / 255 * (1 + 255 * abs(x)) / 255 * math.log(256)
    assert abs(from_mu_law(np.array([level]))[0] - x) <= 0.52 * step


def test_mu_law_clips_what_is_too_loud():
    np.testing.assert_array_equal(mu_law(np.array([-7, 7, np.inf])), [0, 255, 255])


# --- spectrograms ------------------------------------------------------------------------------


def test_the_transform_is_inverted_exactly():
    wave = np.random.default_rng(0).normal(size=(2, 1600)).astype(np.float32)
    np.testing.assert_allclose(FINE._inverse(FINE._stft(wave)), wave, atol=1e-4)


def test_a_spectrogram_is_what_plain_sums_give():
    mel = LogMel(rate=1000, hop=10, window=32, bands=6)
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, 100).astype(np.float32)
    t, begin = 4, 4 * 10 - (32 - 10) // 2
    n = np.arange(32)
    frame = wave[begin : begin + 32] * (0.5 - 0.5 * np.cos(2 * np.pi * n / 32))
    power = [abs((frame * np.exp(-2j * np.pi * f * n / 32)).sum()) ** 2 for f in range(17)]

    def hertz(m):
        top = 2595 * math.log10(1 + 500 / 700)
        return 700 * (10 ** (m / 7 * top / 2595) - 1)

    for m in range(1, 7):
        low, centre, high = (hertz(each) for each in (m - 1, m, m + 1))
        rise, fall = max(centre - low, 1000 / 32), max(high - centre, 1000 / 32)
        away = [f * 1000 / 32 - centre for f in range(17)]
        weight = [max(0, 1 + a / rise if a < 0 else 1 - a / fall) for a in away]
        mean = np.dot(weight, power) / sum(weight)
        wanted = 1 + 2 * 10 * math.log10(mean / (32 / 4) ** 2) / 80
        assert mel.encode(wave)[m - 1, t] == pytest.approx(wanted, abs=1e-3)


def test_the_scale_is_in_decibels():
    wave = tone(69, "sine", rate=8000, samples=5120)
    loud, soft = FINE.encode(wave), FINE.encode(wave / 10)
    assert 0.9 < loud.max() <= 1
    sounding = soft > -1
    np.testing.assert_allclose((loud - soft)[sounding & (loud < 1)], 0.5, atol=1e-3)
    assert len(set(loud[:, 2:-2].argmax(0))) == 1
    assert (FINE.encode(np.zeros(800)) == -1).all()
    assert (FINE.decode(np.full((128, 10), -1)) == 0).all()


@pytest.mark.parametrize("timbre", TIMBRES)
def test_pitch_and_timbre_survive_the_spectrogram(timbre):
    pitches = range(48, 72, 5)
    wave = np.stack([sound(p, timbre, seconds=0.64, phase=0.3, decay=2) for p in pitches])
    values = np.round(FINE.encode(wave) * 127) / 127
    back = FINE.decode(values)
    assert back.shape == wave.shape and back.dtype == np.float32
    for pitch, each in zip(pitches, back, strict=True):
        heard = read_tone(each, 8000)
        assert heard.timbre == timbre
        assert heard.pitch == pytest.approx(pitch, abs=0.11)
        assert heard.clear > 0.7
    assert np.abs(FINE.encode(back) - values).mean() * 40 < 2.5  # decibels


def test_a_wave_does_not_depend_on_the_others():
    values = np.random.default_rng(0).uniform(-1, 1, (3, 128, 8))
    np.testing.assert_allclose(FINE.decode(values)[1], FINE.decode(values[1]), atol=1e-4)


@quick
@given(
    st.integers(1, 20), st.sampled_from([8000, 44_100]), st.integers(8, 60), st.integers(0, 2**20)
)
def test_any_values_become_a_finite_wave(frames, rate, bands, seed):
    mel = LogMel(rate, hop=32, window=128, bands=bands)
    values = np.random.default_rng(seed).normal(scale=2, size=(bands, frames))
    wave = mel.decode(values)
    assert wave.shape == (32 * frames,) and np.isfinite(wave).all()
    assert np.isfinite(mel.encode(wave)).all()


# --- the oracle --------------------------------------------------------------------------------


@quick
@given(st.floats(48, 71), st.sampled_from(list(TIMBRES)), st.floats(0, 1), st.floats(0, 3))
def test_the_oracle_hears_what_was_made(pitch, timbre, phase, decay):
    heard = read_tone(sound(pitch, timbre, seconds=0.5, phase=phase, decay=decay), 8000)
    assert heard.pitch == pytest.approx(pitch, abs=0.02)
    assert heard.timbre == timbre
    assert heard.clear > 0.9  # 1 for a steady tone


def test_the_oracle_hears_no_tone_in_noise_or_silence():
    noise = np.random.default_rng(0).normal(size=4000)
    assert read_tone(noise, 8000).clear < 0.1
    assert read_tone(np.zeros(4000), 8000).clear == 0
    half = sound(60, seconds=0.5) / 0.3 + noise[:4000]
    assert 0.1 < read_tone(half, 8000).clear < 0.9


def test_tones_are_what_their_labels_say(tones):
    assert tones.codec.labels == tuple(sorted(TIMBRES))
    assert sum(len(split.images) for split in tones.splits.values()) == 24 * 4 * 8
    ids = tones.splits["test"].labels
    for wave, label in list(zip(audio.samples(tones, "test"), ids, strict=True))[:30]:
        assert read_tone(wave, 4000).timbre == tones.codec.labels[label]
    pitches = audio.load(audio.Config(source="pitches", **{**SHORT, "seconds": 0.64}))
    for wave, label in list(
        zip(audio.samples(pitches, "test"), pitches.splits["test"].labels, strict=True)
    )[:30]:
        assert read_tone(wave, 4000).pitch == pytest.approx(
            int(pitches.codec.labels[label]), abs=0.11
        )


# --- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, how",
    [
        ("8.wav", {"subtype": "PCM_U8"}),
        ("16.wav", {"subtype": "PCM_16"}),
        ("24.wav", {"subtype": "PCM_24"}),
        ("float.wav", {"subtype": "FLOAT"}),
        ("double.wav", {"subtype": "DOUBLE"}),
        ("x.flac", {}),
        ("x.OGG", {"format": "OGG"}),
        ("音 🥁.wav", {}),
    ],
)
@pytest.mark.parametrize("rate", [4000, 11_025])
def test_every_format_and_rate_becomes_the_same_clip(tmp_path, name, how, rate):
    fill(tmp_path)
    write(tmp_path / "zzz" / name, sound(69, "sine", rate), rate, **how)
    dataset = load(tmp_path, labels=False)
    assert not dataset.fingerprint["damaged"]
    found, wanted = waves(dataset)[-1], sound(69, "sine", 4000)[:640]
    error = found - wanted * found.max() / wanted.max()
    assert (error[20:-20] ** 2).mean() < 1e-3 * (found**2).mean()
    assert np.abs(found).max() == pytest.approx(PEAK, abs=1e-4)


@pytest.mark.parametrize("scale", [1e-5, 30, 1e30])
def test_clips_are_equally_loud(tmp_path, scale):
    for i in range(3):
        write(tmp_path / f"{i}.wav", sound(50 + i) * np.float32(scale), subtype="FLOAT")
    np.testing.assert_allclose(np.abs(waves(load(tmp_path))).max(1), PEAK, atol=1e-4)


def test_channels_are_mixed_or_doubled(tmp_path):
    left, right = sound(60, "sine"), sound(67, "sine")
    fill(tmp_path)
    write(tmp_path / "zzz.wav", np.stack([left, right], 1))
    mono = load(tmp_path, rate=8000)
    assert waves(mono).shape == (7, 1280)
    mix = (left + right)[:1280]
    np.testing.assert_allclose(waves(mono)[-1], mix * (PEAK / np.abs(mix).max()), atol=2e-3)
    stereo = load(tmp_path, rate=8000, channels="stereo")
    assert stereo.spec(2).shape == (32, 32, 2)
    first, last = waves(stereo)[0], waves(stereo)[-1]
    np.testing.assert_array_equal(first[:, 0], first[:, 1])
    assert read_tone(last[:, 0], 8000).pitch == pytest.approx(60, abs=0.1)
    back = stereo.codec.decode(stereo.codec.encode(waves(stereo)))
    assert back.shape == (7, 1280, 2)
    assert read_tone(back[-1][:, 0], 8000).pitch == pytest.approx(60, abs=0.3)
    assert read_tone(back[-1][:, 1], 8000).pitch == pytest.approx(67, abs=0.3)


def test_short_ones_end_in_silence_and_long_ones_are_cut(tmp_path):
    fill(tmp_path, 3)
    write(tmp_path / "a.wav", sound(60, rate=4000, seconds=0.1), 4000)
    write(tmp_path / "b.wav", sound(60, rate=4000, seconds=2), 4000)
    short, long = waves(load(tmp_path))[-2:]
    assert (short[400:] == 0).all() and (short[300:399] != 0).any()
    np.testing.assert_allclose(short[:400], long[:400] * (short.max() / long.max()), atol=2e-3)
    assert (long[-50:] != 0).any()


def test_silence_at_the_ends_is_left_out_if_asked(tmp_path):
    fill(tmp_path, 3)
    still = np.random.default_rng(0).normal(scale=1e-4, size=3000)
    write(tmp_path / "zzz.wav", np.concatenate([still, sound(60, "square"), still]))
    kept, trimmed = (waves(load(tmp_path, rate=8000, trim=trim))[-1] for trim in (False, True))
    tone_only = sound(60, "square")[:1280]
    tone_only = tone_only[np.argmax(np.abs(tone_only) > 0.005) :]
    assert np.abs(kept).argmax() != np.abs(trimmed).argmax()
    np.testing.assert_allclose(
        trimmed[: len(tone_only)], tone_only * (PEAK / 0.5), atol=5e-3, rtol=5e-2
    )
    assert read_tone(trimmed, 8000).clear > 0.9 > read_tone(kept, 8000).clear


def damage(path, kind):
    wave = sound()
    if kind == "empty":
        write(path, wave[:0])
    elif kind == "nan":
        wave[7] = np.nan
        write(path, wave, subtype="FLOAT")
    elif kind == "infinite":
        wave[7] = np.inf
        write(path, wave, subtype="FLOAT")
    elif kind == "silent":
        write(path, 0 * wave)
    elif kind == "no sound":
        path.write_bytes(b"RIFF and then nothing that is sound")
    elif kind == "no bytes":
        path.write_bytes(b"")
    else:
        write(path, wave)
        path.write_bytes(path.read_bytes()[:30])


DAMAGE = ("empty", "nan", "infinite", "silent", "no sound", "no bytes", "torn")


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_files_are_named(tmp_path, kind):
    damage(fill(tmp_path) / "坏.wav", kind)
    with pytest.raises(UserError, match=r"1 of 7 .* damaged: 坏\.wav \(.+\)") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_few_damaged_files_are_skipped_and_counted(tmp_path):
    damage(fill(tmp_path, 110) / "坏.wav", "nan")
    dataset = load(tmp_path)
    assert dataset.fingerprint["damaged"] == ["坏.wav"]
    assert "1 damaged: 坏.wav" in audio.describe(dataset)
    assert len(waves(dataset)) == 110


def test_a_folder_of_every_kind_at_once(tmp_path):
    """Classes and files with Chinese names, rates and depths mixed, and two files beyond repair."""
    kinds = [(8000, "PCM_U8"), (44_100, "PCM_24"), (8000, "FLOAT"), (44_100, "PCM_16")]
    for label in ("钟声", "雨"):
        for i in range(120):
            rate, subtype = kinds[i % 4]
            wave = sound(60 if label == "雨" else 67, "sine", rate)
            write(tmp_path / label / f"录音 {i:03d}.wav", wave, rate, subtype=subtype)
    for kind in ("empty", "nan"):
        damage(tmp_path / "雨" / f"坏 {kind}.wav", kind)
    dataset = load(tmp_path)
    assert dataset.codec.labels == ("钟声", "雨")
    assert np.bincount(dataset.splits["train"].labels).tolist() == [120, 120]
    said = audio.describe(dataset)
    assert "2 damaged" in said and "坏 empty.wav" in said and "坏 nan.wav" in said
    for wave, label in zip(waves(dataset)[::13], dataset.splits["train"].labels[::13], strict=True):
        assert read_tone(wave, 4000).pitch == pytest.approx((67, 60)[label], abs=0.1)
    for kind in DAMAGE[2:]:  # and too many of them are refused
        damage(tmp_path / "雨" / f"坏 {kind}.wav", kind)
    with pytest.raises(UserError, match=r"7 of 247 .* damaged: 雨/坏") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_folders_are_classes_and_may_be_splits(tmp_path):
    for split, count in (("train", 4), ("test", 2)):
        for label in ("10", "9", "铃"):
            fill(tmp_path / split / label, count, **{"subtype": "PCM_24"})
    write(tmp_path / "train" / ".hidden" / "x.wav", sound())
    dataset = load(tmp_path, test=0.3)
    assert dataset.codec.labels == ("9", "10", "铃")
    assert {name: len(split.images) for name, split in dataset.splits.items()} == {
        "train": 12,
        "test": 6,
    }
    np.testing.assert_array_equal(np.bincount(dataset.splits["test"].labels), [2, 2, 2])
    assert load(tmp_path, labels=False).codec.labels == ()


def test_copies_of_a_recording_share_a_split(tmp_path):
    fill(tmp_path / "a", 40)
    fill(tmp_path / "b", 40, subtype="PCM_16")
    for file in sorted((tmp_path / "a").glob("*.wav")):
        write(tmp_path / "c" / f"{file.stem}.flac", soundfile.read(file)[0])
    dataset = load(tmp_path, validation=0.4)
    found = [
        {wave.tobytes() for wave in audio.samples(dataset, name)}
        for name in ("train", "validation")
    ]
    assert found[0] and found[1] and not found[0] & found[1]
    assert sum(map(len, found)) == 40
    assert dataset.fingerprint["splits"]["validation"]["also_in_train"] == 0


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"path": "nowhere"}, "no such file or folder"),
        ({"path": ""}, None),
        ({"source": "tunes"}, "no embedded set 'tunes'; did you mean 'tones'"),
        ({"rate": 0}, "--data.rate is 0"),
        ({"hop": 200}, "--data.window 128 is too short for --data.hop 200; choose 400"),
        ({"bands": 65}, "--data.bands 65 .* choose up to 64"),
        ({"seconds": 0.0001}, "shorter than one frame"),
        ({"shift": 0.2}, "--data.shift 0.2 must be"),
        ({"shift": -0.1}, "--data.shift -0.1 must be"),
        ({"form": "tokens", "channels": "stereo"}, "form tokens is for mono"),
        ({"form": "tokens", "shift": 0.01}, "form tokens is for mono"),
        ({"validation": 1.0}, "leave something for training"),
    ],
)
def test_mistakes_are_one_line(fields, message):
    cfg = audio.Config(**{**SHORT, **fields})
    if message is None:
        assert audio.load(cfg).fingerprint["source"] == "tones"
        return
    with pytest.raises(UserError, match=message) as error:
        audio.load(cfg)
    assert "\n" not in str(error.value)


def test_what_is_no_folder_of_sound(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"holds no .*wav.* file"):
        load(tmp_path)
    with pytest.raises(UserError, match=r"is one file; choose a folder"):
        load(write(tmp_path / "a.wav", sound()))


def test_large_sets_are_kept_in_a_file(tmp_path, monkeypatch):
    folder, cache = fill(tmp_path / "a"), tmp_path / "cache"
    small = load(folder)
    monkeypatch.setattr(audio.image_store, "MEMORY_BYTES", 100)
    cfg = audio.Config(path=str(folder), **ALL, **SHORT)
    for _ in range(2):
        large = audio.load(cfg, cache=cache)
        assert isinstance(large.splits["train"].images, np.memmap)
        np.testing.assert_array_equal(waves(large), waves(small))
        assert large.fingerprint == small.fingerprint
        same = audio.train_batch(large, seed=0, step=0, size=4)
        np.testing.assert_array_equal(
            same["x"], audio.train_batch(small, seed=0, step=0, size=4)["x"]
        )


# --- batches -----------------------------------------------------------------------------------


def test_batches_are_pure_and_an_epoch_holds_every_clip_once(tmp_path):
    dataset = load(fill(tmp_path, 12))
    batches = [audio.train_batch(dataset, seed=1, step=step, size=4)["x"] for step in range(3)]
    assert batches[0].shape == (4, 32, 16, 1) and batches[0].dtype == np.float32
    every = dataset.codec.encode(waves(dataset)[..., None])
    assert {x.tobytes() for x in np.concatenate(batches)} == {x.tobytes() for x in every}
    again = audio.train_batch(dataset, seed=1, step=2, size=4)["x"]
    np.testing.assert_array_equal(again, batches[2])
    assert not np.array_equal(audio.train_batch(dataset, seed=2, step=2, size=4)["x"], again)


def test_eval_batches_hold_every_clip_once(tones):
    count = audio.windows(tones, "validation")
    batches = list(audio.eval_batches(tones, "validation", size=50))
    assert {batch["x"].shape for batch in batches} == {(50, 32, 16, 1)}
    mask = np.concatenate([batch["mask"] for batch in batches])
    assert mask.sum() == count and (mask[:count] == 1).all()
    x = np.concatenate([batch["x"] for batch in batches])[:count]
    wave = audio.samples(tones, "validation")
    np.testing.assert_allclose(x, tones.codec.encode(wave[..., None]), atol=1e-5)
    condition = np.concatenate([batch["condition"] for batch in batches])[:count]
    np.testing.assert_array_equal(condition, tones.splits["validation"].labels)
    assert all((batch["augment"] == 0).all() for batch in batches)
    few = list(audio.eval_batches(tones, "validation", size=50, limit=3))
    assert sum(batch["mask"].sum() for batch in few) == 3
    with pytest.raises(UserError, match="has no other split; choose one of train"):
        next(audio.eval_batches(tones, "other", size=2))


def test_a_batch_says_how_far_each_clip_was_moved(tones, tmp_path):
    batch = audio.train_batch(tones, seed=0, step=0, size=64)
    assert batch["augment"].shape == (64, 1) and tones.spec(2).augment == 1
    assert np.abs(batch["augment"]).max() <= 1 and batch["augment"].std() > 0.3
    for i in range(3):  # a click, and nothing else
        write(tmp_path / f"{i}.wav", np.eye(1, 640, 300 + 9 * i)[0], 4000)
    clicks = load(tmp_path, shift=0.05)
    for step in range(4):
        batch = audio.train_batch(clicks, seed=0, step=step, size=3)
        power = 10 ** (batch["x"][..., 0].max(1) * 4)
        frame = (power * np.arange(16)).sum(1) / power.sum(1)
        place = (frame + 0.5) * 40 - batch["augment"][:, 0] * 0.05 * 4000
        assert ((place > 280) & (place < 340)).all()


@quick
@given(st.integers(-20, 20))
def test_moving_leaves_silence(steps):
    wave = np.arange(1.0, 16.0)[:, None]
    moved = audio._moved(wave, steps)
    place = np.arange(15) - steps
    inside = (place >= 0) & (place < 15)
    np.testing.assert_array_equal(moved[:, 0], np.where(inside, place + 1, 0))


def test_tokens_are_samples(tokens):
    assert tokens.spec(8) == Spec(vocab=257, length=512, classes=4)
    batch = audio.train_batch(tokens, seed=0, step=0, size=8)
    x = batch["x"]
    assert x.shape == (8, 513) and x.dtype == np.int32 and batch["mask"].shape == (8, 512)
    assert (x[:, 0] == 0).all() and x[:, 1:].min() >= 1 and x.max() <= 256
    every = {wave.tobytes() for wave in from_mu_law(mu_law(audio.samples(tokens, "train")))}
    assert {wave.tobytes() for wave in tokens.codec.decode(x[:, 1:])} <= every
    batches = list(audio.eval_batches(tokens, "test", size=64))
    assert sum(batch["mask"].sum() for batch in batches) == 512 * audio.windows(tokens, "test")
    with pytest.raises(ValueError, match="1 to 256"):
        tokens.codec.decode(x)


def test_tokens_can_come_in_order(tmp_path):
    dataset = load(fill(tmp_path, 5), form="tokens", order="sequential", seconds=0.02)
    steps = [audio.train_batch(dataset, seed=0, step=step, size=2) for step in range(4)]
    x = np.concatenate([batch["x"] for batch in steps])
    mask = np.concatenate([batch["mask"] for batch in steps])
    wave = np.append(waves(dataset), waves(dataset)[:2] * 0, axis=0)[[0, 1, 2, 3, 4, 5, 0, 1]]
    assert mask[:5].all() and not mask[5].any() and mask[6:].all()
    kept = [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(x[kept, 1:] - 1, mu_law(wave[kept]))
    np.testing.assert_array_equal(x[6:], x[:2])


# --- what a run keeps --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tones", "tokens"])
def test_a_codec_comes_back_from_its_folder(tmp_path, request, name):
    dataset = request.getfixturevalue(name)
    audio.save(dataset, tmp_path / "data")
    codec = audio.load_codec(tmp_path / "data")
    assert codec == dataset.codec and hash(codec) == hash(dataset.codec)
    assert codec.label_id("organ") == 0
    with pytest.raises(UserError, match="no label 'orgen'; did you mean 'organ'"):
        codec.label_id("orgen")
    with pytest.raises(UserError, match=r"no codec\.json"):
        audio.load_codec(tmp_path)


def test_decoding_is_never_too_loud(tones):
    x = np.random.default_rng(0).normal(scale=3, size=(2, 3, 32, 16, 1))
    wave = tones.codec.decode(x)
    assert wave.shape == (2, 3, 640) and wave.dtype == np.float32
    assert np.isfinite(wave).all() and np.abs(wave).max() <= PEAK + 1e-6


def test_a_file_is_read_as_the_training_was(tmp_path, tones, tokens):
    path = write(tmp_path / "曲.wav", sound(60, seconds=0.05))
    x = tones.codec.read(path)
    assert x.shape == (32, 16, 1)
    assert read_tone(tones.codec.decode(x)[:200], 4000).pitch == pytest.approx(60, abs=0.5)
    prompt = tokens.codec.encode_prompt(str(path))
    assert prompt.dtype == np.int32 and prompt[0] == 0 and 195 <= len(prompt) <= 201
    np.testing.assert_array_equal(tokens.codec.encode_prompt(""), [0])
    damage(path, "torn")
    for read in (tones.codec.read, tokens.codec.encode_prompt):
        with pytest.raises(UserError, match=r"cannot read .*曲\.wav"):
            read(str(path))
    with pytest.raises(UserError, match="--mask"):
        tones.codec.read_mask("x.png")


@pytest.mark.parametrize("family", ["diffusion", "gan"])
def test_families_take_the_array_as_it_is(family, tones):
    module, spec, tx = models.get(family), tones.spec(8), optax.sgd(0.1)
    cfg = module.Config(width=8, levels=(1, 2))

    def step(batch):
        state = module.init(jax.random.key(0), cfg, spec, tx)
        return module.make_step(cfg, spec, tx)(state, batch, jax.random.key(1))[1]

    metrics = jax.eval_shape(step, audio.train_batch(tones, seed=0, step=0, size=8))
    assert metrics and all(value.shape == () for value in metrics.values())


# --- writing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
def test_a_wav_says_where_it_comes_from(tmp_path, channels):
    wave = np.tile(sound()[:, None], channels).squeeze() * 4  # beyond full scale
    about = {"label": "零", "creagen_jax": '{"seed": 1}' * 2000}
    path = tmp_path / "new folder" / "声.wav"
    audio_files.write_wav(path, wave, 8000, about)
    assert audio_files.read_about(path) == about
    back, rate = soundfile.read(path, dtype="float32")
    assert rate == 8000 and back.shape == wave.shape
    np.testing.assert_allclose(back, wave.clip(-1, 1), atol=1e-4)
    assert not list(path.parent.glob("*.part"))
    assert audio_files.read_about(write(tmp_path / "other.wav", sound())) == {}
    (tmp_path / "occupied").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        audio_files.write_wav(tmp_path / "occupied" / "x.wav", wave, 8000, {})


def test_samples_are_numbered_on(tmp_path):
    about = [{"seed": str(i)} for i in range(4)]
    clips = np.stack([sound(50 + i) for i in range(4)])
    with audio_files.folder_writer(tmp_path, 8000) as writer:
        writer.add(clips[:3], None, about[:3])
        writer.add(clips[3:], None, about[3:])
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"{i:06d}.wav" for i in range(4)]
    assert [audio_files.read_about(file) for file in files] == about
    np.testing.assert_allclose(soundfile.read(files[3])[0], clips[3], atol=1e-4)


@pytest.mark.parametrize("rate", [4000, 44_100])
def test_a_spectrogram_shows_pitch_and_time(rate):
    low, high = (sound(pitch, "sine", rate) for pitch in (48, 71))
    picture = audio_files.spectrogram(np.concatenate([low, high]), rate)
    assert picture.shape == (64, 50, 3) and picture.dtype == np.uint8
    bright = picture.sum(2, dtype=int).argmax(0)
    assert (bright[2:23] > bright[27:48].max()).all()  # row 0 is the highest band
    assert audio_files.spectrogram(np.zeros((7, 2)), rate).max() < 10
    both = audio_files.spectrograms(np.stack([low, high]), rate)
    np.testing.assert_array_equal(both[1], audio_files.spectrogram(high, rate))


# --- evaluation ----------------------------------------------------------------------------------


def test_a_copy_that_begins_later_is_found():
    rng = np.random.default_rng(0)
    train = np.zeros((40, 8, 32, 1), np.uint8)
    train[:, :, 8:20] = rng.integers(0, 256, (40, 8, 12, 1))
    later = np.roll(train[:10], 4, axis=2)

    def flat(items):
        return items.reshape(len(items), -1).astype(np.float32)

    found = {}
    for name, moves in {"search": spaces.SOUND_MOVES, "none": ()}.items():
        space = spaces.build("pixels", flat, moves, train, train[:0], train[:0])
        found[name] = spaces.nearness(space, later, space.features(later))
    assert found["search"].train_N.tolist() == list(range(10))
    assert np.allclose(found["search"].distance_N, 0, atol=1e-3)
    assert (found["none"].distance_N > 100).all()


@pytest.mark.usefixtures("optimised")
@pytest.mark.parametrize("form", ["array", "tokens"])
def test_a_run_is_judged_and_played(form, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "STEPS", (20, 40))
    model = lstm.Config(width=8, depth=1)
    if form == "array":
        model = diffusion.Config(network="dit", width=8, depth=1, heads=2, patch=4)
    experiment = Experiment(
        data=audio.Config(**SHORT, form=form),
        model=model,
        train=Train(steps=2, batch=8, eval_every=2, eval_windows=8, save_every=2, sample_every=2),
    )
    run = tmp_path / "run"
    assert helpers.train(experiment, run) == 0
    assert len(list((run / "samples").glob("step_*.png"))) == 1
    command, model_ = output.COMMANDS[generation.kind(run)], generation.load(run)
    with pytest.raises(UserError, match="must be a folder"):
        command.run(run, model_, command.Args(num=2, out=str(tmp_path / "a.mid")))
    command.run(run, model_, command.Args(num=2, out=str(tmp_path / "waves")))
    assert [path.suffix for path in sorted((tmp_path / "waves").iterdir())] == [".wav", ".wav"]
    request = evaluation.request_of([run])
    report = evaluation.of_run(run, request, evaluation.Config(num=60))
    assert report.kind == "sound" and report.metrics["label_accuracy"].n == 60
    first = report.gallery.unselected[0]
    kind, _, coded = first.sound.partition(",")
    wave, rate = soundfile.read(io.BytesIO(base64.b64decode(coded)))
    assert kind == "data:audio/wav;base64" and rate == SHORT["rate"] and len(wave)
    assert report.gallery.copied[0].train.sound != first.sound
    page = render.render(report)
    assert page.count("<audio") >= 60 and "Press one to hear it" in page


def test_an_mp3_sounds_like_the_wave_and_is_smaller():
    wave = sound(60, rate=8000, seconds=2.0)
    uris = audio_files.mp3_uri(wave, 8000), audio_files.wav_uri(wave, 8000)
    kind, _, coded = uris[0].partition(",")
    back, rate = soundfile.read(io.BytesIO(base64.b64decode(coded)))
    assert kind == "data:audio/mpeg;base64" and rate == 8000 and 5 * len(uris[0]) < len(uris[1])
    assert read_tone(back[4000:8000], 8000).pitch == pytest.approx(60, abs=0.1)
