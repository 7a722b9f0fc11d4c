"""Pictures, or arrays of any other kind, measured against a training set and a held-out set.

`yardstick` is made once of the real items; `measure` holds any items against it: the generated
ones, and the anchors. Items are compared by their features, and the functions that compute these
are handed in, so nothing here knows what the arrays show.

Letters: N items, M reference items, L other held-out items, P training items, D feature width.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from creagen_jax.creativity import fidelity, frechet, memorisation, spaces
from creagen_jax.creativity.distances import nearest
from creagen_jax.creativity.diversity import class_histogram, mode_histogram, vendi_ratio
from creagen_jax.creativity.estimate import (
    Estimate,
    exact,
    quotient,
    roc_area,
    undetermined,
    wilson,
)
from creagen_jax.creativity.profile import Measures, distinct
from creagen_jax.creativity.spaces import TOLERANCE, Array, Features, Move, Nearness, Space
from creagen_jax.types import UserError

POOL = 60_000  # training items that others are compared with
REPEATS = 20  # halves for an interval
PERMUTATIONS = 2000  # of the test of the held-out-neighbour rate
LEAK = 0.01  # share of held-out items that may also be training items

Reader = Callable[[Array], Array]  # items [N, ...] to the class number that each is read as [N]
NOTHING = undetermined("no held-out items", n=0)


class Labels(NamedTuple):
    """Class numbers of the real items, in their order."""

    train: Array
    reference: Array
    heldout: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Yardstick:
    """All that items are held against. Without held-out items there are no limits, and whatever
    rests on them is undetermined.

    Quality and diversity compare with the reference, as the other half of the held-out items does.
    """

    train: Array  # each once, POOL of them at most
    pool: Array  # the numbers of these among the training items given
    reference: Array  # one half of the held-out items
    heldout: Array  # the other half
    labels: Labels | None
    read: Reader | None
    spaces: dict[str, Space]
    domain: str  # the space that quality and diversity are measured in
    facets: dict[str, Space]  # in which items must be like real ones, too
    contents: frozenset[bytes]  # digests of all training items
    size: int  # items in a comparison that depends on their number; 0 without held-out items
    alike: float = 0.0  # distance of features below which only few real items have another
    peers: Look | None = None  # the other half of the held-out items
    precision: Estimate = NOTHING  # theirs
    coverage: Estimate = NOTHING
    originality: Estimate = NOTHING
    accuracy: Estimate = NOTHING  # of `read`

    @property
    def home(self) -> Space:
        """The space that quality and diversity are measured in."""
        return self.spaces[self.domain]

    @property
    def doubt(self) -> str:
        """Why held-out items are no standard of originality; "" if they are."""
        return self.home.doubt

    @property
    def warnings(self) -> list[str]:
        """What a reader must know of the real items."""
        if len(self.train) == len(self.contents):
            return []
        return [
            f"{len(self.train):,} of {len(self.contents):,} training items were compared with, at "
            "random: of the others only exact copies are told"
        ]


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
    """What is seen of each of N items."""

    features: dict[str, Array]  # [N, D] by space
    near: dict[str, Nearness]  # by space
    copied_N: Array  # bool: the same as a training item
    asked_N: Array | None  # the class that was asked for
    read_N: Array | None  # the class that it is read as

    @property
    def misread_N(self) -> Array:
        """bool: read as another class than was asked for; no item where nobody asks or reads."""
        if self.asked_N is None or self.read_N is None:
            return np.zeros(len(self.copied_N), bool)
        return self.read_N != self.asked_N


def yardstick(
    *,
    train: Array,
    reference: Array,
    heldout: Array,
    features: Mapping[str, Features],
    domain: str,
    facets: Mapping[str, Features] | None = None,
    labels: Labels | None = None,
    read: Reader | None = None,
    moves: Mapping[str, Sequence[Move]] | None = None,
    size: int,
    seed: int = 0,
) -> Yardstick:
    """What items are held against.

    train [P, ...], reference [M, ...], heldout [L, ...]: training items, and two halves of the
    held-out ones. features: the spaces by name, not fitted to any of these items; domain: the one
    that quality and diversity are measured in; facets: features of a side of items, such as their
    motion, in which quality is measured, too. read: a classifier. moves: by space, what else is
    done to an item before copies of it are looked for, such as PICTURE_MOVES. size: how many items
    will be measured, at least. Raises UserError if there are no training items, and for items or
    features that do not go together.
    """
    if domain not in features:
        raise UserError(f"no feature space '{domain}'; choose one of {', '.join(features)}")
    if not len(train):
        raise UserError("no training items")
    named = {"training": train, "reference": reference, "held-out": heldout}
    for i, (kind, items) in enumerate(named.items()):
        _check(kind, items, train)
        if labels is not None and len(labels[i]) != len(items):
            raise UserError(f"{len(labels[i])} labels for {len(items)} {kind} items")
    first = {}
    for i, item in enumerate(train):
        first.setdefault(content(item), i)
    # Labels of the pool are exchangeable only if each item is in it once.
    once = np.random.default_rng(seed).permutation(list(first.values()))
    pool = np.sort(once[:POOL])
    halves = reference, heldout
    leaked = _leak(first, np.concatenate(halves))
    y = Yardstick(
        train=train[pool],
        pool=pool,
        reference=reference,
        heldout=heldout,
        labels=None if labels is None else labels._replace(train=np.asarray(labels.train)[pool]),
        read=read,
        spaces={
            name: spaces.build(name, function, (moves or {}).get(name, ()), train[pool], *halves)
            for name, function in features.items()
        },
        domain=domain,
        facets={
            name: spaces.build(name, function, (), train[pool], *halves)
            for name, function in (facets or {}).items()
        },
        contents=frozenset(first),
        size=min(size, len(reference), len(heldout)),
    )
    return _calibrated(y, leaked, seed) if y.size else y


def _calibrated(y: Yardstick, leaked: str, seed: int) -> Yardstick:
    """With what real items tell: limits, and the numbers that others are compared with."""
    limited = {
        name: spaces.limited(space, y.reference, leaked or spaces.kin(space))
        for name, space in y.spaces.items()
    }
    beside_MD, alike = y.home.standard_MD[: y.size], 0.0
    if len(beside_MD) > 1:
        alike = np.quantile(nearest(beside_MD, beside_MD, exclude_self=True)[0], TOLERANCE)
    y = dataclasses.replace(y, spaces=limited, alike=float(alike))
    peers = look(y, y.heldout, None if y.labels is None else y.labels.heldout)
    return dataclasses.replace(
        y,
        peers=peers,
        precision=_precise(y, y.home.peers_LD),
        coverage=_covered(y, y.home.peers_LD, REPEATS, seed),
        originality=_share(original(y, peers)),
        accuracy=_accuracy(peers),
    )


# --- real items ----------------------------------------------------------------------------------


def content(item: Array) -> bytes:
    """Equal for equal items of one type, and in practice for no others."""
    return hashlib.blake2b(item.tobytes(), digest_size=16).digest()


def _check(kind: str, items: Array, train: Array) -> None:
    own, other = ((*x.shape[1:], x.dtype.name) for x in (items, train))
    if len(items) and own != other:
        raise UserError(f"{kind} items are {own}, training items {other}")
    finite_N = np.isfinite(items).all(axis=tuple(range(1, items.ndim)))
    if not finite_N.all():
        raise UserError(f"{kind} item {finite_N.argmin()} is not finite")


def _leak(contents: Mapping[bytes, int], heldout: Array) -> str:
    """Why held-out items are no test of copying, if they are copies themselves; or ""."""
    leaked = np.mean([content(item) in contents for item in heldout]) if len(heldout) else 0
    return f"{leaked:.1%} of the held-out items are also training items" if leaked > LEAK else ""


# --- single items --------------------------------------------------------------------------------


def look(y: Yardstick, items: Array, asked: Array | None = None) -> Look:
    """What is seen of items [N, ...], of which the classes `asked` [N] were asked for.

    Raises UserError for items unlike the training items in shape or type, for values that are not
    finite, and for another number of labels.
    """
    _check("generated", items, y.train)
    if asked is not None and len(asked) != len(items):
        raise UserError(f"{len(asked)} labels for {len(items)} generated items")
    features = {name: space.features(items) for name, space in y.spaces.items()}
    read_N = None
    if y.read is not None:
        read_N = np.asarray(y.read(items) if len(items) else [], int)
    return Look(
        features=features,
        near={n: spaces.nearness(y.spaces[n], items, each) for n, each in features.items()},
        copied_N=np.array([content(item) in y.contents for item in items], bool),
        asked_N=None if asked is None else np.asarray(asked, int),
        read_N=read_N,
    )


def original(y: Yardstick, seen: Look) -> Array:
    """[N] bool: no copy, and in no space nearer to one training item, against its surroundings,
    than all but a few held-out items are."""
    near = [seen.near[name].ratio_N < space.near for name, space in y.spaces.items()]
    return ~(seen.copied_N | np.any(near, axis=0))


def valid(y: Yardstick, seen: Look) -> Array:
    """[N] bool: as likely to be real as nearly all held-out items are, and of the class that was
    asked for."""
    return ~(_unlike(y, seen) | seen.misread_N)


def _unlike(y: Yardstick, seen: Look) -> Array:
    """[N] bool: in some space farther from the training items than all but a few held-out items.

    The distance itself: against the distances between real items, noise near a lonely one passes.
    """
    far = [seen.near[name].distance_N > space.far for name, space in y.spaces.items()]
    return np.any(far, axis=0)


def faults(y: Yardstick, seen: Look, names: Sequence[str] = ()) -> list[list[str]]:
    """What each item fails, in words: validity, originality; [] if nothing. names: of the classes,
    if they have any."""

    def name(label: int) -> str:
        return names[label] if len(names) else str(label)

    unlike_N, original_N, found = _unlike(y, seen), original(y, seen), []
    for i, misread in enumerate(seen.misread_N):
        reasons = ["unlike any real one"] * bool(unlike_N[i])
        if misread:
            reasons.append(f"read as {name(seen.read_N[i])}, not {name(seen.asked_N[i])}")
        if not original_N[i]:
            reasons.append("exact copy" if seen.copied_N[i] else "near copy")
        found.append(reasons)
    return found


# --- a set of items ------------------------------------------------------------------------------


def measure(
    y: Yardstick,
    items: Array,
    *,
    asked: Array | None = None,
    intervals: bool = True,
    full: bool = False,
    seed: int = 0,
) -> Measures:
    """What the axes and the Creative Yield of items [N, ...] rest on; with `full`, all other
    metrics too.

    asked [N]: the class numbers that were asked for. Without `intervals` those that take long are
    left out. Raises UserError as `look` does.
    """
    seen, repeats = look(y, items, asked), REPEATS if intervals else 0
    features_ND = seen.features[y.domain]
    rates = neighbour_rates(y, seen, permutations=PERMUTATIONS if full else 0, seed=seed)
    quality = {
        "precision_ratio": quotient(_precise(y, features_ND), y.precision),
        "likeness_par": _likeness(y, y.home, features_ND),
    }
    for name, facet in y.facets.items():
        quality[f"likeness_par_{name}"] = _likeness(y, facet, facet.features(items))
    if asked is not None and y.read is not None:
        quality["label_accuracy_ratio"] = quotient(_accuracy(seen), y.accuracy)
    novelty = {f"heldout_neighbour_rate_{name}": rate.estimate for name, rate in rates.items()}
    diversity = _diversity(y, features_ND, repeats, seed)
    valid_N = original_N = distinct_N = np.zeros(0, bool)
    if y.size:
        valid_N, original_N, first = valid(y, seen), original(y, seen), slice(y.size)
        distinct_N = distinct(features_ND[first], (valid_N & original_N)[first], y.alike)
        share = undetermined(y.doubt, n=len(items)) if y.doubt else _share(original_N)
        novelty["originality_ratio"] = quotient(share, y.originality)
    metrics = {**quality, **novelty, **diversity}
    if full:
        if rates[y.domain].estimate.value is not None:
            metrics["heldout_neighbour_p"] = exact(rates[y.domain].p, n=len(items))
        with threadpool_limits(1):  # for small matrices, more threads mostly wait for each other
            metrics |= _by_features(y, features_ND, repeats, seed)
        metrics |= _copying(y, seen, seed) | _by_labels(y, seen, seed)
    return Measures(valid_N, original_N, distinct_N, quality, novelty, diversity, metrics)


def neighbour_rates(
    y: Yardstick, seen: Look, *, permutations: int = 0, seed: int = 0
) -> dict[str, memorisation.HNR]:
    """The held-out-neighbour rate in each space; undetermined where its `doubt` says why."""
    found = {}
    for name, space in y.spaces.items():
        rate = memorisation.hnr_features(
            train=space.train_PD,
            heldout=space.standard_MD,
            generated=seen.features[name],
            permutations=permutations,
            seed=seed,
        )
        if space.doubt:
            why = undetermined(space.doubt, n=rate.estimate.n, n_ref=rate.estimate.n_ref)
            rate = dataclasses.replace(rate, estimate=why)
        found[name] = rate
    return found


def by_class(
    y: Yardstick, items: Array, asked: Array, *, seed: int = 0
) -> dict[int, dict[str, Estimate]]:
    """For each class that was asked for, by name: precision and coverage against as many reference
    items of that class, near-duplicates, and with a reader label accuracy.

    {} without labels of held-out items. Raises UserError as `look` does.
    """
    if not y.size or y.labels is None:
        return {}
    seen = look(y, items, asked)
    original_N, reference_M, found = original(y, seen), np.asarray(y.labels.reference), {}
    for label in np.unique(seen.asked_N):
        of_N = seen.asked_N == label
        real, generated = y.home.standard_MD[reference_M == label], seen.features[y.domain][of_N]
        size = min(len(real), len(generated))
        sets = {"real": real[:size], "generated": generated[:size]}
        row = fidelity.prdc_estimates(**sets, shares=["precision", "coverage"], seed=seed)
        row["near_duplicates"] = _share(~original_N[of_N])
        if y.read is not None:
            row["label_accuracy"] = _share(seen.read_N[of_N] == label)
        found[int(label)] = row
    return found


def _sets(y: Yardstick, features_ND: Array) -> dict[str, Array]:
    return {"real": y.home.standard_MD[: y.size], "generated": features_ND[: y.size]}


def _precise(y: Yardstick, features_ND: Array) -> Estimate:
    """Precision of all items: it does not depend on how many there are."""
    sets = {"real": y.home.standard_MD, "generated": features_ND}
    return fidelity.prdc_estimates(**sets, shares=["precision"])["precision"]


def _likeness(y: Yardstick, space: Space, features_ND: Array) -> Estimate:
    """Twice the chance that an item is nearer to the reference than another real item is."""
    if not y.size:
        return dataclasses.replace(NOTHING, n=len(features_ND))
    distances = (nearest(x, space.standard_MD)[0][:, 0] for x in (features_ND, space.peers_LD))
    return roc_area(*distances).scaled(2)


def _diversity(y: Yardstick, features_ND: Array, repeats: int, seed: int) -> dict[str, Estimate]:
    """Variety relative to that of as many peers."""
    sets = _sets(y, features_ND) | {"real": y.home.peers_LD[: y.size]}
    return {
        "coverage_ratio": quotient(_covered(y, features_ND, repeats, seed), y.coverage),
        "vendi_ratio": vendi_ratio(**sets, repeats=repeats, seed=seed),
    }


def _covered(y: Yardstick, features_ND: Array, repeats: int, seed: int) -> Estimate:
    """Coverage of the reference."""
    how = {"shares": ["coverage"], "repeats": repeats, "seed": seed}
    return fidelity.prdc_estimates(**_sets(y, features_ND), **how)["coverage"]


def _accuracy(seen: Look) -> Estimate:
    """The share that is read as what was asked for."""
    if seen.asked_N is None or seen.read_N is None:
        return undetermined("no labels to compare with", n=len(seen.copied_N))
    return _share(~seen.misread_N)


def _share(flags_N: Array) -> Estimate:
    return wilson(flags_N.sum(), len(flags_N))


# --- all other metrics ---------------------------------------------------------------------------


def _by_features(y: Yardstick, features_ND: Array, repeats: int, seed: int) -> dict[str, Estimate]:
    if not y.size:
        return {}
    sets, how = _sets(y, features_ND), {"repeats": repeats, "seed": seed}
    return {
        **fidelity.prdc_estimates(**sets, **how),
        "precision": _precise(y, features_ND),
        "frechet_relative": frechet.frechet_relative(baseline=y.home.peers_LD, **sets, **how),
        "frechet_infinite": frechet.frechet_infinite(**sets, seed=seed),
        "kid": frechet.kid(**sets, seed=seed),
        "mode_distance": mode_histogram(**sets, seed=seed).distance,
    }


def _copying(y: Yardstick, seen: Look, seed: int) -> dict[str, Estimate]:
    trained = {"train": y.home.train_PD, "generated": seen.features[y.domain]}
    found = {
        "exact_copies": _share(seen.copied_N),
        "authenticity": memorisation.authenticity(**trained),
    }
    if y.size and not y.doubt:
        found["near_duplicates"] = _share(~original(y, seen))
        found["copying_ct"] = memorisation.copying_ct(
            heldout=y.home.standard_MD, **trained, seed=seed
        )
    return found


def _by_labels(y: Yardstick, seen: Look, seed: int) -> dict[str, Estimate]:
    if not y.size or y.read is None:
        return {}
    classes = class_histogram(real=y.peers.read_N, generated=seen.read_N, seed=seed)
    found = {"class_distance": classes.distance}
    if seen.asked_N is not None:
        real = y.accuracy.note if y.accuracy.value is None else f"{y.accuracy.value:.1%}"
        note = f"of held-out items: {real}"
        found["label_accuracy"] = dataclasses.replace(_accuracy(seen), note=note)
    return found
