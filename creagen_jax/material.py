"""What is judged and what it is held against: the texts of a run, or of anybody's files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from creagen_jax import config, data, generation, rundir, scoring
from creagen_jax.data import sources
from creagen_jax.types import UserError

SEARCHED = 5_000_000  # tokens of training data in which copies are looked for


@dataclasses.dataclass(frozen=True, eq=False)
class Material:
    """Real texts, and the chains that are trained on them as anchors."""

    title: str
    line: bool  # texts are lines; else pieces of long texts
    documents: list[str]  # the training texts
    heldout: list[str]  # held-out lines or documents
    chains: Callable[[Sequence[int], int, int], dict[int, list[str]]]
    # (orders, num, seed) -> texts of Markov chains of these orders
    protocol: dict[str, Any]  # of the data
    warnings: list[str]
    labels: list[str] = dataclasses.field(default_factory=list)  # of the documents; [] for none
    heldout_labels: list[str] = dataclasses.field(default_factory=list)  # of the held-out texts
    exhibit: Callable[[str], dict[str, str]] | None = None
    # a text of these -> the fields of `record.Item` that show or play what it stands for


def of_run(run: Path, request: generation.Request) -> Material:
    """The data of a run, of one label if the request names one; of pairs, the targets.

    Raises UserError if the run is none, holds no text, or its data has changed.
    """
    fields = rundir.read(run)
    modality = config.modality(fields["experiment"])
    dataset = generation.training_data(run)
    return _of_dataset(run.name, modality, dataset, request)


def of_files(train: str, heldout: str) -> Material:
    """Training and held-out texts from files or folders, one item a line; `heldout` may be "".

    Raises UserError for what cannot be read or is empty.
    """
    text = data.get("text")
    dataset = text.load(text.Config(path=train, unit="line", labels=False, validation=0.0))
    found = _of_dataset(train, "text", dataset, generation.Request())
    return dataclasses.replace(found, heldout=lines(heldout) if heldout else [])


def others(modality: ModuleType, codec: Any, path: str) -> tuple[list[str], list[str]]:
    """Texts from files that stand for what those of a codec do, and their labels or "".

    Raises UserError for what cannot be read or is empty.
    """
    source, dataset = modality.like(codec, path)
    texts, ids = source.texts(dataset, "train"), dataset.splits["train"].labels
    names = [""] * len(texts) if ids is None else [dataset.codec.labels[i] for i in ids]
    return texts, names


def lines(path: str) -> list[str]:
    """The lines of a text file or folder, or each `text` of .jsonl and .csv. Raises UserError."""
    found = [line.text for line in sources.files(path, "line").splits["train"]]
    if not found:
        raise UserError(f"{path} holds no text")
    return found


class _Row(NamedTuple):
    """A real text as the data have it."""

    text: str
    label: str  # "" for none
    source: str | None  # what it was made from, where that is so


def _of_dataset(title: str, modality: str, dataset: Any, request: generation.Request) -> Material:
    source, targets = data.targets(data.get(modality), dataset)
    codec, splits = targets.codec, targets.splits
    fingerprint, warnings = dataset.fingerprint, []
    wanted = codec.labels[codec.label_id(request.label)] if request.label else None

    def rows(*names: str) -> list[_Row]:
        """Of all these splits."""
        found = []
        for name in names:
            texts, ids = source.texts(targets, name, SEARCHED), splits[name].labels
            size = len(texts)  # of a large split the first alone
            told = [""] * size if ids is None else [codec.labels[i] for i in ids[:size]]
            given = [None] * size
            if generation.reads_source(dataset.codec):
                given = data.get(modality).sources(dataset, name)[:size]
            found += [_Row(*row) for row in zip(texts, told, given, strict=True)]
        return [row for row in found if wanted in (None, row.label)]

    size = len(splits["train"].tokens)
    if size > SEARCHED:
        warnings.append(
            f"copies are looked for in the first {SEARCHED:,} of {size:,} training tokens, so "
            "novelty is at most what is reported"
        )
    names = [name for name in splits if name != "train"]
    protocol = {
        "data": fingerprint["source"],
        "sha256": fingerprint["sha256"],
        "tokenizer": fingerprint["tokenizer"],
        "held-out splits": ", ".join(names) or "none",
    }
    train, others = rows("train"), rows(*names)
    documents, heldout = (judged(codec, [row.text for row in each]) for each in (train, others))
    return Material(
        title=title,
        line=codec.line,
        documents=documents,
        heldout=heldout,
        chains=_chains(source, targets, request),
        protocol={**protocol, "label": request.label} if request.label else protocol,
        warnings=warnings,
        labels=[row.label for row in train if row.label],
        heldout_labels=[row.label for row in others if row.label],
        exhibit=_exhibit(codec, [*documents, *heldout], [*train, *others]),
    )


def _exhibit(
    codec: Any, texts: Sequence[str], rows: Sequence[_Row]
) -> Callable[[str], dict[str, str]] | None:
    """How each judged text is shown and played: as the first of the rows that it was made from."""
    if not hasattr(codec, "exhibit"):
        return None
    originals = dict(zip(reversed(texts), reversed(rows), strict=True))

    def exhibit(text: str) -> dict[str, str]:
        row = originals[text]
        return {"label": row.label, **codec.exhibit(row.text, row.source)}

    return exhibit


def _chains(
    source: ModuleType, dataset: Any, request: generation.Request
) -> Callable[[Sequence[int], int, int], dict[int, list[str]]]:
    def draw(orders: Sequence[int], num: int, seed: int) -> dict[int, list[str]]:
        cfg, params = scoring.chains(source, dataset, orders)
        like = generation.Model("markov", cfg, None, dataset.codec, dataset.length, step=0)
        asked = generation.Request(label=request.label, length=request.length)
        drawn = {
            order: generation.draw(
                dataclasses.replace(like, params=params[order]), asked, num=num, seed=seed
            )
            for order in orders
        }
        return {
            order: judged(dataset.codec, [sample.text for sample in samples])
            for order, samples in drawn.items()
        }

    return draw


def judged(codec: Any, texts: Sequence[str]) -> list[str]:
    """The texts in which copies are looked for: of music without its key."""
    return list(map(codec.judged, texts)) if hasattr(codec, "judged") else list(texts)


def pieces(texts: list[str], size: int) -> list[str]:
    """Long texts cut into pieces of `size` characters; what is left over at an end is dropped."""
    return [
        text[start : start + size]
        for text in texts
        for start in range(0, len(text) - size + 1, size)
    ]


def halves(texts: list[str], seed: int) -> tuple[list[str], list[str]]:
    """Each text once, in random order: a half to compare with, and a half to be compared."""
    once = list(dict.fromkeys(texts))
    order = np.random.default_rng(seed).permutation(len(once))
    cut = len(once) // 2
    return [once[i] for i in order[:cut]], [once[i] for i in order[cut:]]
