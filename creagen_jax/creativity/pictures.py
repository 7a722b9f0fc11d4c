"""What a reader of a report on pictures should see: samples, and what they copy.

Letters: N items, H W C a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from creagen_jax.creativity import exhibits
from creagen_jax.creativity.arrays import Yardstick
from creagen_jax.creativity.record import Gallery, Item, Neighbours, picture


def gallery(
    y: Yardstick,
    items_NHWC: np.ndarray,
    asked_N: np.ndarray | None = None,
    *,
    names: Sequence[str] = (),
    fields: Callable[[str, int], dict[str, Any]] | None = None,
    seed: int = 0,
) -> Gallery:
    """The `exhibits.showcase` of generated pictures, uint8, with the pictures themselves.

    fields: of `record.Item`, for what is not shown as the pictures that were compared: a function
    of "generated", "train" or "reference" and the number of an item there.

    asked_N: the class numbers that were asked for; names: of the classes, if they have any. Without
    asked_N no picture has a label.
    """
    shown = exhibits.showcase(y, items_NHWC, asked_N, names=names, seed=seed)

    def label(classes: np.ndarray | None, i: int) -> str:
        if asked_N is None or classes is None:
            return ""
        return names[classes[i]] if names else str(classes[i])

    def drawn(pool: str, i: int) -> dict[str, Any]:
        if fields:
            return fields(pool, i)
        return {"picture": picture(items_NHWC[i] if pool == "generated" else getattr(y, pool)[i])}

    def item(i: int) -> Item:
        return Item(label=label(asked_N, i), reason=shown.reasons[i], **drawn("generated", i))

    def real(pool: str, i: int | None) -> Item | None:
        """A picture of y.train or y.reference."""
        if i is None:
            return None
        return Item(label=label(getattr(y.labels, pool, None), i), **drawn(pool, i))

    return Gallery(
        unselected=[item(i) for i in shown.unselected],
        copied=[
            Neighbours(
                item(pair.item),
                real("train", pair.train),
                real("reference", pair.heldout),
                pair.percentile,
            )
            for pair in shown.copied
        ],
        rarest=[item(i) for i in shown.rarest],
        rejects=[item(i) for i in shown.rejects],
    )
