"""What to know about text before training on it: duplicates, leaks between splits, repeated spans,
personal data, broken characters.

A model copies most what it saw most often, and a leak makes copies look like skill. All examples
are masked (see `privacy`).
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from creagen_jax.creativity import privacy
from creagen_jax.creativity.duplicates import clusters, repeated_spans, windows
from creagen_jax.creativity.originality import normalise
from creagen_jax.types import UserError

SPAN = 50  # characters: what counts as verbatim in the literature on memorisation
REPEATED = 10  # times that a span may occur
SHORT = 0.1  # of the median length: texts below it are very short
LIMIT = 8_000_000  # characters in which near duplicates and spans are searched; else a sample
EXAMPLES = 3
PIECE = 100_000  # characters: longer texts are searched for spans in pieces
WIDTH = 60  # characters of an example
BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")


@dataclasses.dataclass(frozen=True)
class Copies:
    """How many items have an equal elsewhere; each number includes those before it."""

    exact: int
    normalised: int  # equal but for case, punctuation, spaces and digits
    near: int  # Jaccard index of 5-character shingles 0.8 or more, or linked by such items
    examples: list[str]  # of the widest kind


@dataclasses.dataclass(frozen=True)
class Split:
    """One split by itself."""

    items: int
    characters: int
    empty: int  # items of nothing but spaces, which count as copies of nothing
    short: int  # others, under a tenth of the median length
    broken: int  # control and replacement characters
    duplicates: Copies  # items that repeat an earlier one
    most_repeated: list[tuple[str, int]]


@dataclasses.dataclass(frozen=True)
class Leak:
    """What two splits share."""

    source: str
    into: str
    items: Copies  # items of `into` that `source` has too
    shared: float  # share of the 50-character windows of `into` that `source` has too


@dataclasses.dataclass(frozen=True)
class Spans:
    """Spans of 50 or more characters that occur more than 10 times in the training data."""

    number: int  # distinct ones
    share: float  # of the training characters
    most_repeated: list[tuple[str, int]]


@dataclasses.dataclass(frozen=True)
class Personal:
    """Personal data of one kind in the training data."""

    kind: str
    number: int
    examples: list[str]


@dataclasses.dataclass(frozen=True)
class Audit:
    """All findings."""

    splits: dict[str, Split]  # "train" first
    leaks: list[Leak]  # for each pair of splits
    spans: Spans
    personal: list[Personal]  # most frequent kind first
    notes: list[str]  # what was looked at in part only


def audit(*, train: Sequence[str], heldout: Mapping[str, Sequence[str]], seed: int = 0) -> Audit:
    """Looks through the texts of the training split and of the held-out ones, named.

    In more than 8 million characters, near duplicates and spans are searched in a random sample.
    Raises UserError if a held-out split is called "train".
    """
    if "train" in heldout:
        raise UserError("a held-out split cannot be called 'train'")
    splits = {"train": train, **heldout}
    items = {name: [text for text in texts if text.strip()] for name, texts in splits.items()}
    equals, note = _equals(items, seed)
    pieces, notes = {}, [note]
    for name, texts in items.items():
        cut = [text[i : i + PIECE] for text in texts for i in range(0, len(text), PIECE)]
        chosen, note = _sample(cut, f"spans of {name}", seed)
        pieces[name] = [_masked(cut[i]) for i in chosen]  # a span may begin inside a number
        notes.append(note)
    return Audit(
        splits={name: _split(splits[name], items[name], equals[name]) for name in splits},
        leaks=_leaks(items, equals, pieces),
        spans=_spans(pieces["train"]),
        personal=_personal(train),
        notes=[note for note in notes if note],
    )


def lines(found: Audit) -> list[str]:
    """The findings in words, a line each."""
    out = []
    for name, split in found.splits.items():
        out.append(
            f"{name}: {split.items:,} item{'s' * (split.items != 1)} of {split.characters:,} "
            f"characters; {split.empty:,} empty, {split.short:,} very short; "
            f"{split.broken:,} broken characters"
        )
    for name, split in found.splits.items():
        out.append(f"duplicates in {name}: {_copies_in_words(split.duplicates, split.items)}")
        out += [f'  {times:,} times "{text}"' for text, times in split.most_repeated[:1]]
    for leak in found.leaks:
        copies = _copies_in_words(leak.items, found.splits[leak.into].items)
        out.append(
            f"leak from {leak.source} into {leak.into}: {copies}; "
            f"{leak.shared:.1%} of its {SPAN}-character spans"
        )
    spans = found.spans
    out.append(
        f"repeated spans in train: {spans.number:,} of {SPAN} or more characters occur more than "
        f"{REPEATED} times, {spans.share:.1%} of the text"
    )
    out += [f'  {times:,} times "{text}"' for text, times in spans.most_repeated[:1]]
    kinds = [f"{kind.kind} {kind.number:,} ({kind.examples[0]})" for kind in found.personal]
    out.append(f"personal data in train: {', '.join(kinds) or 'none found'}")
    return out + [f"note: {note}" for note in found.notes]


def _copies_in_words(copies: Copies, items: int) -> str:
    if not copies.near:
        return "none"
    share = copies.near / max(items, 1)
    example = f', such as "{copies.examples[0]}"' if copies.examples else ""
    return (
        f"{copies.exact:,} exact, {copies.normalised:,} but for case, punctuation and digits, "
        f"{copies.near:,} nearly ({share:.1%} of items){example}"
    )


# --- parts ---------------------------------------------------------------------------------------


def _equals(
    items: Mapping[str, Sequence[str]], seed: int
) -> tuple[dict[str, list[Sequence[Hashable]]], str]:
    """For each split, three names for each item: itself, its normal form, that form's cluster.
    Each is the same for more items than the one before."""
    normal = {name: [normalise(text) or text for text in texts] for name, texts in items.items()}
    forms = sorted({form for split in normal.values() for form in split})
    chosen, note = _sample(forms, "near duplicates", seed)
    cluster = -1 - np.arange(len(forms))
    cluster[chosen] = clusters([forms[i] for i in chosen], seed=seed)
    number = dict(zip(forms, cluster.tolist(), strict=True))
    equals = {
        name: [texts, normal[name], [number[form] for form in normal[name]]]
        for name, texts in items.items()
    }
    return equals, note


def _sample(texts: Sequence[str], what: str, seed: int) -> tuple[np.ndarray, str]:
    """The texts to search, at most LIMIT characters; a note if these are not all."""
    lengths = np.array([len(text) for text in texts], np.int64)
    if lengths.sum() <= LIMIT:
        return np.arange(len(texts)), ""
    order = np.random.default_rng(seed).permutation(len(texts))
    chosen = np.sort(order[np.cumsum(lengths[order]) <= LIMIT])
    return chosen, f"{what}: searched in {len(chosen):,} of {len(texts):,} texts, at random"


def _copies(texts: Sequence[str], flags: Sequence[Sequence[bool]]) -> Copies:
    """flags [3][N]: whether each text has an equal, by each name that `_equals` gives it."""
    flagged = dict.fromkeys(itertools.compress(texts, flags[-1]))
    examples = [_show(text) for text in itertools.islice(flagged, EXAMPLES)]
    return Copies(*(sum(level) for level in flags), examples)


def _split(texts: Sequence[str], items: Sequence[str], equals: list[Sequence[Hashable]]) -> Split:
    lengths = np.array([len(text) for text in items])
    flags = []
    for names in equals:
        seen = set()
        flags.append([name in seen or bool(seen.add(name)) for name in names])
    often = [(text, times) for text, times in Counter(items).most_common(EXAMPLES) if times > 1]
    return Split(
        items=len(texts),
        characters=sum(map(len, texts)),
        empty=len(texts) - len(items),
        short=int((lengths < SHORT * np.median(lengths)).sum()) if items else 0,
        broken=sum(len(BROKEN.findall(text)) for text in texts),
        duplicates=_copies(items, flags),
        most_repeated=[(_show(text), times) for text, times in often],
    )


def _leaks(
    items: Mapping[str, Sequence[str]],
    equals: Mapping[str, list[Sequence[Hashable]]],
    pieces: Mapping[str, Sequence[str]],
) -> list[Leak]:
    hashes = {name: windows(texts, SPAN)[0] for name, texts in pieces.items()}
    leaks = []
    for source, into in itertools.combinations(items, 2):
        flags = []
        for there, here in zip(equals[source], equals[into], strict=True):
            known = set(there)
            flags.append([name in known for name in here])
        shared = np.isin(hashes[into], hashes[source]).sum() / max(len(hashes[into]), 1)
        leaks.append(Leak(source, into, _copies(items[into], flags), float(shared)))
    return leaks


def _spans(texts: Sequence[str]) -> Spans:
    found, covered = repeated_spans(texts, width=SPAN, more_than=REPEATED)
    often = sorted(found.items(), key=lambda span: (-span[1], -len(span[0]), span[0]))[:EXAMPLES]
    share = covered / max(sum(map(len, texts)), 1)
    return Spans(len(found), share, [(_show(text), times) for text, times in often])


def _personal(texts: Sequence[str]) -> list[Personal]:
    hits = privacy.screen(texts)
    masked: dict[str, dict[str, None]] = {}
    for hit in hits:
        masked.setdefault(hit.kind, {})[_tidy(hit.masked)] = None
    counts = Counter(hit.kind for hit in hits).most_common()
    return [Personal(kind, number, list(masked[kind])[:EXAMPLES]) for kind, number in counts]


def _show(text: str) -> str:
    """The beginning of a text, fit to be printed."""
    return _tidy(_masked(text))


def _masked(text: str) -> str:
    return privacy.mask_text(text, privacy.screen([text]))


def _tidy(text: str) -> str:
    line = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"
