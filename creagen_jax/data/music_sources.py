"""Where music comes from: the chorales inside music21, the published chorale files, and the user's
own MIDI, ABC and MusicXML.

Files are read once and kept as notes in the cache. Repeats are read as they are written, once;
ornaments (grace notes), drums, loudness and tempo are left out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import io
import itertools
import json
import math
import pickle
import re
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import mido
import numpy as np
from tqdm import tqdm

from creagen_jax import config
from creagen_jax.data import caching, image_store, sources
from creagen_jax.data.cutting import DamagedError
from creagen_jax.data.music_tokens import DURATION, ONSET, PART, PITCH, VOICES, Piece, piece
from creagen_jax.types import UserError

MIDI, ABC, SCORES = (".mid", ".midi"), (".abc",), (".xml", ".musicxml", ".mxl", ".krn")
SUFFIXES = MIDI + ABC + SCORES
STEPS = 12  # to a quarter note, unless told: triplets and sixteenths fall on one
CHORALE_STEPS = 4
CACHE_FORMAT = 2  # part of the name of cached notes; to be raised when their contents change
DRUMS = 9  # the channel of General MIDI that has no pitches
SPLITS = {"train": "train", "valid": "validation", "validation": "validation", "test": "test"}
SINGERS = ("soprano", "alto", "tenor", "bass")
HALF = 0.5 + 1e-6  # what lies in the middle of two steps, but for rounding, goes to the earlier
TICKS = 40_320  # to a quarter note: 8!, of which the times of a score are multiples


@dataclasses.dataclass(frozen=True)
class Source:
    """Pieces, in splits of their own or only "train", to be cut later."""

    name: str
    steps: int  # to a quarter note
    splits: dict[str, list[Piece]]
    form: str  # the `Form.kind` that says the most of them
    damaged: dict[str, str] = dataclasses.field(default_factory=dict)  # file: why


def embedded(name: str, steps: int, cache: Path) -> Source:
    """An embedded set. Raises UserError if unknown, or if the package that holds it is missing."""
    if name not in EMBEDDED:
        raise UserError(f"no embedded set '{name}'; {config.nearest(name, sorted(EMBEDDED))}")
    return EMBEDDED[name](steps or CHORALE_STEPS, cache)


def _chorales(steps: int, cache: Path) -> Source:
    """Bach's chorales for four singers, as the PyPI package `music21` has them."""
    found = importlib.util.find_spec("music21")  # not imported: its files are enough
    if not found:
        raise UserError(
            "the chorales are in the package music21: pip install 'creagen_jax[music]', or give "
            "a file or folder by --data.path"
        )
    folder = Path(found.origin).parent / "corpus" / "bach"
    paths = sorted(path for path in folder.glob("bwv*") if path.suffix in SCORES)
    pieces, damaged = _cached(paths, folder, steps, cache)
    sung = [each for each in map(_of_singers, pieces) if is_voiced(each)]
    return Source("chorales", steps, {"train": sung}, "voices", damaged)


def _of_singers(given: Piece) -> Piece:
    """The four singers, who come first, without the instruments."""
    notes = given.notes[given.notes[:, PART] < len(VOICES)]
    return dataclasses.replace(given, notes=notes)


EMBEDDED = {"chorales": _chorales}


def files(path: str, steps: int, cache: Path) -> Source:
    """A published chorale file (.json of frames, .npz of voices), one file of MIDI, ABC or
    MusicXML, or a folder of such, where sub-folders `train`, `validation` and `test` are splits.

    Raises UserError for what cannot be found or read.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise sources.not_found(place)
    if place.suffix in PUBLISHED:
        found = PUBLISHED[place.suffix](place)
        if steps not in (0, found.steps):
            raise UserError(f"{path} has {found.steps} steps to a quarter note, not {steps}")
        return found
    if place.is_file() and place.suffix.lower() not in SUFFIXES:
        choices = ", ".join((*SUFFIXES, *PUBLISHED))
        raise UserError(f"{path} is no music that can be read; choose a file of {choices}")
    paths, folder = ([place], place.parent) if place.is_file() else (_find(place), place)
    pieces, damaged = _cached(paths, folder, steps or STEPS, cache)
    if not pieces:
        reasons = [f"{name} ({why})" for name, why in damaged.items()]
        raise UserError(f"{path}: no file can be read: {image_store.first(reasons)}")
    splits: dict[str, list[Piece]] = {}
    own = any(each.name.startswith("train/") for each in pieces)
    for each in pieces:
        split = SPLITS.get(each.name.partition("/")[0], "train") if own else "train"
        splits.setdefault(split, []).append(each)
    form = "voices" if all(map(is_voiced, pieces)) else "events"
    return Source(path, steps or STEPS, splits, form, damaged)


def _find(folder: Path) -> list[Path]:
    found = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    if not found:
        raise UserError(f"folder {folder} holds no {', '.join(SUFFIXES)} file")
    return found


def is_voiced(given: Piece) -> bool:
    """Whether a piece is of four voices, each of one note at a time."""
    parts = [given.notes[given.notes[:, PART] == part] for part in range(len(VOICES))]
    alone = all(
        len(notes) and (notes[1:, ONSET] >= notes[:-1, ONSET] + notes[:-1, DURATION]).all()
        for notes in parts
    )
    return alone and sum(map(len, parts)) == len(given.notes)


# --- the published chorale files -----------------------------------------------------------------


def _frames(path: Path) -> Source:
    """{split: [piece: [frame: [MIDI pitch]]]}, a frame each quarter note (Boulanger-Lewandowski et
    al. 2012), of which what is held is not known."""
    try:
        found = {SPLITS[key]: value for key, value in json.loads(path.read_text()).items()}
        splits = {
            split: [
                piece(
                    ((step, 1, pitch, 0) for step, frame in enumerate(frames) for pitch in frame),
                    len(frames),
                    name=f"{split} {number}",
                )
                for number, frames in enumerate(pieces)
            ]
            for split, pieces in found.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise UserError(
            f"{path} holds no frames: it must be {{split: [[[pitch, ...], ...], ...]}} of "
            f"{', '.join(SPLITS)} ({type(error).__name__}: {error})"
        ) from None
    return _published(path, 1, splits, "chords")


def _voices(path: Path) -> Source:
    """Arrays `train`, `valid`, `test` of pieces [T, 4], a frame each sixteenth note: the MIDI pitch
    of each voice from the top, NaN for a rest; what is held is not known."""
    splits: dict[str, list[Piece]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                split = SPLITS[member.removesuffix(".npy")]
                splits[split] = []
                for number, frames in enumerate(_objects(archive.read(member))):
                    steps, parts = np.nonzero(~np.isnan(frames.astype(np.float64)))
                    pitch = frames[steps, parts].astype(int)
                    notes = np.stack([steps, np.ones_like(steps), pitch, parts], axis=1)
                    splits[split].append(piece(notes, len(frames), name=f"{split} {number}"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError, EOFError,
            zipfile.BadZipFile, zlib.error, pickle.UnpicklingError) as error:  # fmt: skip
        raise UserError(
            f"{path} holds no voices: it must hold arrays of pieces [T, 4] named "
            f"{', '.join(SPLITS)} ({type(error).__name__}: {error})"
        ) from None
    return _published(path, CHORALE_STEPS, splits, "voices")


def _published(path: Path, steps: int, splits: dict[str, list[Piece]], form: str) -> Source:
    for pieces in splits.values():
        for each in pieces:
            pitches, parts = each.notes[:, PITCH], each.notes[:, PART]
            if not len(pitches) or pitches.min() < 0 or pitches.max() > 127 or parts.max() > 3:
                raise UserError(f"{path}: piece {each.name} is empty, or has pitches beyond 0..127")
    if not splits.get("train"):
        raise UserError(f"{path} has no train split")
    return Source(str(path), steps, splits, form)


PUBLISHED = {".json": _frames, ".npz": _voices}


class _Arrays(pickle.Unpickler):
    """Reads arrays of arrays, and runs nothing else that a pickle asks for."""

    ALLOWED = ("_reconstruct", "ndarray", "dtype", "scalar", "encode")

    def find_class(self, module: str, name: str):
        if module.split(".")[0] not in ("numpy", "_codecs") or name not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _objects(data: bytes) -> np.ndarray:
    """The pieces in an .npy of objects."""
    file = io.BytesIO(data)
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    return _Arrays(file, encoding="latin1").load()


# --- MIDI, ABC, MusicXML ----------------------------------------------------------------------

Row = tuple[float, float, int, int]  # onset and end in quarter notes, MIDI pitch, part
Found = tuple[list[Row], str | None]  # the notes of a piece, and its mode


def read(path: Path, steps: int) -> list[Piece]:
    """The pieces of a file: of ABC as many as can be read, else one.

    Raises DamagedError for a file of which none can be read or has a note, OSError if the disk
    refuses, and UserError if the package that reads it is missing.
    """
    found = [each for _, each in _pieces(path, steps)]
    pieces = [each for each in found if isinstance(each, Piece)]
    if not pieces:
        raise found[0]
    return pieces


def _pieces(path: Path, steps: int) -> Iterator[tuple[str, Piece | DamagedError]]:
    """Each piece of a file, or why there is none, and which tune of a file of many it is."""
    suffix = path.suffix.lower()
    if suffix in MIDI:
        parts = {"": partial(_midi, path)}
    elif suffix in ABC:
        tunes = _tunes(path)
        parts = {f", tune {i}": partial(_scores, tune, "abc") for i, tune in enumerate(tunes, 1)}
    else:
        parts = {"": partial(_scores, path, None)}
    for place, part in parts.items():
        try:
            for rows, label in part():
                yield place, _gridded(rows, steps, label) if rows else DamagedError("no notes")
        except DamagedError as error:
            yield place, error


def _midi(path: Path) -> list[Found]:
    """What a MIDI file holds; each channel of each track is a part."""
    try:
        file = mido.MidiFile(path, clip=True)
    except EOFError:
        raise DamagedError("it ends too soon") from None
    except Exception as error:  # mido raises whatever a damaged file leads to
        if getattr(error, "strerror", None):  # the disk's, not the file's
            raise
        raise DamagedError(str(error) or type(error).__name__) from None
    if file.ticks_per_beat <= 0:
        raise DamagedError("its time is not in beats")
    rows, parts, label = [], {}, None
    for number, track in enumerate(file.tracks):
        tick, sounding = 0, {}
        for message in track:
            tick += message.time
            if message.type == "key_signature":
                label = label or ("minor" if message.key.endswith("m") else "major")
            if message.type not in ("note_on", "note_off") or message.channel == DRUMS:
                continue
            key = message.channel, message.note
            if key in sounding:  # struck again, or released
                part = parts.setdefault((number, message.channel), len(parts))
                rows.append((sounding.pop(key), tick, message.note, part))
            if message.type == "note_on" and message.velocity:
                sounding[key] = tick
    beat = file.ticks_per_beat
    return [([(on / beat, off / beat, pitch, part) for on, off, pitch, part in rows], label)]


def _tunes(path: Path) -> list[str]:
    """The tunes of an ABC file, each of which begins with X; one at least."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")  # as older files are
    return re.split(r"(?m)^(?=X:)", text)[1:] or [text]


def _scores(given: str | Path, form: str | None) -> list[Found]:
    """What a file or a text holds that music21 reads: nearly always one score."""
    try:
        from music21 import converter, instrument, stream
    except ImportError:
        raise UserError(
            "reading ABC and MusicXML needs music21: pip install 'creagen_jax[music]'; "
            "MIDI is read without"
        ) from None
    if not str(given).strip():  # music21 would take it for a folder
        raise DamagedError("it is empty")
    try:
        parsed = converter.parse(given, format=form, forceSource=True)
        played = parsed.recurse().getElementsByClass(instrument.Instrument)
        if any(each.transposition for each in played):
            parsed.toSoundingPitch(inPlace=True)
    except Exception as error:  # music21 raises whatever a damaged file leads to
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise DamagedError(f"music21 cannot read it: {reason}") from None
    many = isinstance(parsed, stream.Opus)
    return [
        _score(each) for each in (parsed.getElementsByClass(stream.Stream) if many else [parsed])
    ]


def _score(score) -> Found:
    """The notes of a score, with the four singers as the first parts, if there are such."""
    from music21 import chord, harmony, key, stream

    parts = list(score.getElementsByClass(stream.Part)) or [score]
    names = [str(part.partName).lower() if part is not score else "" for part in parts]
    if set(SINGERS) <= set(names):
        parts.sort(key=lambda part: (SINGERS + tuple(names)).index(str(part.partName).lower()))
    rows = []
    for number, part in enumerate(parts):
        open_ties: dict[tuple[int, int], int] = {}  # pitch and tick of the row that goes on there
        for note in part.recurse().notes:
            if note.duration.isGrace or isinstance(note, harmony.Harmony):
                continue
            onset = float(note.getOffsetInHierarchy(part))
            end = onset + float(note.quarterLength)
            for single in note.notes if isinstance(note, chord.ChordBase) else [note]:
                if not hasattr(single, "pitch"):  # percussion
                    continue
                pitch, place = single.pitch.midi, None
                tie = single.tie.type if single.tie is not None else ""
                if tie in ("stop", "continue"):
                    place = open_ties.pop((pitch, round(onset * TICKS)), None)
                if place is None:
                    place = len(rows)
                    rows.append((onset, end, pitch, number))
                else:
                    rows[place] = (rows[place][0], end, pitch, number)
                if tie in ("start", "continue"):
                    open_ties[pitch, round(end * TICKS)] = place
    keys = list(score.recurse().getElementsByClass(key.Key))
    return rows, keys[0].mode if keys else None


def _gridded(rows: list[Row], steps: int, label: str | None) -> Piece:
    """The piece from its first note on, with times rounded to steps.

    A part of one note at a time remains so: of its notes that fall into one step the one nearest to
    the step stays, and each lasts to the next at most.
    """
    found = np.array(rows, np.float64)
    found[:, :2] = (found[:, :2] - found[:, 0].min()) * steps
    notes: list[list[int]] = []
    for part in np.unique(found[:, 3]):
        own = found[found[:, 3] == part]
        own = own[np.argsort(own[:, 0], kind="stable")]
        alone = (own[1:, 0] >= own[:-1, 1] - 1e-6).all()
        own_notes: dict[int, tuple[float, list[int]]] = {}
        for onset, end, pitch, _ in own.tolist():
            step = math.ceil(onset - HALF)
            note = [step, max(math.ceil(end - HALF) - step, 1), int(pitch), int(part)]
            if not alone:
                notes.append(note)
            elif step not in own_notes or abs(onset - step) < own_notes[step][0]:
                own_notes[step] = abs(onset - step), note
        for (_, note), (_, after) in itertools.pairwise(own_notes.values()):
            note[DURATION] = min(note[DURATION], after[ONSET] - note[ONSET])
        notes += [note for _, note in own_notes.values()]
    return piece(notes, label=label)


# --- what was read once ----------------------------------------------------------------------


def _cached(
    paths: list[Path], folder: Path, steps: int, cache: Path
) -> tuple[list[Piece], dict[str, str]]:
    """The pieces of the files, and which could not be read; read once and kept in the cache."""
    stats = [(path.relative_to(folder).as_posix(), *_stat(path)) for path in paths]
    key = json.dumps([CACHE_FORMAT, steps, str(folder.resolve()), stats])
    place = cache / f"music-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    caching.make(place, lambda unready: _fill(paths, folder, steps, unready))
    about = json.loads((place / "about.json").read_text())
    notes = np.load(place / "notes.npy")
    ends = np.cumsum([each["notes"] for each in about["pieces"]])
    return [
        piece(rows, each["length"], each["label"], each["name"])
        for each, rows in zip(about["pieces"], np.split(notes, ends[:-1]), strict=True)
    ] if about["pieces"] else [], about["damaged"]  # fmt: skip


def _stat(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _fill(paths: list[Path], folder: Path, steps: int, place: Path) -> None:
    about, notes, damaged = [], [np.zeros((0, 4), np.int32)], {}
    total = len(paths) if len(paths) > 1 else None  # if each holds one piece
    found = _all(paths, folder, steps)
    how = {"disable": None, "leave": False, "delay": 2, "unit": " pieces"}
    for name, part, each in tqdm(found, "music", total, **how):
        if isinstance(each, DamagedError):
            damaged[name + part] = str(each)
            continue
        notes.append(each.notes)
        about.append(
            {
                "name": name,
                "label": each.label,
                "length": each.length,
                "notes": len(each.notes),
            }
        )
    np.save(place / "notes.npy", np.concatenate(notes))
    (place / "about.json").write_text(json.dumps({"pieces": about, "damaged": damaged}))


def _all(
    paths: list[Path], folder: Path, steps: int
) -> Iterator[tuple[str, str, Piece | DamagedError]]:
    """What `_pieces` says of all files, each with its name first."""
    for path in paths:
        name = path.relative_to(folder).as_posix()
        try:
            for part, each in _pieces(path, steps):
                yield name, part, each
        except OSError as error:  # nothing that the cache should remember
            raise UserError(f"cannot read {path}: {error.strerror}") from None
