"""What is judged and what it is held against: the texts of a run, or of anybody's files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

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


def lines(path: str) -> list[str]:
    """The lines of a text file or folder, or each `text` of .jsonl and .csv. Raises UserError."""
    found = [line.text for line in sources.files(path, "line").splits["train"]]
    if not found:
        raise UserError(f"{path} holds no text")
    return found


def _of_dataset(title: str, modality: str, dataset: Any, request: generation.Request) -> Material:
    fingerprint = dataset.fingerprint
    source, dataset = data.targets(data.get(modality), dataset)
    codec, splits = dataset.codec, dataset.splits
    warnings = []

    def texts(*names: str) -> tuple[list[str], list[str]]:
        """Of all these splits, and their labels."""
        pairs = []
        for name in names:
            found = source.texts(dataset, name, SEARCHED)
            ids = splits[name].labels
            told = (
                [""] * len(found) if ids is None else [codec.labels[i] for i in ids[: len(found)]]
            )
            pairs += [pair for pair in zip(found, told, strict=True) if wanted in (None, pair[1])]
        return judged(codec, [text for text, _ in pairs]), [label for _, label in pairs if label]

    wanted = codec.labels[codec.label_id(request.label)] if request.label else None

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
    documents, labels = texts("train")
    heldout, heldout_labels = texts(*names)
    return Material(
        title=title,
        line=codec.line,
        documents=documents,
        heldout=heldout,
        chains=_chains(source, dataset, request),
        protocol={**protocol, "label": request.label} if request.label else protocol,
        warnings=warnings,
        labels=labels,
        heldout_labels=heldout_labels,
    )


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
