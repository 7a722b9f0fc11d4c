"""Labels as names: shared by the codecs of all modalities."""

from __future__ import annotations

import re

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
