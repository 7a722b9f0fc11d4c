"""Labels as names, and splits in words: shared by all modalities."""

from __future__ import annotations

import re
from typing import Any

from creagen_jax import config
from creagen_jax.types import UserError


def label_id(labels: tuple[str, ...], name: str) -> int:
    """The id of a label. Raises UserError for an unknown one."""
    if not labels:
        raise UserError(f"no label '{name}': this model was trained without labels")
    if name not in labels:
        raise UserError(f"no label '{name}'; {config.nearest(name, list(labels))}")
    return labels.index(name)


def in_order(names: set[str]) -> tuple[str, ...]:
    """Names sorted with the numbers in them as numbers: 2 before 10."""

    def parts(name: str) -> list[tuple[int, int | str]]:
        pieces = re.split(r"(\d+)", name)
        return [(0, int(piece)) if piece.isdecimal() else (1, piece) for piece in pieces if piece]

    return tuple(sorted(names, key=lambda name: (parts(name), name)))


def describe(splits: dict[str, dict[str, Any]]) -> list[str]:
    """A line for each split of a fingerprint: its counts above 0, and those of its labels."""
    lines = []
    for name, split in splits.items():
        counts = [f"{count:,} {key}" for key, count in split.items() if count and key != "labels"]
        labels = [f"{count:,} {label}" for label, count in split.get("labels", {}).items()]
        lines.append(f"  {name:11s}{', '.join(counts + labels)}")
    return lines
