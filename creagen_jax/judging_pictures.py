"""Pictures in, a creativity report out: as `judging` does with texts. Sound is judged by pictures
of it, video by pictures with the channels of all frames, by its frames and by its motion; and both
are played."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from creagen_jax import config, data, features, generation, rundir
from creagen_jax.creativity import anchors, arrays, pictures, record
from creagen_jax.creativity.appraisal import appraise, too_few, versions
from creagen_jax.creativity.estimate import Estimate
from creagen_jax.creativity.profile import Measures
from creagen_jax.creativity.spaces import PICTURE_MOVES, SOUND_MOVES, Move, clip_moves

DETAILED = ("held-out", "training copies", "noise")  # anchors whose every metric is shown
KINDS = {".png": "image", ".wav": "sound", ".gif": "video"}  # by what a codec writes


class Pictures(NamedTuple):
    """Pictures and their class numbers."""

    images: np.ndarray  # [N, H, W, C] uint8
    labels: np.ndarray | None  # [N] int32
    raw: Sequence[Any] | None = None  # N sounds or clips, of which these are pictures


@dataclasses.dataclass(frozen=True, eq=False)
class Material:
    """Real pictures: what is judged is held against them."""

    title: str
    names: tuple[str, ...]  # of the classes
    train: Pictures
    heldout: Pictures
    probe: Pictures  # what feature networks are trained on, and nothing else
    protocol: dict[str, Any]  # of the data
    codec: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """Real pictures and anchors, measured once, for any number of generated sets."""

    material: Material
    yardstick: arrays.Yardstick
    reference: Pictures  # the half of the held-out that the yardstick compares with
    anchors: dict[str, Measures]
    warnings: list[str]
    seed: int


# --- what it is held against ---------------------------------------------------------------------


def seen(codec: Any, samples: np.ndarray, labels: np.ndarray | None) -> Pictures:
    """Samples as a codec decodes them, as pictures."""
    if not hasattr(codec, "compared"):
        return Pictures(samples, labels)
    return Pictures(codec.compared(samples), labels, samples)


def of_run(run: Path, label: str) -> Material:
    """The data of a run, of one label unless it is "". Raises UserError if they have changed."""
    dataset = generation.training_data(run)
    modality = data.get(config.modality(rundir.read(run)["experiment"]))
    found = _of_dataset(run.name, dataset, modality)
    if not label:
        return found
    wanted = dataset.codec.label_id(label)
    parts = {
        name: _some(part, np.flatnonzero(part.labels == wanted))
        for name, part in {"train": found.train, "heldout": found.heldout}.items()
    }
    return dataclasses.replace(found, **parts, protocol={**found.protocol, "label": label})


def of_files(samples: str, train: str, heldout: str) -> tuple[Material, Pictures]:
    """Pictures of folders or .npz files: the real ones, and the samples, cut as these are. Some of
    the training pictures are kept apart for feature networks; `heldout` may be "".

    Raises UserError for what cannot be read, or is empty.
    """
    image = data.get("image")
    dataset = image.load(image.Config(path=train, validation=0.0, test=0.0))
    found = _of_dataset(train, dataset, image)
    if heldout:
        found = dataclasses.replace(found, heldout=others(image, dataset.codec, heldout))
    return found, others(image, dataset.codec, samples)


def others(modality: ModuleType, codec: Any, path: str) -> Pictures:
    """Other files, cut as the data of a codec are. Raises UserError for what cannot be read, is
    empty, or has a label that the codec does not know."""
    source, dataset = modality.like(codec, path)
    labels = dataset.splits["train"].labels
    if labels is not None and codec.labels:
        ids = np.array([codec.label_id(name) for name in dataset.codec.labels], np.int32)
        labels = ids[labels]
    return seen(codec, _samples(source, dataset, "train"), labels if codec.labels else None)


def _of_dataset(title: str, dataset: Any, modality: ModuleType) -> Material:
    def part(*names: str) -> Pictures:
        names = [name for name in names if name in dataset.splits]
        if not names:
            return _some(part("train"), np.arange(0))
        labels = [dataset.splits[name].labels for name in names]
        labels = None if labels[0] is None else np.concatenate(labels)
        samples = np.concatenate([_samples(modality, dataset, name) for name in names])
        return seen(dataset.codec, samples, labels)

    about = dataset.fingerprint
    # A split that the set came with may have another source, such as other writers: only pictures
    # that were put aside at random tell what copying is. If there are none, it has to do.
    heldout = ("validation", "test")
    random = [name for name in heldout if name not in about["own_splits"]]
    return Material(
        title=title,
        names=dataset.codec.labels,
        train=part("train"),
        heldout=part(*(random if any(name in dataset.splits for name in random) else heldout)),
        probe=part("probe"),
        protocol={name: about[name] for name in ("source", "sha256", "shape")},
        codec=dataset.codec,
    )


def _samples(modality: ModuleType, dataset: Any, split: str) -> np.ndarray:
    """A split as its codec decodes samples."""
    if hasattr(modality, "samples"):
        return modality.samples(dataset, split)
    return np.asarray(dataset.splits[split].images)


def bench(
    found: Material, generated: Pictures, *, own: str, cache: Path, seed: int, fast: bool
) -> Bench:
    """All that pictures are held against; with `fast`, less of it.

    own: the user's features ("module:function") or ""; cache: a folder for trained networks.
    """
    spaces, warnings = features.spaces(*found.probe[:2], seed=seed, cache=cache)
    domain = "domain" if "domain" in spaces else "network"
    if own:
        spaces, domain = {**spaces, "user": features.user(own)}, "user"
    order = np.random.default_rng(seed).permutation(len(found.heldout.images))
    cut = len(order) // 2
    halves = [_some(found.heldout, part) for part in (order[:cut], order[cut:])]
    labels = read = None
    if found.names and found.heldout.labels is not None:
        labels = arrays.Labels(found.train.labels, *(half.labels for half in halves))
        if len(np.unique(found.train.labels)) > 1:
            read = features.reader(*found.train[:2], seed=seed, cache=cache)
    kind = _kind(found.codec)
    yardstick = arrays.yardstick(
        train=found.train.images,
        reference=halves[0].images,
        heldout=halves[1].images,
        features=spaces,
        domain=domain,
        labels=labels,
        read=read,
        facets=features.of_clips(found.codec.shape, seed) if kind == "video" else {},
        moves={"pixels": _moves(found.codec)},
        size=len(generated.images),
        seed=seed,
    )
    spoilt = anchors.clip_spoilers(found.codec.shape[-1]) if kind == "video" else {}
    measured = {
        name: arrays.measure(
            yardstick,
            each.items,
            asked=each.labels,
            intervals=False,
            full=name in DETAILED and not fast,
            seed=seed,
        )
        for name, each in anchors.anchors(yardstick, spoilt=spoilt, seed=seed).items()
    }
    return Bench(found, yardstick, halves[0], measured, [*warnings, *yardstick.warnings], seed)


def _kind(codec: Any) -> str:
    """What samples are."""
    return KINDS[codec.suffix]


def _moves(codec: Any) -> Sequence[Move]:
    """What else is done to a picture before copies of it are looked for."""
    moves = {"image": PICTURE_MOVES, "sound": SOUND_MOVES}
    return moves.get(_kind(codec)) or clip_moves(codec.shape[-1])


def _some(part: Pictures, index: np.ndarray) -> Pictures:
    labels = None if part.labels is None else part.labels[index]
    return Pictures(part.images[index], labels, None if part.raw is None else part.raw[index])


# --- what is judged ------------------------------------------------------------------------------


def judge(
    on: Bench,
    generated: Pictures,
    *,
    title: str,
    protocol: dict[str, Any] | None = None,
    probed: dict[str, dict[str, Estimate]] | None = None,
    full: bool = True,
) -> record.Report:
    """The report of generated pictures."""
    y, names = on.yardstick, on.material.names
    asked = generated.labels if y.labels is not None else None
    measures = arrays.measure(y, generated.images, asked=asked, full=full, seed=on.seed)
    rows = [] if asked is None else arrays.by_class(y, generated.images, asked, seed=on.seed)
    return record.Report(
        title=title,
        kind=_kind(on.material.codec),
        unit="",
        **appraise(measures, on.anchors, anchors.TITLES, doubt=y.doubt, probed=probed or {}),
        warnings=_warnings(on, generated.images),
        protocol=_protocol(on, generated, protocol or {}),
        gallery=pictures.gallery(
            y, generated.images, asked, names=names, fields=_fields(on, generated), seed=on.seed
        ),
        classes=[
            record.ClassRow(names[label], int((asked == label).sum()), rows[label])
            for label in rows
        ],
    )


def _fields(on: Bench, generated: Pictures) -> Callable[[str, int], dict[str, str]] | None:
    """How items are shown that are more than the pictures of them."""
    if generated.raw is None:
        return None
    train = _some(on.material.train, on.yardstick.pool)
    pools = {"generated": generated, "train": train, "reference": on.reference}
    return lambda pool, i: on.material.codec.exhibit(pools[pool].raw[i])


def _warnings(on: Bench, images: np.ndarray) -> list[str]:
    """What a reader must know before anything else."""
    y, found = on.yardstick, list(on.warnings)
    if not y.size:
        found.append(
            "no held-out data: quality, novelty and diversity are undetermined, because nothing "
            "tells what is normal"
        )
    found += [f"in {name}, {space.doubt}" for name, space in y.spaces.items() if space.doubt]
    found += too_few(
        {
            "generated": len(images),
            "training": len(y.train),
            "held-out": len(y.reference) + len(y.heldout),
        }
    )
    if len(images) > 1 and (images == images[0]).all():
        found.append("all generated items are the same")
    return found


def _protocol(on: Bench, generated: Pictures, given: dict[str, Any]) -> dict[str, Any]:
    y = on.yardstick
    return {
        **given,
        **on.material.protocol,
        "items": {
            "generated": len(generated.images),
            "training": len(y.train),
            "held-out, reference half": len(y.reference),
            "held-out, other half": len(y.heldout),
            "that feature networks were trained on": len(on.material.probe.images),
            "as many of each": y.size,
        },
        "features": f"{', '.join(y.spaces)}; quality and diversity by {y.domain}",
        "seed": on.seed,
        "versions": versions(),
    }
