"""What one evaluation found: the objects that `report` renders, and report.json, the same.

report.json holds the fields of `Report` below, under the same names, and `"schema": 4`. It is
strict JSON: what is not known is null, never NaN. An estimate is

    {"value": 0.81, "low": 0.76, "high": 0.86, "method": "bootstrap", "n": 2000, "n_ref": 500,
     "note": ""}

with a 95 % interval; value, low and high are null together when it is undetermined, and `note` then
says why. All texts are masked: they hold no personal data. Pictures are data URIs.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import types
import typing
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from creagen_jax.creativity.estimate import Estimate
from creagen_jax.types import UserError

SCHEMA = 4
AXES = ("quality", "novelty", "diversity")
DIGITS = 3  # of the weights of an alignment
LARGEST = 128  # pixels: longer sides of pictures are shrunk to it, to keep report.json small


@dataclasses.dataclass(frozen=True)
class Counts:
    """The funnel: of the generated, how many are valid; of these, original; of these, distinct."""

    generated: int
    valid: int
    original: int
    distinct: int


@dataclasses.dataclass(frozen=True)
class Yield:
    """Creative Yield: the share that is valid, original and distinct at once."""

    value: Estimate  # relative to that of held-out data
    absolute: Estimate  # share of the generated items
    counts: Counts | None = None  # None where it is undetermined
    heldout: Counts | None = None  # held-out items in place of the generated

    @property
    def shown(self) -> Estimate:
        """The relative one, or where it is undetermined the absolute one."""
        return self.absolute if self.value.value is None else self.value


@dataclasses.dataclass(frozen=True)
class Composite:
    """(quality * novelty * diversity) ** (1/3), for those who must have one number."""

    value: Estimate
    worst: str | None = None  # the lowest axis


@dataclasses.dataclass(frozen=True)
class Anchor:
    """The same measures of items whose merit is known."""

    title: str  # in words
    profile: dict[str, Estimate]  # as in Report
    creative_yield: float | None = None
    metrics: dict[str, float | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Curve:
    """Lines over a common x; None where a line has no value."""

    x: list[float]
    series: dict[str, list[float | None]]  # "generated", or the name of an anchor


@dataclasses.dataclass(frozen=True)
class Span:
    """A part of an item that stands verbatim in the training data."""

    start: int  # first and
    stop: int  # beyond the last character in the item's text
    length: int  # in the report's unit
    source: str  # the training data around it
    document: int  # number of the training document that it was found in
    occurrences: int  # in all of the training data


@dataclasses.dataclass(frozen=True)
class Item:
    """A generated item, or a real one beside it. Raises ValueError for a picture or a
    sound from elsewhere."""

    text: str = ""
    spans: list[Span] = dataclasses.field(default_factory=list)
    marks: list[str] = dataclasses.field(default_factory=list)  # such as "in training data"
    label: str = ""  # the class that was asked for
    source: str = ""  # the text that it was made from
    reference: str = ""  # what a person made from it
    reason: str = ""  # of a reject: which test it failed
    picture: str = ""  # as `picture` makes it
    sound: str = ""  # a data URI, of a file that browsers play

    def __post_init__(self) -> None:
        for kind, uri in {"image": self.picture, "audio": self.sound}.items():
            if uri and not uri.startswith(f"data:{kind}/"):  # the page would fetch it
                raise ValueError(f"a picture or a sound must be a data URI of kind {kind}")


def picture(pixels_HWC: np.ndarray) -> str:
    """Pixels, uint8 with 1, 3 (RGB) or 4 (RGBA) channels, as a PNG in a data URI."""
    image = Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[-1] == 1 else pixels_HWC)
    image.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    image.save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


@dataclasses.dataclass(frozen=True)
class Neighbours:
    """A generated item between the real items most like it."""

    item: Item
    train: Item | None  # the nearest training item
    heldout: Item | None  # the nearest held-out item; None without held-out data
    percentile: float | None = None  # of held-out items, how many per cent are copied less


@dataclasses.dataclass(frozen=True)
class Gallery:
    """What a reader should see with their own eyes."""

    unselected: list[Item] = dataclasses.field(default_factory=list)  # the first ones drawn
    copied: list[Neighbours] = dataclasses.field(default_factory=list)  # the most copied first
    rarest: list[Item] = dataclasses.field(default_factory=list)  # valid; most surprising first
    rejects: list[Item] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """The items of one class."""

    label: str
    count: int  # generated when this class was asked for
    metrics: dict[str, Estimate]  # by the names of `catalogue.METRICS`


@dataclasses.dataclass(frozen=True)
class Alignment:
    """What each unit of an output was made from. Raises ValueError for weights of another shape."""

    source: list[str]
    target: list[str]
    weights: list[list[float]]  # of each target unit, how much it attends to each source unit

    def __post_init__(self) -> None:
        if [len(row) for row in self.weights] != [len(self.source)] * len(self.target):
            raise ValueError("an alignment needs a row for each target unit, of all source units")


def alignment(source: Sequence[str], target: Sequence[str], weights_TS: np.ndarray) -> Alignment:
    """An alignment whose weights are rounded, to keep report.json small."""
    rows = np.asarray(weights_TS, np.float64).round(DIGITS).tolist()
    return Alignment(list(source), list(target), rows)


@dataclasses.dataclass(frozen=True)
class Private:
    """Personal data of one kind in the generated items."""

    kind: str  # such as "e-mail"
    leaked: int  # verbatim in more than five training documents
    rare: int  # verbatim in one to five of them: the worst, for it is private to somebody
    invented: int  # not in the training data
    examples: list[str] = dataclasses.field(default_factory=list)  # masked


@dataclasses.dataclass(frozen=True)
class Report:
    """All of one evaluation."""

    title: str
    kind: str  # of the items: "text", "image", "sound" or "video"
    unit: str  # that lengths count in: "character" or "word" of texts, otherwise ""
    profile: dict[str, Estimate]  # by AXES; 0 and 1 are the anchors of `catalogue.SCALES`
    creative_yield: Yield
    composite: Composite
    metrics: dict[str, Estimate]  # by the names of `catalogue.METRICS`
    anchors: dict[str, Anchor]  # "held-out", "training copies", "noise", "one item", "Markov 1" ..
    warnings: list[str]  # what a reader must know before anything else
    protocol: dict[str, Any]  # counts, seeds, fingerprints, versions: what was done
    curves: dict[str, Curve] = dataclasses.field(default_factory=dict)
    # "novelty": x is n, the line the share of n-grams that are not in the training data
    gallery: Gallery = dataclasses.field(default_factory=Gallery)
    alignments: list[Alignment] = dataclasses.field(default_factory=list)
    classes: list[ClassRow] = dataclasses.field(default_factory=list)
    privacy: list[Private] = dataclasses.field(default_factory=list)  # of texts


def to_json(report: Report) -> dict[str, Any]:
    """report.json as plain dicts and lists. Raises ValueError for a NaN or an infinity."""
    fields = {"schema": SCHEMA, **dataclasses.asdict(report)}
    return json.loads(json.dumps(fields, allow_nan=False))


def from_json(fields: dict[str, Any]) -> Report:
    """The inverse of `to_json`. Raises UserError for what is no report of this version."""
    if not isinstance(fields, dict) or "schema" not in fields:
        raise UserError("this is not a report: it has no schema number")
    if fields["schema"] != SCHEMA:
        raise UserError(f"the report has schema {fields['schema']}; this version reads {SCHEMA}")
    try:
        return _read(Report, fields)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"the report is damaged: {type(error).__name__}: {error}") from None


def _read(kind: Any, value: Any) -> Any:
    """`value`, as JSON has it, as the annotated type `kind`."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _read(hint, value[name]) for name, hint in hints.items()})
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:  # always `something | None`
        return None if value is None else _read(inner[0], value)
    if origin is list:
        return [_read(inner[0], each) for each in value]
    if origin is dict:
        return {key: _read(inner[1], each) for key, each in value.items()}
    return value
