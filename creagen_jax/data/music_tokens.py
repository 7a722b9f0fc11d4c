"""Pieces of music as words, one a token, and back without loss.

Time is counted in steps, so many to a quarter note. One piece, a chord that lasts two steps, in the
three forms:

    chords   A4 E4 C4 . A4 E4 C4 .                 frames: what sounds, from the top; "." ends it
    voices   s:A4 a:E4 t:C4 b:_ s:- a:- t:- b:_    frames: a pitch, a hold or a rest of each voice
    events   A4 2 +0 E4 2 +0 C4 2                  notes: pitch, duration, "+" to the next onset

An event without "+" begins where the one before it ends. Which word may follow is a function of the
word before alone (`follows`), and whatever keeps to that is a piece: no decoding is invalid.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from typing import Literal

import numpy as np

from creagen_jax.data.tokenizers import END, SPECIAL, UNKNOWN

PITCHES = 128  # of MIDI
VOICES = "satb"  # soprano, alto, tenor, bass
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
FRAME, HOLD, REST, SHIFT, VOICE = ".", "-", "_", "+", ":"
QUARTERS = 4  # of the longest duration and of the longest shift that is one word

ONSET, DURATION, PITCH, PART = range(4)  # the columns of `Piece.notes`


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """Notes in the order of their onsets, the higher one first."""

    notes: np.ndarray  # [N, 4] int32: onset, duration (steps), MIDI pitch, voice (0 is the top)
    length: int  # steps
    label: str | None = None
    name: str = ""


@dataclasses.dataclass(frozen=True)
class Form:
    """How a piece is spelt."""

    kind: Literal["chords", "voices", "events"]
    steps: int  # to a quarter note
    voices: str = VOICES  # those that a frame of voices holds

    @property
    def frames(self) -> bool:
        """Whether time goes on by frames."""
        return self.kind != "events"

    @property
    def longest(self) -> int:
        """Steps of the longest duration or shift that is one word; longer ones are several."""
        return QUARTERS * self.steps

    def follows(self) -> np.ndarray:
        """[V, V] bool: see the function `follows`."""
        return follows(self)


def piece(notes: Iterable, length: int = 0, label: str | None = None, name: str = "") -> Piece:
    """A piece of notes in any order; it lasts `length` steps, or until the last note ends."""
    rows = np.array(list(notes), np.int32).reshape(-1, 4)
    rows = rows[np.lexsort((rows[:, PART], -rows[:, PITCH], rows[:, ONSET]))]
    last = int((rows[:, ONSET] + rows[:, DURATION]).max(initial=0))
    return Piece(rows, max(length, last), label, name)


def pitch_name(pitch: int) -> str:
    """60 is C4."""
    return f"{NAMES[pitch % 12]}{pitch // 12 - 1}"


PITCH_OF = {pitch_name(pitch): pitch for pitch in range(PITCHES)}


# --- words -------------------------------------------------------------------------------------


def words(form: Form) -> tuple[str, ...]:
    """All words of a form. Their order is that of a tokenizer's ids from SPECIAL on."""
    if form.kind == "chords":
        return (*PITCH_OF, FRAME)
    if form.kind == "voices":
        return tuple(
            voice + VOICE + state for voice in form.voices for state in (*PITCH_OF, HOLD, REST)
        )
    durations = map(str, range(1, form.longest + 1))
    return (*PITCH_OF, *durations, *(f"{SHIFT}{steps}" for steps in range(form.longest + 1)))


def spell(form: Form, piece: Piece) -> str:
    """The words of a piece. Exact for chords whose notes last one step, for voices of one note at
    a time, and for events of which the first begins at 0 and none begins in one of its own pitch.
    """
    spelling = {"chords": _spell_chords, "voices": _spell_voices, "events": _spell_events}
    return " ".join(spelling[form.kind](form, piece))


def parse(form: Form, text: str) -> Piece:
    """The piece of some words. Total: a last frame or note that lacks words is left out, a hold
    of nothing is a rest, and a note that its own pitch strikes again ends there."""
    parsing = {"chords": _parse_chords, "voices": _parse_voices, "events": _parse_events}
    return parsing[form.kind](form, text.split())


def _spell_chords(form: Form, piece: Piece) -> list[str]:
    frames = [set() for _ in range(piece.length)]
    for onset, duration, pitch, _ in piece.notes.tolist():
        for frame in frames[onset : onset + duration]:
            frame.add(pitch)
    return [
        word for frame in frames for word in (*map(pitch_name, sorted(frame, reverse=True)), FRAME)
    ]


def _parse_chords(form: Form, found: list[str]) -> Piece:
    notes, step, frame = [], 0, set()
    for word in found:
        if word == FRAME:
            notes += [(step, 1, pitch, 0) for pitch in frame]
            step, frame = step + 1, set()
        else:
            frame.add(PITCH_OF[word])
    return piece(notes, step)


def _spell_voices(form: Form, piece: Piece) -> list[str]:
    frames = [[REST] * len(form.voices) for _ in range(piece.length)]
    for onset, duration, pitch, part in piece.notes.tolist():
        place = form.voices.find(VOICES[part])
        if place >= 0:
            for frame in frames[onset : onset + duration]:
                frame[place] = HOLD
            frames[onset][place] = pitch_name(pitch)
    return [
        voice + VOICE + state
        for frame in frames
        for voice, state in zip(form.voices, frame, strict=True)
    ]


def _parse_voices(form: Form, found: list[str]) -> Piece:
    notes, length = [], len(found) // len(form.voices)
    for place, voice in enumerate(form.voices):
        note = None
        states = found[place : length * len(form.voices) : len(form.voices)]
        for step, word in enumerate(states):
            state = word.partition(VOICE)[2]
            if state == HOLD and note:
                note[DURATION] += 1
            elif state in (HOLD, REST):
                note = None
            else:
                note = [step, 1, PITCH_OF[state], VOICES.index(voice)]
                notes.append(note)
    return piece(notes, length)


def _spell_events(form: Form, piece: Piece) -> list[str]:
    found, rows = [], piece.notes.tolist()
    for note, after in itertools.zip_longest(rows, rows[1:]):
        onset, duration, pitch, _ = note
        found += [pitch_name(pitch), *map(str, _parts(duration, form.longest))]
        if after and after[ONSET] != onset + duration:
            found += [f"{SHIFT}{n}" for n in _parts(after[ONSET] - onset, form.longest)]
    return found


def _parse_events(form: Form, found: list[str]) -> Piece:
    notes, shift = [], None
    for word in found:
        if word in PITCH_OF:
            onset, duration = notes[-1][:2] if notes else (0, 0)
            notes.append([onset + (duration if shift is None else shift), 0, PITCH_OF[word], 0])
            shift = None
        elif word.startswith(SHIFT):
            shift = (shift or 0) + int(word)
        elif notes:
            notes[-1][DURATION] += int(word)
    return struck(piece(note for note in notes if note[DURATION]))


def _parts(steps: int, longest: int) -> list[int]:
    """A number as the sum of the fewest words."""
    whole, rest = divmod(steps, longest)
    return [longest] * whole + [rest] * (rest > 0 or not whole)


def struck(given: Piece) -> Piece:
    """The piece in which a note that its own pitch strikes again ends there, as on a keyboard; of
    notes of one pitch and onset the longest stays."""
    notes = given.notes[np.lexsort((given.notes[:, ONSET], given.notes[:, PITCH]))]
    kept: list[list[int]] = []
    for note in notes.tolist():
        if kept and kept[-1][PITCH] == note[PITCH]:
            if kept[-1][ONSET] == note[ONSET]:
                kept[-1][DURATION] = max(kept[-1][DURATION], note[DURATION])
                continue
            kept[-1][DURATION] = min(kept[-1][DURATION], note[ONSET] - kept[-1][ONSET])
        kept.append(note)
    return piece(kept, given.length, given.label, given.name)


def tied(given: Piece) -> Piece:
    """The piece with equal notes that follow each other joined, if no note lasts longer than a
    step: then frames alone were known, and it could not be told what is held."""
    if (given.notes[:, DURATION] > 1).any():
        return given
    joined: dict[tuple[int, int], list[int]] = {}
    notes = []
    for note in given.notes.tolist():
        before = joined.get((note[PART], note[PITCH]))
        if before and before[ONSET] + before[DURATION] == note[ONSET]:
            before[DURATION] += 1
        else:
            notes.append(note)
            joined[note[PART], note[PITCH]] = note
    return piece(notes, given.length, given.label, given.name)


# --- what tokens mean, as tables over the ids ----------------------------------------------------


def pitches(form: Form) -> np.ndarray:
    """[V] int32: the MIDI pitch of each token, -1 of those without."""
    found = [PITCH_OF.get(word.rpartition(VOICE)[2], -1) for word in words(form)]
    return np.array([-1] * SPECIAL + found, np.int32)


def parts(form: Form) -> np.ndarray:
    """[V] int32: the voice of each token, 0 where there are none."""
    found = [VOICES.find(word[0]) if form.kind == "voices" else 0 for word in words(form)]
    return np.array([0] * SPECIAL + found, np.int32)


def frame_ends(form: Form) -> np.ndarray:
    """[V] bool: the tokens that end a frame; none of events."""
    last = form.voices[-1] + VOICE
    ends = {"chords": FRAME.__eq__, "voices": lambda word: word.startswith(last)}
    is_end = ends.get(form.kind, lambda word: False)
    return np.array([False] * SPECIAL + [is_end(word) for word in words(form)])


def note_tokens(form: Form) -> np.ndarray:
    """[V] bool: the tokens that nats per note divide by: every pitch, and of voices every token."""
    found = (pitches(form) >= 0) | (form.kind == "voices")
    found[:SPECIAL] = False
    return found


def follows(form: Form) -> np.ndarray:
    """[V, V] bool: whether the token of the column may stand behind that of the row.

    END begins and ends a piece. A sampler that keeps to this draws nothing but pieces, and can
    always go on or end.
    """
    known, pitch_V = words(form), pitches(form)
    ids = {word: id_ for id_, word in enumerate(known, SPECIAL)}
    may = np.zeros((len(pitch_V), len(pitch_V)), bool)
    pitched_V, end_V = pitch_V >= 0, frame_ends(form)
    if form.kind == "chords":
        may[pitched_V] = pitched_V & (pitch_V < pitch_V[pitched_V, None])
        may[pitched_V, ids[FRAME]] = True
        may[[END, ids[FRAME]]] = pitched_V | end_V
    elif form.kind == "voices":
        voice_V = np.array([-1] * SPECIAL + [form.voices.index(word[0]) for word in known])
        may = (voice_V[:, None] + 1) % len(form.voices) == voice_V
        may[END] = voice_V == 0
        may[END, ids[form.voices[0] + VOICE + HOLD]] = False
    else:
        shift_V = np.array([False] * SPECIAL + [word.startswith(SHIFT) for word in known])
        duration_V = np.array([False] * SPECIAL + [word.isdecimal() for word in known])
        may[END] = pitched_V
        may[pitched_V] = duration_V
        may[duration_V] = pitched_V | shift_V
        may[duration_V, END] = True
        may[shift_V] = pitched_V
        may[ids[str(form.longest)]] |= duration_V
        may[ids[f"{SHIFT}{form.longest}"]] |= shift_V
    may[end_V, END] = True
    may[UNKNOWN] = True
    may[:, UNKNOWN] = False
    return may


def transposition(form: Form, most: int) -> np.ndarray:
    """[2 most + 1, V] int32: the token that each becomes `row - most` semitones higher; itself if
    that has no pitch."""
    pitch_V, moved = pitches(form), []
    ids_V = np.arange(len(pitch_V), dtype=np.int32)
    for semitones in range(-most, most + 1):
        there_V = (pitch_V >= 0) & (pitch_V + semitones >= 0) & (pitch_V + semitones < PITCHES)
        moved.append(np.where(there_V, ids_V + semitones, ids_V))  # pitches stand in order
    return np.stack(moved)


def shifts(pieces: list[Piece], most: int) -> np.ndarray:
    """[N, 2] how far each piece can go down and up, `most` at most, before a voice of it leaves the
    range that the voice has in all pieces."""
    found = np.tile(np.array([-most, most]), (len(pieces), 1))
    notes = np.concatenate([piece.notes for piece in pieces])
    for part in np.unique(notes[:, PART]):
        of_part = notes[notes[:, PART] == part, PITCH]
        for row, piece in zip(found, pieces, strict=True):
            own = piece.notes[piece.notes[:, PART] == part, PITCH]
            if len(own):
                row[0] = max(row[0], of_part.min() - own.min())
                row[1] = min(row[1], of_part.max() - own.max())
    return found


# --- what does not change with the key ------------------------------------------------------------


def intervals(piece: Piece) -> str:
    """Of each note but the first a word: the interval from the note before it (in the order of
    `Piece.notes`), in semitones, and its duration in steps, such as +4:2.

    A transposed copy has the same words.
    """
    interval_N, duration_N = np.diff(piece.notes[:, PITCH]), piece.notes[1:, DURATION]
    pairs = zip(interval_N.tolist(), duration_N.tolist(), strict=True)
    return " ".join(f"{interval:+d}{VOICE}{duration}" for interval, duration in pairs)


def top(given: Piece) -> Piece:
    """The first voice alone, the highest of its notes at a time, each until the next at most."""
    first = given.notes[given.notes[:, PART] == given.notes[:, PART].min(initial=len(VOICES))]
    notes = first[np.unique(first[:, ONSET], return_index=True)[1]]
    notes[:-1, DURATION] = np.minimum(notes[:-1, DURATION], np.diff(notes[:, ONSET]))
    notes[:, PART] = 0
    return piece(notes, given.length, given.label, given.name)
