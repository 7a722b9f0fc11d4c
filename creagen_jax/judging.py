"""Texts in, a creativity report out: real texts and anchors once, then any generated ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from creagen_jax import material
from creagen_jax.creativity import labelled, record, showcase, text
from creagen_jax.creativity.appraisal import appraise, too_few, versions
from creagen_jax.creativity.estimate import Estimate
from creagen_jax.creativity.profile import Measures
from creagen_jax.material import Material

ORDERS = range(1, 7)  # of the Markov chains that are anchors
DETAILED = ("held-out", "training copies", "noise")  # anchors whose every metric is shown
TITLES = {
    "held-out": "Held-out data",
    "training copies": "Copies of training data",
    "noise": "Real data with their characters shuffled",
    "one item": "One held-out item repeated",
} | {f"Markov {order}": f"Markov chain of order {order}" for order in ORDERS}


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """Real texts and anchors, measured once, for any number of generated sets."""

    material: Material
    yardstick: text.Yardstick
    anchors: dict[str, Measures]
    curves: dict[str, list[float | None]]  # how new the n-grams of each anchor are
    reader: labelled.Reader | None  # None without labels
    seed: int


def bench(found: Material, generated: Sequence[str], *, seed: int, fast: bool) -> Bench:
    """All that texts like the generated ones are held against; with `fast`, less of it."""
    size = 0 if found.line else max(int(np.median([len(each) for each in generated])), 1)
    train, labels = _cut(found.documents, found.labels, size)
    heldout, heldout_labels = _cut(found.heldout, found.heldout_labels, size)
    reader = None
    if len(set(labels)) > 1:
        reader = labelled.reader(train, labels, heldout, heldout_labels, seed=seed)
    reference, others = material.halves(heldout, seed)
    yardstick = text.yardstick(
        documents=found.documents,
        train=train,
        reference=reference,
        heldout=others,
        line=found.line,
        unit=text.unit_of(others or train),
        size=len(generated),
        seed=seed,
    )
    rng = np.random.default_rng(seed)
    some = yardstick.size or len(generated)
    copies = [train[i] for i in rng.permutation(len(train))[:some]]
    real = yardstick.peers[:some] or copies
    sets = {
        "held-out": others[:some],
        "training copies": copies,
        "noise": ["".join(rng.permutation(list(each))) for each in real],
        "one item": (others or copies)[:1] * some,
    }
    chains = found.chains(ORDERS, some, seed)
    sets |= {f"Markov {order}": texts for order, texts in chains.items()}
    if not others:
        del sets["held-out"]
    anchors = {
        name: text.measure(
            yardstick, texts, intervals=False, full=name in DETAILED and not fast, seed=seed
        )
        for name, texts in sets.items()
    }
    curves = {name: showcase.novelty_curve(yardstick, texts) for name, texts in sets.items()}
    return Bench(found, yardstick, anchors, curves, reader, seed)


def _cut(texts: list[str], labels: Sequence[str], size: int) -> tuple[list[str], list[str]]:
    """Texts as pieces of `size` characters, or whole if it is 0; and the labels of the results."""
    cut = [material.pieces([each], size) if size else [each] for each in texts]
    parts = [part for each in cut for part in each]
    counts = [len(each) for each in cut]
    return parts, np.repeat(labels, counts).tolist() if len(labels) else []


def judge(
    on: Bench,
    generated: Sequence[str],
    *,
    title: str,
    labels: Sequence[str] = (),
    sources: Sequence[str] = (),
    references: Sequence[Sequence[str]] = (),
    alignments: Sequence[record.Alignment] = (),
    exhibit: Callable[[int], dict[str, str]] | None = None,
    protocol: dict[str, Any] | None = None,
    probed: dict[str, dict[str, Estimate]] | None = None,
    full: bool = True,
) -> record.Report:
    """The report of generated texts.

    Of each text, if there are such: the label that was asked for, the source that it was made from,
    and what people made from that; alignments: of some of them; exhibit: a function of the number
    of a text to the fields of `record.Item` that show or play what it stands for.
    """
    y = on.yardstick
    told, classes = _told(on, generated, labels)
    for name, found in (probed or {}).items():
        told[name] = found | told.get(name, {})
    measures = text.measure(y, generated, full=full, seed=on.seed)
    privacy = showcase.private(generated, on.material.documents)
    novelty = showcase.novelty_curve(y, generated)
    return record.Report(
        title=title,
        kind="text",
        unit="word" if y.words else "character",
        **appraise(measures, on.anchors, TITLES, doubt=y.doubt, probed=told),
        warnings=_warnings(on, measures, generated) + showcase.alarms(privacy),
        protocol=_protocol(on, generated, protocol or {}),
        curves={"novelty": showcase.curve({"generated": novelty, **on.curves})},
        gallery=_paired(
            showcase.gallery(
                y,
                generated,
                labels,
                exhibit=exhibit,
                exhibit_real=on.material.exhibit,
                seed=on.seed,
            ),
            sources,
            references,
        ),
        alignments=[each for each in alignments if _harmless(each)],
        classes=classes,
        privacy=privacy,
    )


def _told(
    on: Bench, generated: Sequence[str], labels: Sequence[str]
) -> tuple[dict[str, dict[str, Estimate]], list[record.ClassRow]]:
    """Whether the texts are of their labels: metrics of the "model" and of an anchor; by label."""
    if on.reader is None or not any(labels):
        return {}, []
    told, rows = labelled.measure(on.reader, generated, labels)
    classes = [record.ClassRow(label, labels.count(label), row) for label, row in rows.items()]
    return {"model": told, "held-out": {"label_accuracy": on.reader.accuracy}}, classes


def _harmless(alignment: record.Alignment) -> bool:
    """Whether it holds no personal data, whose units could not be masked one by one."""
    sides = (alignment.source, alignment.target)
    texts = [space.join(units) for units in sides for space in ("", " ")]
    return all(showcase.masked(each) == each for each in texts)


def _paired(
    gallery: record.Gallery, sources: Sequence[str], references: Sequence[Sequence[str]]
) -> record.Gallery:
    """With the source and a reference of each of the first texts."""

    def known(i: int, item: record.Item) -> record.Item:
        texts = [showcase.masked(each) for each in references[i]] if references else [""]
        reference = item.text if item.text in texts else texts[0]
        return dataclasses.replace(item, source=showcase.masked(sources[i]), reference=reference)

    if not sources:
        return gallery
    first = [known(i, item) for i, item in enumerate(gallery.unselected)]
    return dataclasses.replace(gallery, unselected=first)


def _warnings(on: Bench, measures: Measures, generated: Sequence[str]) -> list[str]:
    """What a reader must know before anything else."""
    y, found = on.yardstick, list(on.material.warnings)
    if not on.material.heldout:
        found.append(
            "no held-out data: quality, novelty and diversity are undetermined, because nothing "
            "tells what is normal"
        )
    elif not y.reference:
        found.append("the held-out data are too few to be split into halves: all is undetermined")
    elif y.limits is None:
        found.append(f"{y.doubt}, and training texts are too few to stand in: all is undetermined")
    elif y.doubt:
        found.append(
            f"{y.doubt}: the held-out-neighbour rate and the relative yield are undetermined, and "
            "quality and diversity compare with training texts kept apart instead"
        )
    sizes = {
        "generated": len(generated),
        "training": len(y.trained),
        "held-out": len(y.reference) + len(y.heldout),
    }
    found += too_few(sizes)
    if len(set(generated)) == 1 and len(generated) > 1:
        found.append("all generated items are the same")
    if empty := sum(not each.strip() for each in generated):
        found.append(f"{empty} of {len(generated)} generated items are empty")
    rate = measures.novelty["heldout_neighbour_rate_match"]
    if y.limits is not None and not y.doubt and rate.value is None:
        found.append(f"the held-out-neighbour rate is undetermined: {rate.note}")
    return found


def _protocol(on: Bench, generated: Sequence[str], given: dict[str, Any]) -> dict[str, Any]:
    y = on.yardstick
    return {
        **given,
        **on.material.protocol,
        "items": {
            "generated": len(generated),
            "training": len(y.trained),
            "held-out, reference half": len(y.reference),
            "held-out, other half": len(y.heldout),
            "standard of quality and diversity": len(y.standard),
            "as many of each": y.size,
        },
        "characters generated": sum(map(len, generated)),
        "seed": on.seed,
        "creativity index": f"{text.SPANS[0]} to {text.SPANS[1]} units",
        "versions": versions(),
    }
