"""What every report has, whatever its items are: axes, Creative Yield, composite, anchors."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from creagen_jax.creativity import profile, record
from creagen_jax.creativity.estimate import Estimate
from creagen_jax.creativity.profile import Measures


def appraise(
    measures: Measures,
    anchors: Mapping[str, Measures],
    titles: Mapping[str, str],
    *,
    doubt: str,
    probed: Mapping[str, dict[str, Estimate]],
) -> dict[str, Any]:
    """The fields of `record.Report` that follow from what was measured.

    anchors: "noise" is one of them, and "held-out" if there are such; titles: theirs, in words;
    doubt: why held-out items are no standard, or ""; probed: metrics of the "model" itself, and of
    anchors.
    """
    heldout, noise = anchors.get("held-out"), anchors["noise"]
    axes = profile.profile(measures, noise=noise)

    def anchor(name: str, each: Measures) -> record.Anchor:
        metrics = {**each.metrics, **probed.get(name, {})}
        share = profile.creative_yield(each, heldout=heldout, doubt=doubt).value.value
        return record.Anchor(
            title=titles[name],
            profile=profile.profile(each, noise=noise),
            creative_yield=share,
            metrics={metric: estimate.value for metric, estimate in metrics.items()},
        )

    return {
        "profile": axes,
        "creative_yield": profile.creative_yield(measures, heldout=heldout, doubt=doubt),
        "composite": profile.composite(axes),
        "metrics": measures.metrics | probed.get("model", {}),
        "anchors": {name: anchor(name, each) for name, each in anchors.items()},
    }


def too_few(sizes: Mapping[str, int]) -> list[str]:
    """A warning for each kind of items of which there are few."""
    return [
        f"only {size} {kind} items: intervals are wide, and some do not hold"
        for kind, size in sizes.items()
        if 0 < size < profile.FEW
    ]


def versions() -> dict[str, str]:
    """Of the libraries that numbers rest on."""
    return {name: version(name) for name in ("jax", "numpy", "scipy", "scikit-learn")}
