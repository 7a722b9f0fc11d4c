"""Reports as an evaluation could make them, of names, of prose and of pictures."""

from __future__ import annotations

import functools

import numpy as np
from sklearn.datasets import load_digits

from creagen_jax.creativity import report, series
from creagen_jax.creativity.catalogue import METRICS
from creagen_jax.creativity.estimate import Estimate, exact, undetermined
from creagen_jax.creativity.record import (
    AXES,
    Anchor,
    ClassRow,
    Composite,
    Counts,
    Curve,
    Gallery,
    Item,
    Neighbours,
    Private,
    Report,
    Span,
    Yield,
    picture,
)

TRAIN = """From fairest creatures we desire increase,
That thereby beauty's rose might never die,
But as the riper should by time decease,
His tender heir might bear his memory.
When forty winters shall besiege thy brow,
And dig deep trenches in thy beauty's field,
Thy youth's proud livery so gazed on now,
Will be a tattered weed of small worth held.
Look in thy glass and tell the face thou viewest
Now is the time that face should form another""".splitlines()

PROSE = [
    """When forty winters shall besiege the rose,
And tell the face how tender youth might bear
The riper worth that in thy glass it shows,
So gazed on now, and never held so fair.""",
    """From fairest creatures we desire increase,
That thereby beauty's rose might never die,
And so by time the creatures shall release
A livery of winters in the sky.""",
    """The heir of small things looks upon the field
and finds it dug, and finds the trenches deep;
what memory the tattered weed may yield
is more than any riper heart can keep.""",
]
NAMES = """Marielle Torvan Hogille Jette Duroloy Tavie Loria Tranie Karisha Bellomar Santorelli
Wendi Oskarine Pelham Quintessa Rudmer Alberta Vashtine Corbin Yolandra"""
KNOWN = ["Jette", "Wendi", "Pelham", "Alberta", "Corbin", "Marie", "Loriann", "Tania", "Roland"]
AXIS_VALUES = {  # quality, novelty, diversity
    "held-out": (1.0, 1.0, 1.0),
    "training copies": (1.0, 0.0, 0.98),
    "noise": (0.0, 0.99, 0.35),
    "one item": (1.0, 0.97, 0.0),
    "Markov 1": (0.31, 0.99, 0.71),
    "Markov 2": (0.58, 0.97, 0.88),
    "Markov 3": (0.79, 0.93, 0.94),
    "Markov 4": (0.90, 0.78, 0.95),
    "Markov 5": (0.95, 0.49, 0.96),
    "Markov 6": (0.97, 0.24, 0.97),
}
TITLES = {
    "held-out": "Held-out data",
    "training copies": "Training copies",
    "noise": "Noise",
    "one item": "One item repeated",
}


def estimate(value: float, half: float = 0.04, n: int = 2000, note: str = "") -> Estimate:
    return Estimate(value, value - half, min(value + half, 1.0), "bootstrap", n, 500, note)


def profile(quality: float, novelty: float, diversity: float, half: float = 0.04) -> dict:
    values = {"quality": quality, "novelty": novelty, "diversity": diversity}
    return {axis: estimate(value, half) for axis, value in values.items()}


def spans(text: str, sources: list[str], least: int) -> list[Span]:
    """The maximal parts of a text, at least so long, that stand in one of the sources."""
    found, stop = [], 0
    for start in range(len(text)):
        longest = max(
            (end for end in range(start + 1, len(text) + 1)
             if any(text[start:end] in source for source in sources)), default=start,
        )  # fmt: skip
        if longest > stop and longest - start >= least:
            part = text[start:longest]
            holders = [i for i, source in enumerate(sources) if part in source]
            span = Span(start, longest, len(part), sources[holders[0]], holders[0], len(holders))
            found.append(span)
        stop = max(stop, longest)
    return found


def item(text: str, sources: list[str], least: int, **rest) -> Item:
    marks = ["in training data"] if text in sources else []
    return Item(text, spans(text, sources, least), marks, **rest)


def gallery(prose: bool) -> Gallery:
    if prose:
        corpus = ["\n".join(TRAIN)]
        items = [item(text, corpus, 8) for text in PROSE]
        far = Item("Music to hear, why hear'st thou music sadly?")
        pairs = [
            Neighbours(items[1], Item(corpus[0]), far, 99.5),
            Neighbours(items[0], Item(TRAIN[4]), far, 91),
        ]
        return Gallery(
            items, pairs, items[2:], [Item("the the the the the the", reason="not valid")]
        )
    items = [item(text, KNOWN, 4, label="female") for text in NAMES.split()]
    pairs = [
        Neighbours(item(name, KNOWN, 4), Item(name), Item("Jetta"), 98.2) for name in KNOWN[:3]
    ]
    rejects = [
        Item("Xqzzv", reason="not valid"),
        item("Jette", KNOWN, 4, reason="not original"),
        Item("Loria", reason="not distinct"),
    ]
    return Gallery(items, pairs, items[11:17], rejects)


def curve(longest: int = 16) -> Curve:
    n = np.arange(1, longest + 1)

    def rising(middle: float, slope: float = 1.1) -> list[float]:
        return (1 / (1 + np.exp(slope * (middle - n)))).round(4).tolist()

    series = {"generated": rising(5.6), "held-out": rising(5.2), "training copies": [0.0] * longest}
    for order in range(1, 7):
        series[f"Markov {order}"] = [0.0] * order + rising(3.6 + order, 0.8)[order:]
    series["one item"] = rising(4.0)
    series["noise"] = [None, *rising(2.0, 3.0)[1:]]
    return Curve(n.astype(float).tolist(), series)


def fake_report(*, prose: bool = False, values: tuple = (0.93, 0.88, 0.95), **changes) -> Report:
    """`values` are quality, novelty and diversity."""
    metrics = {name: estimate(0.05 + 0.02 * i, 0.02) for i, name in enumerate(METRICS)}
    metrics["mauve"] = undetermined("fewer than 1,000 items", n=300, n_ref=300)
    metrics["frechet"] = Estimate(12.31, 11.9, 12.8, "subsampling", 2000, 500)
    metrics["copying_ct"] = Estimate(-2.3, -4.1, -0.5, "subsampling", 2000, 500)
    metrics["kid"] = Estimate(-0.00012, -0.0004, 0.0002, "subsampling", 2000, 500)
    metrics |= {name: exact(3, n=2000) for name in ("leaked", "rare", "invented")}
    metrics["longest_span_max"] = exact(14, n=2000)
    anchors = {
        name: Anchor(
            title=TITLES.get(name, f"Markov chain of order {name[-1]}"),
            profile=profile(*numbers),
            creative_yield=0.9 * numbers[0] * numbers[1],
            metrics={metric: 0.1 + 0.01 * i for i, metric in enumerate(METRICS)},
        )
        for name, numbers in AXIS_VALUES.items()
    }
    fields = {
        "title": "shakespeare_transformer" if prose else "names_lstm",
        "kind": "text",
        "unit": "character",
        "profile": profile(*values),
        "creative_yield": Yield(
            estimate(0.87),
            estimate(0.79),
            Counts(2000, 1880, 1662, 1580),
            Counts(2000, 1958, 1900, 1816),
        ),
        "composite": Composite(estimate(0.92), "novelty"),
        "metrics": metrics,
        "anchors": anchors,
        "warnings": [
            "The held-out data share 0.8 % of their items with the training data.",
            "MAUVE rests on 300 items; it is undetermined.",
        ],
        "protocol": {
            "run": "runs/names_lstm",
            "step": 1500,
            "sampling": {"temperature": 1.0, "top_p": 0.95, "seed": 0},
            "items": {"generated": 2000, "training": 84949, "held-out": 4719},
            "fingerprint": "3cc474858c98de14f7e0a5b9d0e6b1c2a4f80c1d2e3f4a5b6c7d8e9f00112233",
            "versions": {"creagen_jax": "0.1.0", "jax": "0.10.2", "numpy": "2.4.6"},
        },
        "curves": {"novelty": curve()},
        "gallery": gallery(prose),
        "privacy": [
            Private("e-mail", 1, 2, 3, ["j***@e***.com"]),
            Private("payment card", 0, 0, 1, ["****1111"]),
        ],
    }
    return Report(**(fields | changes))


PICTURE_ANCHORS = {  # title, and quality, novelty, diversity
    "held-out": ("Held-out pictures", (1.0, 1.0, 1.0)),
    "training copies": ("Copies of training pictures", (1.0, 0.0, 0.98)),
    "noise": ("Random pixels", (0.0, 1.0, 0.1)),
    "one item": ("One held-out picture repeated", (1.0, 0.97, 0.0)),
    "class Gaussian": ("A Gaussian for each class", (0.62, 0.99, 0.71)),
    "mixup": ("Midpoints of two training pictures", (0.55, 0.66, 0.72)),
    "copies with noise": ("Training pictures, half noise", (0.31, 0.12, 0.64)),
}


def pictures(blur: float = 0.0) -> Gallery:
    """Scikit-learn's digits, mixed with others of their classes, beside real ones."""
    pixels, digits = load_digits(return_X_y=True)
    pixels = pixels.reshape(-1, 8, 8, 1)
    mixed = (1 - blur) * pixels[:500] + blur * pixels[500:1000]

    def shown(values, i: int, **rest) -> Item:
        image = np.clip(16 * values[i], 0, 255).astype(np.uint8)
        return Item(label=str(digits[i]), picture=picture(image), **rest)

    def nearest(i: int, first: int, last: int) -> Item:
        distance = np.square(pixels[first:last] - mixed[i]).sum((1, 2, 3))
        return shown(pixels, first + int(distance.argmin()))

    near = {7: ["near copy"], 12: ["in training data"]}
    wrong = {5: "read as 8, not 5", 31: "unlike any real picture", 40: "read as 1, not 7"}
    return Gallery(
        [shown(mixed, i, marks=near.get(i, []), reason=wrong.get(i, "")) for i in range(64)],
        [
            Neighbours(shown(mixed, i, marks=near.get(i, [])), nearest(i, 1000, 1500),
                       nearest(i, 1500, 1797), 99.7 - i)
            for i in range(12)
        ],
        [shown(mixed, i) for i in range(70, 82)],
        [shown(mixed, i, reason=reason) for i, reason in wrong.items()],
    )  # fmt: skip


def picture_report(*, values: tuple = (0.93, 0.88, 0.95), blur: float = 0.0, **changes) -> Report:
    """Of digits, class by class."""
    shares = ("label_accuracy", "precision", "coverage", "near_duplicates")
    names = [
        *("label_accuracy", "label_accuracy_ratio", "precision", "precision_ratio", "frechet"),
        *("frechet_relative", "kid", "heldout_neighbour_rate_pixels", "near_duplicates"),
        *("heldout_neighbour_rate_network", "heldout_neighbour_rate_domain", "coverage"),
        *("coverage_ratio", "vendi_ratio", "class_distance"),
    ]
    anchors = {
        name: Anchor(title, profile(*numbers), 0.5, dict.fromkeys(names, numbers[0]))
        for name, (title, numbers) in PICTURE_ANCHORS.items()
    }
    few = undetermined("fewer than 12 items", n=9)
    fields = {
        "title": "digits_diffusion",
        "kind": "image",
        "unit": "",
        "metrics": {name: estimate(0.97 - 0.03 * i, 0.02) for i, name in enumerate(names)},
        "anchors": anchors,
        "warnings": ["the training pictures are 60,000: 20,000 of them stand for all"],
        "curves": {},
        "gallery": pictures(blur),
        "privacy": [],
        "classes": [
            ClassRow(str(i), 200 - 7 * i, {name: estimate(0.9 - 0.04 * i) for name in shares})
            for i in range(9)
        ]
        + [ClassRow("9", 9, dict.fromkeys(shares, few))],
    }
    return fake_report(values=values, **(fields | changes))


def guidance() -> str:
    """A page of five reports of pictures."""
    axes = [(0.52, 0.97, 0.93), (0.78, 0.98, 0.96), (0.93, 0.97, 0.95), (0.97, 0.95, 0.85),
            (0.98, 0.92, 0.61)]  # fmt: skip
    x = [0.0, 0.5, 1.0, 2.0, 4.0]
    rows = [
        (f"{at:g}", picture_report(values=each, blur=0.1 * i))
        for i, (at, each) in enumerate(zip(x, axes, strict=True))
    ]
    return series.render("digits_diffusion by guidance", rows, x=x, x_title="guidance")


def sweep(**how) -> str:
    """A page of two reports."""
    rows = [("0.5", fake_report(values=(0.9, 0.7, 0.6))), ("1.0", fake_report())]
    return series.render("Temperatures", rows, **how)


@functools.cache
def pages() -> dict[str, str]:
    """Of every kind."""
    return {
        "names": report.render(fake_report()),
        "prose": report.render(fake_report(prose=True)),
        "nothing": report.render(nothing()),
        "pictures": report.render(picture_report()),
        "guidance": guidance(),
        "sweep": sweep(x=[0.5, 1.0], x_title="temperature", mark=(1.0, "copying begins")),
        "comparison": sweep(),
    }


def nothing() -> Report:
    """Of an evaluation in which nothing could be told."""
    unknown = undetermined("there are no samples", n=0)
    return fake_report(
        profile=dict.fromkeys(AXES, unknown),
        creative_yield=Yield(unknown, unknown),
        composite=Composite(unknown),
        metrics=dict.fromkeys(METRICS, unknown),
        anchors={},
        curves={},
        gallery=Gallery(),
        privacy=[],
        warnings=[],
        protocol={},
    )


def replaced(value, text: str):
    """A report as JSON with another text in place of each; names, pictures and sounds stay."""
    if isinstance(value, str):
        return text
    if isinstance(value, list):
        return [replaced(each, text) for each in value]
    if isinstance(value, dict):
        return {
            key: each if key in ("picture", "sound") else replaced(each, text)
            for key, each in value.items()
        }
    return value


def luminance(colour: str) -> float:
    """WCAG 2.2."""
    if len(colour) == 4:
        colour = "#" + "".join(2 * digit for digit in colour[1:])
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
