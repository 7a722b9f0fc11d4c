"""Whether texts are of the label that was asked for, as a classifier of the training texts reads
them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from creagen_jax.creativity.estimate import Estimate, quotient, wilson
from creagen_jax.types import UserError

MOST = 20_000  # training texts that the classifier sees, as many of each label as there are
GRAMS = (1, 4)  # n-grams of characters that it reads
STEPS = 300  # of its fit, at most


class Reader(NamedTuple):
    """A classifier, and how often it is right about real texts."""

    read: Callable[[Sequence[str]], np.ndarray]  # texts to labels
    accuracy: Estimate  # on held-out texts; undetermined if there are none
    by_label: dict[str, Estimate]  # the same, by the label that they have


def reader(
    texts: Sequence[str],
    labels: Sequence[str],
    heldout: Sequence[str],
    heldout_labels: Sequence[str],
    *,
    seed: int = 0,
) -> Reader:
    """Fits the classifier to training texts: logistic regression on TF-IDF of n-grams.

    Labels weigh the same, however rare: else it would read all texts as the most common one. Raises
    UserError for fewer than two labels, since nothing can be told apart then.
    """
    labels_N = np.asarray(labels)
    kinds = np.unique(labels_N)
    if len(kinds) < 2:
        raise UserError("a classifier of texts needs two labels or more")
    order = np.random.default_rng(seed).permutation(len(texts))
    some = [order[labels_N[order] == kind][: MOST // len(kinds)] for kind in kinds]
    chosen = np.concatenate(some)
    model = make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=GRAMS, sublinear_tf=True, lowercase=False),
        LogisticRegression(class_weight="balanced", max_iter=STEPS),
    )
    model.fit(_whole([texts[i] for i in chosen]), labels_N[chosen])

    def read(found: Sequence[str]) -> np.ndarray:
        return model.predict(_whole(found)) if len(found) else kinds[:0]

    right, by_label = accuracy(read(heldout), heldout_labels)
    return Reader(read, right, by_label)


def accuracy(read: Sequence[str], asked: Sequence[str]) -> tuple[Estimate, dict[str, Estimate]]:
    """The share that is read as what was asked for: of all texts, and by the label asked for."""
    asked_N = np.asarray(asked)
    right_N = np.asarray(read) == asked_N
    by_label = {str(label): _share(right_N[asked_N == label]) for label in np.unique(asked_N)}
    return _share(right_N), by_label


def measure(
    reader: Reader, texts: Sequence[str], asked: Sequence[str]
) -> tuple[dict[str, Estimate], dict[str, dict[str, Estimate]]]:
    """Label accuracy, and the same over that of held-out texts: by the names of
    `catalogue.METRICS`, of all texts; and by label.
    """
    right, by_label = accuracy(reader.read(texts), asked)
    rows = {
        label: _beside(each, reader.by_label.get(label, wilson(0, 0)))
        for label, each in by_label.items()
    }
    return _beside(right, reader.accuracy), rows


def _share(right_N: np.ndarray) -> Estimate:
    return wilson(right_N.sum(), len(right_N))


def _beside(found: Estimate, heldout: Estimate) -> dict[str, Estimate]:
    real = heldout.note if heldout.value is None else f"{heldout.value:.1%}"
    return {
        "label_accuracy": dataclasses.replace(found, note=f"of held-out items: {real}"),
        "label_accuracy_ratio": quotient(found, heldout),
    }


def _whole(texts: Sequence[str]) -> list[str]:
    """With signs for the beginning and the end."""
    return [f"\x02{text}\x03" for text in texts]
