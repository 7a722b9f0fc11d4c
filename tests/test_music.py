"""Music: exact round trips, a grammar that allows nothing else, counts, keys, files."""

import base64
import io
import itertools
import json
import shutil
import sys

import helpers
import jax
import jax.numpy as jnp
import mido
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from creagen_jax import evaluation, generation, output
from creagen_jax.config import Experiment, Train, replace
from creagen_jax.creativity import report as render
from creagen_jax.data import (
    fluidsynth,
    music,
    music_files,
    music_sources,
    music_tokens,
    tokenizers,
)
from creagen_jax.data.music_tokens import DURATION, ONSET, PART, PITCH, Form, piece
from creagen_jax.data.tokenizers import END
from creagen_jax.models import lstm, markov, seq2seq
from creagen_jax.sampling import grammar
from creagen_jax.types import UserError

quick = settings(deadline=None, max_examples=30)
FORMS = {
    "chords": Form("chords", 1),
    "voices": Form("voices", 4),
    "soprano": Form("voices", 2, "s"),
    "events": Form("events", 4),
}
every = pytest.mark.parametrize("name", FORMS)


def tune(seed, length=24):
    """Four voices of notes of 1 to 4 steps, sometimes with rests."""
    rng, notes = np.random.default_rng(seed), []
    up = int(rng.integers(6))  # so that most can be moved within the range of all
    for part, low in enumerate((67, 60, 53, 45)):
        step = 0
        while step < length:
            size = int(rng.integers(1, 5))
            if part == 0 or rng.random() < 0.9:
                notes.append(
                    (step, min(size, length - step), low + up + int(rng.integers(4)), part)
                )
            step += size
    return piece(notes, length)


def chords(seed, length=16):
    rng = np.random.default_rng(seed)
    return [
        sorted({int(p) for p in rng.integers(45, 75, rng.integers(1, 5))}) for _ in range(length)
    ]


def write_frames(folder, sizes=(12, 4, 4)):
    """A file as the published one."""
    names = ("train", "valid", "test")
    splits = {
        name: [chords(100 * i + j) for j in range(size)]
        for i, (name, size) in enumerate(zip(names, sizes, strict=True))
    }
    path = folder / "frames.json"
    path.write_text(json.dumps(splits))
    return path, splits


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    """Nothing of these tests stays in the cache of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def voiced(tmp_path_factory):
    """A folder of four-voice MIDI files."""
    folder = tmp_path_factory.mktemp("四部")
    for seed in range(30):
        music_files.write(folder / f"曲{seed}.mid", tune(seed), 4, {"seed": str(seed)})
    return folder


# --- words ---------------------------------------------------------------------------------------


def laws(form):
    """The tokens of random texts that keep to the grammar."""
    follows = music_tokens.follows(form)

    def draw(data_):
        ids, last = [], END
        for _ in range(data_.draw(st.integers(0, 60))):
            allowed = np.flatnonzero(follows[last])
            last = int(allowed[data_.draw(st.integers(0, 10**6)) % len(allowed)])
            if last == END:
                break
            ids.append(last)
        return ids

    return draw


@every
@quick
@given(data_=st.data())
def test_whatever_keeps_to_the_grammar_is_a_piece(name, data_):
    form = FORMS[name]
    tokenizer = tokenizers.Word(music_tokens.words(form))
    made = music_tokens.parse(form, tokenizer.decode(laws(form)(data_)))
    assert (made.notes[:, DURATION] > 0).all() and (made.notes[:, ONSET] >= 0).all()
    assert ((made.notes[:, PITCH] >= 0) & (made.notes[:, PITCH] < 128)).all()
    if name == "events":
        rows = {(onset, pitch) for onset, _, pitch, _ in made.notes.tolist()}
        assert len(rows) == len(made.notes)
    # What was parsed is spelt and parsed to the same notes, and is itself lawful.
    if len(made.notes) and (name != "events" or made.notes[0, ONSET] == 0):
        spelt = music_tokens.spell(form, made)
        assert music_tokens.parse(form, spelt).notes.tolist() == made.notes.tolist()
        ids = [END, *tokenizer.encode(spelt), END]
        follows = music_tokens.follows(form)
        if name != "soprano" and name != "voices":
            assert all(follows[a, b] for a, b in itertools.pairwise(ids))


@quick
@given(st.integers(0, 10**6))
def test_round_trips(seed):
    given_ = tune(seed)
    for name in ("voices", "events"):
        form = FORMS[name]
        wanted = given_ if name == "voices" else music_tokens.struck(given_)
        wanted = piece([(*row[:3], row[3] * (name == "voices")) for row in wanted.notes.tolist()])
        if name == "events" and wanted.notes[0, ONSET]:
            continue
        back = music_tokens.parse(form, music_tokens.spell(form, wanted))
        assert back.notes.tolist() == wanted.notes.tolist()
    frames = chords(seed)
    rows = [(step, 1, pitch, 0) for step, frame in enumerate(frames) for pitch in frame]
    back = music_tokens.parse(FORMS["chords"], music_tokens.spell(FORMS["chords"], piece(rows)))
    assert back.notes.tolist() == piece(rows).notes.tolist()


@quick
@given(st.integers(0, 10**6), st.integers(-6, 6))
def test_a_transposed_copy_has_the_same_intervals(seed, semitones):
    first = tune(seed)
    moved = first.notes.copy()
    moved[:, PITCH] += semitones
    words = music_tokens.intervals(first)
    assert words == music_tokens.intervals(piece(moved.tolist(), first.length))
    moved[3, PITCH] += 1
    assert words != music_tokens.intervals(piece(moved.tolist(), first.length))


def test_the_sampler_keeps_to_the_grammar():
    form = FORMS["chords"]
    follows = music_tokens.follows(form)
    V = len(follows)

    def next_logits(carry, token_B):
        return jax.random.normal(jax.random.key(0), (len(token_B), V)), carry

    logits, _ = grammar.lawful(next_logits, follows)(None, jnp.arange(V))
    assert (np.isneginf(logits) == ~follows).all()


# --- data ----------------------------------------------------------------------------------------


def test_published_frames_are_counted_as_the_literature_does(tmp_path):
    path, splits = write_frames(tmp_path)
    for length in (8, 64):
        dataset = music.load(music.Config(path=str(path), length=length))
        assert {name: len(split.offsets) - 1 for name, split in dataset.splits.items()} == {
            "train": 12, "validation": 4, "test": 4,
        }  # fmt: skip
        batches = list(music.eval_batches(dataset, "test", size=5))
        frames, notes, count = (
            sum(each[key].sum() for each in batches) for key in ("frames", "notes", "mask")
        )
        assert frames == sum(len(tune_) - 1 for tune_ in splits["test"])
        assert notes == sum(len(frame) for tune_ in splits["test"] for frame in tune_[1:])
        assert count == frames + notes
    found = music.units({"loss": 50.0, "weight": 25.0, "frames": 5.0, "notes": 20.0})
    assert found == {"loss": 2.0, "nats_per_frame": 10.0, "nats_per_note": 2.5}


def test_transposition_is_pure_and_of_training_alone(voiced):
    plain = music.load(music.Config(path=str(voiced), steps=4))
    moved = music.load(music.Config(path=str(voiced), steps=4, transpose=5))
    assert moved.codec.form.kind == "voices"
    one, two = (music.train_batch(moved, seed=1, step=3, size=8) for _ in range(2))
    assert all(np.array_equal(one[key], two[key]) for key in one)
    as_is = music.train_batch(plain, seed=1, step=3, size=8)
    pitches = music_tokens.pitches(moved.codec.form)
    sounding = (pitches[one["x"]] >= 0) & (pitches[as_is["x"]] >= 0)
    shift = (pitches[one["x"]] - pitches[as_is["x"]]) * sounding
    for row, sounds in zip(shift, sounding, strict=True):
        assert len(set(row[sounds].tolist())) <= 1
    assert len({row[sounds][0] for row, sounds in zip(shift, sounding, strict=True)}) > 1
    for split in ("validation", "test"):
        for a, b in zip(
            music.eval_batches(plain, split, size=4),
            music.eval_batches(moved, split, size=4),
            strict=True,
        ):
            assert np.array_equal(a["x"], b["x"])
    train = [music_tokens.parse(moved.codec.form, each) for each in music.texts(moved, "train")]
    ranges = {
        part: [p for each in train for p in each.notes[each.notes[:, PART] == part, PITCH]]
        for part in range(4)
    }
    for step in range(5):
        for row in music.train_batch(moved, seed=0, step=step, size=8)["x"]:
            for part in range(4):
                tokens = row[(music_tokens.parts(moved.codec.form)[row] == part)]
                sung = pitches[tokens][pitches[tokens] >= 0]
                assert not len(sung) or min(ranges[part]) <= sung.min()
                assert not len(sung) or sung.max() <= max(ranges[part])


def test_pieces_in_other_keys_share_a_split(tmp_path):
    for seed in range(20):
        for up in range(3):
            rows = tune(seed).notes + np.array([0, 0, up, 0])
            music_files.write(tmp_path / f"{seed}_{up}.mid", piece(rows.tolist()), 4, {})
    dataset = music.load(music.Config(path=str(tmp_path), steps=4, validation=0.3, test=0.3))
    seen = {}
    for name in dataset.splits:
        for text in music.texts(dataset, name):
            assert seen.setdefault(dataset.codec.judged(text), name) == name
            assert dataset.codec.is_new(text) == (name != "train")
    assert set(seen.values()) == {"train", "validation", "test"}


# --- files ---------------------------------------------------------------------------------------


@quick
@given(st.integers(0, 10**6))
def test_midi_round_trip(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("m") / "x.mid"
    first = tune(seed)
    music_files.write(path, first, 4, {"prompt": "雪"})
    (back,) = music_sources.read(path, 4)
    notes = first.notes - np.array([first.notes[0, ONSET], 0, 0, 0])
    assert back.notes.tolist() == notes.tolist()
    assert music_files.read_about(path) == {"prompt": "雪"}
    assert mido.MidiFile(path).length > 0


PROGRAM = """#!{python}
import sys
import numpy as np
import soundfile
*_, rate, _, out, _, song = sys.argv[1:]
open(song, "rb").read(4) == b"MThd" or sys.exit(1)
soundfile.write(out, np.full((80, 2), 0.01), int(rate))
"""


def test_fluidsynth_plays_where_it_is(tmp_path, monkeypatch):
    first, silent = piece([(0, 4, 69, 0), (4, 4, 57, 1)]), piece([])
    program = tmp_path / "bin" / "fluidsynth"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable))
    monkeypatch.setenv("PATH", str(program.parent))
    (tmp_path / "good.sf2").write_bytes(b"RIFF....sfbk")
    (tmp_path / "bad.sf2").write_bytes(b"RIFF....WAVE")
    monkeypatch.setenv("SOUND_FONT", str(tmp_path / "good.sf2"))
    assert (music_files.sound(first, 4) == music_files.synthesise(first, 4)).all()  # may not run
    program.chmod(0o755)
    wave = music_files.sound(first, 4)
    assert wave.shape == (80, 2) and wave.max() == pytest.approx(music_files.PEAK)
    assert not music_files.sound(silent, 4).any()
    monkeypatch.setenv("SOUND_FONT", str(tmp_path / "bad.sf2"))
    with pytest.raises(UserError, match=r"bad.sf2'; set SOUND_FONT to another"):
        music_files.write(tmp_path / "x.wav", first, 4, {})
    assert not (tmp_path / "x.wav").exists()
    monkeypatch.setenv("SOUND_FONT", "")
    assert (music_files.sound(first, 4) == music_files.synthesise(first, 4)).all()


def test_the_real_fluidsynth_plays_a_scale_on_the_beat(monkeypatch):
    if not (shutil.which("fluidsynth") and fluidsynth._font()):
        pytest.skip("FluidSynth or a sound font is not installed")
    wave = music_files.sound(piece([(0, 4, 69, 0), (8, 4, 57, 1)]), 4)
    beat = int(music_files.RATE * 60 / music_files.TEMPO)
    loud = [np.abs(wave[i * beat : (i + 1) * beat]).max() for i in range(3)]
    assert wave.ndim == 2 and min(loud[0], loud[2]) > loud[1]
    spectrum = np.abs(np.fft.rfft(wave[:beat].mean(1)))
    assert abs(spectrum.argmax() / beat * music_files.RATE / 440 - 1) < 0.03
    monkeypatch.setenv("SOUND_FONT", __file__)
    with pytest.raises(UserError, match="fluidsynth cannot play"):
        music_files.sound(piece([(0, 4, 69, 0)]), 4)


def test_sound_and_piano_roll(tmp_path):
    first = piece([(0, 4, 69, 0), (4, 4, 57, 1)])
    wave = music_files.synthesise(first, 4, rate=8000)
    spectrum = np.abs(np.fft.rfft(wave[:4000]))
    assert abs(spectrum.argmax() * 8000 / 4000 - 440) < 3
    music_files.write(tmp_path / "x.wav", first, 4, {"seed": "1"})
    sound, _ = soundfile.read(tmp_path / "x.wav")
    assert 0.5 < np.abs(sound).max() < 1
    music_files.write(tmp_path / "x.png", first, 4, {"seed": "1"})
    roll = np.asarray(Image.open(tmp_path / "x.png"))
    top, low = (np.argwhere((roll == music_files.COLORS[part]).all(-1)) for part in (0, 1))
    assert top[:, 0].max() < low[:, 0].min() and top[:, 1].max() < low[:, 1].min()
    fine = music_files.roll(piece([(0, 12, 60, 0), (12, 1, 60, 0), (24, 12, 62, 0)]), 12)
    assert fine.shape[1] == 36 and (fine[:, 12] == music_files.COLORS[0]).all(-1).any()
    many = music_files.rolls([first, tune(1)], 4)
    assert many.shape[0] == 2 and (many[0][: roll.shape[0], : roll.shape[1]] == roll).all()


def empty_midi(path):
    file = mido.MidiFile()
    file.tracks.append(mido.MidiTrack())
    file.save(path)


def test_damaged_files_are_named(voiced, tmp_path):
    for seed in range(6):
        music_files.write(tmp_path / f"{seed}.mid", tune(seed), 4, {})
    empty_midi(tmp_path / "leer.mid")
    (tmp_path / "坏.mid").write_bytes(b"MThd nothing")
    dataset = music.load(music.Config(path=str(tmp_path), steps=4, validation=0, test=0))
    said = music.describe(dataset)
    assert "2 damaged" in said and "坏.mid" in said and "no notes" in said
    assert len(dataset.splits["train"].offsets) == 7


@pytest.mark.parametrize(
    ("make", "fields", "says"),
    [
        (lambda p: empty_midi(p / "x.mid"), {}, "no file can be read"),
        (lambda p: (p / "x.txt").write_text("a"), {}, "holds no .mid"),
        (lambda p: (p / "x.txt").write_text("a"), {"path": "x.txt"}, "x.txt is no music .* .mid"),
        (lambda p: (p / "x.mid").write_text("a"), {"path": "x.mid"}, r"x.mid \(it ends too soon"),
        (lambda p: (p / "x.mid").write_text("Is this music? " * 9), {}, "not a MIDI file"),
        (lambda p: (p / "x.abc").write_text("\n"), {}, r"x.abc, tune 1 \(it is empty\)"),
        (lambda p: (p / "曲.mxl").write_bytes(b"PK"), {}, r"曲.mxl \(music21 cannot read it"),
        (lambda p: (p / "x.json").write_text("[1]"), {"path": "x.json"}, "holds no frames"),
        (lambda p: (p / "x.npz").write_bytes(b"a"), {"path": "x.npz"}, "holds no voices"),
        (lambda p: None, {"path": "none"}, "no such file"),
        (
            lambda p: music_files.write(p / "一.mid", piece([(0, 4, 60, 0)]), 4, {}),
            {"harmonise": True},
            "needs pieces of four voices, .*; 一.mid is none",
        ),
        (
            lambda p: music_files.write(p / "x.mid", tune(0), 4, {}),
            {"harmonise": True, "form": "chords"},
            "cannot go with --data.form chords",
        ),
        (lambda p: None, {"transpose": 13}, "--data.transpose is 13"),
    ],
)
def test_mistakes_get_one_line(tmp_path, make, fields, says):
    make(tmp_path)
    path = tmp_path / fields.get("path", "")
    with pytest.raises(UserError, match=says) as error:
        music.load(music.Config(**{**fields, "path": str(path)}))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["x.mid", "x.abc"])
def test_a_disk_that_refuses_is_one_line_and_not_remembered(tmp_path, monkeypatch, name):
    pytest.importorskip("music21")
    path = tmp_path / name
    path.write_text("X:1\nL:1/4\nK:G\nG A|]\n")
    if name == "x.mid":
        music_files.write(path, tune(0), 4, {})
    cfg = music.Config(path=str(path), validation=0, test=0)
    with monkeypatch.context() as patch:

        def refuse(*_, **how):
            raise PermissionError(13, "Permission denied")

        patch.setattr(music_sources.mido, "MidiFile", refuse)
        patch.setattr(music_sources, "_tunes", refuse)
        with pytest.raises(UserError, match=rf"cannot read .*{name}: Permission denied"):
            music.load(cfg)
    assert music.texts(music.load(cfg), "train")


def test_without_music21_the_chorales_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(music_sources.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'creagen_jax\[music\]'"):
        music.load(music.Config(), cache=tmp_path)


def test_abc_is_read_as_written(tmp_path):
    pytest.importorskip("music21")
    tunes = "X:1\nT:Eins\nM:4/4\nL:1/4\nK:G\nG A B2|c4|]\n\nX:2\nT:二\nL:1/8\nK:Am\nA2 z2 e4|]\n"
    (tmp_path / "曲.abc").write_text(tunes)
    one, two = music_sources.read(tmp_path / "曲.abc", 4)
    assert one.notes[:, :3].tolist() == [[0, 4, 67], [4, 4, 69], [8, 8, 71], [16, 16, 72]]
    assert two.notes[:, :3].tolist() == [[0, 4, 69], [8, 8, 76]]
    assert (one.label, two.label) == ("major", "minor")


def test_a_damaged_tune_costs_no_other(tmp_path):
    pytest.importorskip("music21")
    tunes = ["L:1/4\nK:G\nG A|]", "L:1/x\nK:G\nG A|]", "K:C\n", "L:1/8\nK:Am\nA2 e4|]"]
    text = "".join(f"X:{i}\nT:曲\n{tune}\n\n" for i, tune in enumerate(tunes, 1))
    (tmp_path / "x.abc").write_text(text)
    dataset = music.load(music.Config(path=str(tmp_path), validation=0, test=0))
    assert len(music.texts(dataset, "train")) == 2
    assert list(dataset.fingerprint["damaged"]) == ["x.abc, tune 2", "x.abc, tune 3"]
    assert "2 damaged: x.abc, tune 2 (music21 cannot read it" in music.describe(dataset)


def write_score(path, *parts):
    """MusicXML of parts, each the measures of it: lists of lists of music21's objects, a list for
    each voice."""
    stream = pytest.importorskip("music21").stream
    score = stream.Score()
    for part in parts:
        score.append(stream.Part())
        for number, measure in enumerate(part):
            made = stream.Measure(number=number)
            for voice in measure:
                inside = stream.Voice() if len(measure) > 1 else made
                inside.append(voice)
                if len(measure) > 1:
                    made.insert(0, inside)
            if made.timeSignature:
                made.padAsAnacrusis()
            score.parts[-1].append(made)
    score.write("musicxml", path)
    return path


def sung(path):
    (found,) = music_sources.read(path, 12)
    return found.notes[:, :3].tolist(), found.label


def test_musicxml_is_read_as_it_sounds(tmp_path):
    music21 = pytest.importorskip("music21")
    note, chord, tie = music21.note.Note, music21.chord.Chord, music21.tie.Tie

    def tied(made, kind):
        made.tie = tie(kind)
        return made

    # A pickup, a chord tied over a bar line, a change of key, a triplet, a grace note, a rest.
    third = {"quarterLength": 1 / 3}
    path = write_score(
        tmp_path / "曲.musicxml",
        [
            [[music21.meter.TimeSignature("3/4"), music21.key.Key("G"), note("D5")]],
            [[tied(chord(["G4", "B4"], quarterLength=3), "start")]],
            [[tied(chord(["G4", "B4"]), "stop"), music21.note.Rest(), note("A4")]],
            [[music21.key.Key("e"), note("E4", **third), note("F#4", **third), note("G4", **third),
              note("A4").getGrace(), note("B4", quarterLength=2)]],
        ],
    )  # fmt: skip
    assert sung(path) == (
        [[0, 12, 74], [12, 48, 71], [12, 48, 67], [72, 12, 69], [84, 4, 64], [88, 4, 66],
         [92, 4, 67], [96, 24, 71]],
        "major",
    )  # fmt: skip
    # A tie in one of two voices, while the other strikes the same pitch.
    held = [[tied(note("C5", quarterLength=2), kind)] for kind in ("start", "continue", "stop")]
    others = [[note(name), note("F4")] for name in ("E4", "C5", "E4")]
    path = write_score(
        tmp_path / "x.musicxml", [list(pair) for pair in zip(held, others, strict=True)]
    )
    notes, _ = sung(path)
    assert [0, 72, 72] in notes and [24, 12, 72] in notes and len(notes) == 7
    # A clarinet in B flat, and drums.
    path = write_score(
        tmp_path / "y.musicxml",
        [[[music21.instrument.Clarinet(), note("D5"), note("E5")]]],
        [[[music21.note.Unpitched(quarterLength=2)]]],
    )
    assert sung(path)[0] == [[0, 12, 72], [12, 12, 74]]


@pytest.mark.parametrize("name", ["bwv66.6", "bwv269"])
@pytest.mark.parametrize("suffix", [".musicxml", ".mxl"])
def test_chorales_written_as_musicxml_are_the_chorales(tmp_path, name, suffix):
    music21 = pytest.importorskip("music21")
    score = music21.corpus.parse(f"bach/{name}")
    score.write("mxl" if suffix == ".mxl" else "musicxml", tmp_path / f"x{suffix}")
    ((notes, _),) = [sung(tmp_path / f"x{suffix}")]
    wanted = [
        [round(12 * float(note.offset)), round(12 * float(note.quarterLength)), note.pitch.midi]
        for part in score.stripTies().parts
        for note in part.flatten().notes
    ]
    assert sorted(notes) == sorted(wanted)


def test_a_humdrum_file_of_many_songs(tmp_path):
    pytest.importorskip("music21")
    songs = [f"!!!OTL: {name}\n**kern\n*M4/4\n4{name}\n*-\n" for name in "ce"]
    (tmp_path / "x.krn").write_text("".join(songs))
    found = music_sources.read(tmp_path / "x.krn", 4)
    assert [each.notes[:, :3].tolist() for each in found] == [[[0, 4, 60]], [[0, 4, 64]]]


# --- runs ----------------------------------------------------------------------------------------


def experiment(path, model, **fields):
    return Experiment(
        data=music.Config(path=str(path), steps=4, **{"length": 64, "transpose": 3, **fields}),
        model=model,
        train=Train(steps=4, batch=8, eval_every=2, eval_windows=8, save_every=2, sample_every=4),
    )


@pytest.fixture(scope="module")
def run(voiced, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    assert helpers.train(experiment(voiced, lstm.Config(width=16, depth=1)), run) == 0
    return run


def test_samples_are_pieces_and_files(run, tmp_path, capsys):
    assert [path.suffix for path in (run / "samples").glob("step_*")] == [".png"]
    model = generation.load(run)
    samples = generation.draw(model, generation.Request(length=50), num=6, seed=0)
    follows, tokenizer = music_tokens.follows(model.codec.form), model.codec.tokenizer
    for sample in samples:
        ids = [END, *tokenizer.encode(sample.text)]
        assert all(follows[a, b] for a, b in itertools.pairwise(ids))
    for name in ("a.mid", "a.wav", "a.png"):
        args = output.Tokens(num=2, out=str(tmp_path / name), request=generation.Request(length=50))
        output.tokens(run, model, args)
    assert len(list(tmp_path.iterdir())) == 6
    with pytest.raises(UserError, match=r"choose one of .mid, .wav, .png, .txt"):
        output.tokens(run, model, output.Tokens(num=2, out=str(tmp_path / "a.mp3")))
    about = music_files.read_about(tmp_path / "a_001.mid")
    assert about["seed"] == "1" and json.loads(about["creagen_jax"])["length"] == 50


def test_a_primer_that_is_not_there_is_one_line(run, tmp_path):
    (tmp_path / "other.mid").write_bytes(b"?")
    model = generation.load(run)
    for name, says in {"othor.mid": "near it: other.mid", "other.mid": "it ends too soon"}.items():
        with pytest.raises(UserError, match=says) as error:
            model.codec.encode_prompt(str(tmp_path / name))
        assert "\n" not in str(error.value) and "Errno" not in str(error.value)


def test_a_primer_is_continued(run, voiced):
    model, primer = generation.load(run), str(voiced / "曲3.mid")
    request = generation.Request(prompt=primer, length=8)
    (sample,) = generation.draw(model, request, num=1, seed=0)
    (wanted,) = music_sources.read(voiced / "曲3.mid", 4)
    assert sample.text.startswith(music_tokens.spell(model.codec.form, wanted))
    assert sample.text[: sample.given].strip() == music_tokens.spell(model.codec.form, wanted)


def shown_and_heard(item):
    return {"picture": item.picture, "sound": item.sound}


def test_a_transposed_copy_is_found_by_the_judge(run, voiced, monkeypatch):
    """Copies of training pieces in another key are copies."""
    dataset = generation.training_data(run)
    form = dataset.codec.form
    copies = []
    for text in music.texts(dataset, "train"):
        made = music_tokens.parse(form, text)
        notes = made.notes + np.array([0, 0, 1, 0])
        copies.append(music_tokens.spell(form, piece(notes.tolist(), made.length)))
    drawn = generation.draw

    def copy(model, request, *, num, seed):
        if model.family == "markov":
            return drawn(model, request, num=num, seed=seed)
        like = drawn(model, generation.Request(length=4), num=len(copies), seed=seed)
        return [
            generation.Sample(**{**vars(each), "text": text, "given": 0})
            for each, text in zip(like, copies, strict=True)
        ]

    monkeypatch.setattr(generation, "draw", copy)
    report = evaluation.of_run(run, generation.Request(), evaluation.Config())
    assert report.metrics["exact_copies"].value == 1
    item = report.gallery.unselected[0]
    assert item.picture.startswith("data:image/png") and item.sound.startswith("data:audio/mpeg")
    wave, _ = soundfile.read(io.BytesIO(base64.b64decode(item.sound.split(",")[1])))
    assert len(wave)
    # The real ones beside them are shown and played, too: in their own key.
    codec = dataset.codec
    held = [text for name in ("validation", "test") for text in music.texts(dataset, name)]
    for pair in report.gallery.copied:
        assert shown_and_heard(pair.heldout) in [codec.exhibit(text, None) for text in held]
        originals = [text for text in music.texts(dataset, "train")
                     if codec.judged(text) == pair.item.text]  # fmt: skip
        assert shown_and_heard(pair.train) == codec.exhibit(originals[0], None)
        assert pair.train.sound != pair.item.sound
    page = render.render(report)
    assert pair.train.sound in page and pair.train.text not in page


def test_a_soprano_is_harmonised(voiced, tmp_path):
    model = seq2seq.Config(cell="gru", width=16, depth=1)
    own = experiment(voiced, model, harmonise=True, length=96, transpose=0)
    assert helpers.train(own, tmp_path / "run") == 0
    model = generation.load(tmp_path / "run")
    source = model.codec.examples[0]
    (sample,) = generation.draw(model, generation.Request(source=(source,)), num=1, seed=0)
    made = model.codec.piece(sample.text, sample.source)
    above = music_tokens.parse(music_tokens.Form("voices", 4, "s"), source)
    report = evaluation.of_run(
        tmp_path / "run", evaluation.request_of([tmp_path / "run"]), evaluation.Config(fast=True)
    )
    first = report.gallery.unselected[0]
    assert first.source and first.sound and report.metrics["exact_match"].n
    dataset = generation.training_data(tmp_path / "run")
    known = zip(music.texts(dataset, "train"), music.sources(dataset, "train"), strict=True)
    real = [dataset.codec.exhibit(*pair) for pair in known]
    assert all(shown_and_heard(pair.train) in real for pair in report.gallery.copied)
    soprano = made.notes[made.notes[:, PART] == 0]
    assert soprano[:, [ONSET, PITCH]].tolist() == music_tokens.tied(above).notes[:, [0, 2]].tolist()


def test_a_markov_chain_of_chords(tmp_path):
    path, _ = write_frames(tmp_path)
    own = replace(experiment(path, markov.Config(order=4), transpose=0), data={"steps": 0})
    own = replace(own, data={"order": "sequential"}, train={"steps": 0, "sample_every": 0})
    assert helpers.train(own, tmp_path / "run") == 0
    scores = [line for line in helpers.metrics(tmp_path / "run") if line["split"] == "test"]
    assert scores[-1]["nats_per_frame"] > scores[-1]["nats_per_note"] > 0
