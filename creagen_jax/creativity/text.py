"""Texts, measured against a training set and a held-out set.

`yardstick` is made once of the real texts; `measure` holds any texts against it: the generated
ones, and the anchors. A text is compared as a sequence of units: words without case and punctuation
where texts are long enough, else characters without case. So a copy with another comma is a copy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.preprocessing import normalize
from sklearn.random_projection import SparseRandomProjection

from creagen_jax.creativity import fidelity, memorisation, ngrams, originality, suffix
from creagen_jax.creativity.bleu import self_bleu
from creagen_jax.creativity.distances import nearest
from creagen_jax.creativity.diversity import mode_histogram, vendi_ratio
from creagen_jax.creativity.estimate import (
    Estimate,
    exact,
    quotient,
    ratio,
    roc_area,
    undetermined,
    wilson,
)
from creagen_jax.creativity.frechet import frechet_relative, kid
from creagen_jax.creativity.mauve import mauve
from creagen_jax.creativity.profile import Measures, distinct
from creagen_jax.creativity.units import (
    WORD,
    Alphabet,
    Texts,
    alphabet_of,
    characters,
    common_words,
    texts_of,
)

WORDS = 12  # a text of this many words in the middle of the held-out texts is compared by words
TOLERANCE = 0.02  # share of held-out texts that each test of validity and originality fails
SPANS = (5, 12)  # units: the lengths of copied spans that the creativity index averages over
CHARACTERS = 6  # order of the n-gram model that scores characters
PHRASES = 3  # order of the one that scores words
REPEATED = 4  # n-grams of units whose repetition within a text counts
VARIETY = 3  # n-grams of units whose variety counts for diversity
GRAMS = (1, 4)  # n-grams of characters that features are made of
HASHED = 1 << 18  # of them told apart
FITTED = 10_000  # texts that the weights of the features are fitted to
WIDTH = 256  # of the features
REPEATS = 20  # halves for an interval
PERMUTATIONS = 2000  # of the test of the held-out-neighbour rate
UNSEEN = 5  # at most one of so many training texts is kept from the scorers
LEAK = 0.01  # share of held-out texts that may also be training texts
FAR = 1.5  # a held-out-neighbour rate of held-out texts beyond this, or its inverse, is no chance


NOTHING = undetermined("no held-out texts", n=0)


class Tests(NamedTuple):
    """What validity and originality are decided by, for each text [N]; less is better."""

    spelling: np.ndarray  # nats per character
    phrases: np.ndarray  # nats per word; 0 where units are characters
    unknown: np.ndarray  # share of words that the training texts do not have; likewise
    repetition: np.ndarray  # share of n-grams of units that occurred earlier in the text
    span: np.ndarray  # units of the longest copied span
    copied: np.ndarray  # 1 - the creativity index of this text alone
    whole: np.ndarray  # bool: a copy from beginning to end


VALID = {
    "spelling": "unlikely spelling",
    "phrases": "unlikely phrases",
    "unknown": "unknown words",
    "repetition": "repeats itself",
}
OF_WORDS = ("phrases", "unknown")
ORIGINAL = ("span", "copied")


@dataclasses.dataclass(frozen=True, eq=False)
class Yardstick:
    """All that texts are held against. Without held-out texts there are no limits, and whatever
    rests on them is undetermined.

    Quality and diversity compare with `standard` and `peers`: the two halves of the held-out texts,
    if these are a random part of all. Else it is training texts that `spelling` and `phrases` have
    not seen, because held-out texts from another source would set another standard.
    """

    line: bool  # a text is a whole, with a beginning and an end; else a piece of a longer one
    words: bool  # units are words
    alphabet: Alphabet  # of all texts
    documents: list[str]  # the training texts, uncut
    units: Texts  # theirs
    index: suffix.Index  # of them
    trained: list[str]  # the training texts, cut, each once
    reference: list[str]  # one half of the held-out texts
    heldout: list[str]  # the other half
    pool: suffix.Index  # of `trained` and `reference`, a document each
    doubt: str  # why held-out and training texts are not exchangeable; "" if they are
    seen: Alphabet  # of the texts that the scorers were fitted to
    spelling: ngrams.Scorer
    phrases: ngrams.Scorer | None  # None where units are characters
    features: Callable[[Sequence[str]], np.ndarray]
    standard: list[str]  # real texts that set the limits of validity and are to be covered
    peers: list[str]  # others, as good as generated texts can be
    standard_MD: np.ndarray  # features
    peers_ND: np.ndarray
    size: int  # texts in a comparison that depends on their number
    limits: Tests | None = None  # only a few real texts have more
    par: Tests | None = None  # of the peers
    alike: float = 0.0  # distance of features below which only few real texts have another
    usual: int = SPANS[0]  # units of a copied span that is nothing special
    usual_copied: np.ndarray | None = None  # how much of each reference text is copied, sorted
    heldout_index: Estimate = NOTHING  # the creativity index of the held-out texts
    coverage: Estimate = NOTHING  # by the peers

    @cached_property
    def trained_PD(self) -> np.ndarray:
        """Features of the training texts."""
        return self.features(self.trained)


def unit_of(texts: Sequence[str]) -> str:
    """What texts are compared by: "word" if they are long enough, else "character"."""
    counts = [len(WORD.findall(text)) for text in texts]
    return "word" if counts and np.median(counts) >= WORDS else "character"


def yardstick(
    *,
    documents: Sequence[str],
    train: Sequence[str],
    reference: Sequence[str],
    heldout: Sequence[str],
    line: bool,
    unit: str,
    size: int,
    seed: int = 0,
) -> Yardstick:
    """What texts are held against.

    documents: the whole training texts, in which copies are looked for; train: the same texts, cut
    as the held-out ones are; reference, heldout: two halves of the held-out texts; size: how many
    texts will be measured, at least.
    """
    words = unit == "word"
    # Labels of the pool are exchangeable only if each text is in it once.
    trained = list(dict.fromkeys(train))
    alphabet = alphabet_of(documents, [*trained, *reference])  # cutting made words of its own
    units = texts_of(documents, alphabet, line=line, words=words)
    pool = suffix.build(texts_of([*trained, *reference], alphabet, line=line, words=words).ids)
    others = texts_of(heldout, alphabet, line=line, words=words)
    doubt, excuse = _doubt(pool, trained, reference, heldout, others)

    known, standard, peers = list(documents), list(reference), list(heldout)
    if doubt and standard and peers:
        known, standard, peers = _unseen(trained, 2 * size, seed)
    seen = alphabet_of(known, [])
    spelling = ngrams.fit(
        characters(known, seen),
        vocabulary=len(seen.characters) + 1,
        order=CHARACTERS,
        whole=line,
    )
    phrases = None
    if words:
        common = common_words(texts_of(known, seen, line=False, words=True), seen)
        phrases = ngrams.fit(common, vocabulary=seen.common + 1, order=PHRASES, whole=line)
    features = _features(known, standard, seed)
    y = Yardstick(
        line=line,
        words=words,
        alphabet=alphabet,
        documents=list(documents),
        units=units,
        index=suffix.build(units.ids),
        trained=trained,
        reference=list(reference),
        heldout=list(heldout),
        pool=pool,
        doubt=doubt,
        seen=seen,
        spelling=spelling,
        phrases=phrases,
        features=features,
        standard=standard,
        peers=peers,
        standard_MD=features(standard),
        peers_ND=features(peers),
        size=min(size, len(standard), len(peers)),
    )
    return _calibrated(y, excuse, seed) if standard and peers else y


def _calibrated(y: Yardstick, excuse: bool, seed: int) -> Yardstick:
    """With what real texts tell: limits, and the numbers that others are compared with."""
    standard, reference = tests(y, y.standard), tests(y, y.reference)
    looks = standard._replace(span=reference.span, copied=reference.copied, whole=reference.whole)
    limits = Tests(*(np.quantile(each, 1 - TOLERANCE, method="higher") for each in looks))
    beside_MD = y.standard_MD[: y.size]
    alike = 0.0
    if len(beside_MD) > 1:
        alike = np.quantile(nearest(beside_MD, beside_MD, exclude_self=True)[0], TOLERANCE)
    index = _creativity_index(suffix.match(y.index, units_of(y, y.heldout).ids), seed)
    y = dataclasses.replace(
        y,
        limits=limits,
        alike=float(alike),
        usual=max(SPANS[0], int(np.median(reference.span))),
        usual_copied=np.sort(reference.copied),
        heldout_index=_unless(y.doubt if excuse else "", index),
        coverage=_covered(y, y.peers_ND, REPEATS, seed),
    )
    return dataclasses.replace(y, par=tests(y, y.peers))


def _doubt(
    pool: suffix.Index,
    trained: Sequence[str],
    reference: Sequence[str],
    heldout: Sequence[str],
    units: Texts,
) -> tuple[str, bool]:
    """Why held-out texts are no random part of all texts, "" if they may be one; and whether they
    are so near to the training texts that beside them copies look new."""
    if not reference or not heldout:
        return "no held-out texts", False
    folded = {text.casefold() for text in trained}
    leaked = np.mean([text.casefold() in folded for text in [*reference, *heldout]])
    if leaked > LEAK:
        return f"{leaked:.1%} of the held-out texts are also training texts", True
    rate = _neighbour_rate(pool, len(trained), units).estimate
    if rate.value is not None and (
        (rate.low > 1 and rate.value > FAR) or (rate.high < 1 and rate.value < 1 / FAR)
    ):
        kin = "each other" if rate.value > 1 else "the training texts"
        times = max(rate.value, 1 / rate.value)
        return (
            f"held-out texts are nearest to {kin} {times:.1f} times as often as a random part of "
            "all texts would be"
        ), rate.value < 1
    return "", False


def _unseen(trained: Sequence[str], most: int, seed: int) -> tuple[list[str], list[str], list[str]]:
    """Training texts at random: those that scorers may see, and two halves of those that they may
    not, `most` in all."""
    order = np.random.default_rng(seed).permutation(len(trained))
    apart = min(most, len(trained) // UNSEEN)
    cuts = np.split(order, [apart // 2, apart])
    standard, peers, known = ([trained[i] for i in cut] for cut in cuts)
    return known, standard, peers


# --- units ---------------------------------------------------------------------------------------


def units_of(y: Yardstick, texts: Sequence[str]) -> Texts:
    """Texts as this yardstick compares them."""
    return texts_of(texts, y.alphabet, line=y.line, words=y.words)


def tokens(y: Yardstick, texts: Sequence[str]) -> list[list[str]]:
    """Units as they are written, without case."""
    if y.words:
        return [[word.casefold() for word in WORD.findall(text)] for text in texts]
    return [list(text.casefold()) for text in texts]


def _features(
    trained: Sequence[str], reference: Sequence[str], seed: int
) -> Callable[[Sequence[str]], np.ndarray]:
    """Texts to rows of length 1: TF-IDF of hashed n-grams of characters, projected at random.

    Only the weights and the mean are fitted. Directions that were fitted would suit the texts that
    they were fitted on better than all others.
    """
    hashing = HashingVectorizer(
        analyzer="char", ngram_range=GRAMS, n_features=HASHED, norm=None, alternate_sign=False
    )
    weighting = TfidfTransformer(sublinear_tf=True)
    projection = SparseRandomProjection(WIDTH, dense_output=True, random_state=seed)

    def hashed(texts: Sequence[str]):
        return hashing.transform([f"\x02{text}\x03" for text in texts])

    some = np.random.default_rng(seed).permutation(len(trained))[:FITTED]
    weighted = weighting.fit_transform(hashed([*(trained[i] for i in some), *reference[:FITTED]]))
    mean_D = projection.fit_transform(weighted).mean(0)

    def features(texts: Sequence[str]) -> np.ndarray:
        if not len(texts):
            return np.zeros((0, WIDTH))
        return normalize(projection.transform(weighting.transform(hashed(texts))) - mean_D)

    return features


# --- tests of single texts -----------------------------------------------------------------------


def tests(y: Yardstick, texts: Sequence[str]) -> Tests:
    """What validity and originality are decided by."""
    units = units_of(y, texts)
    return _tests(y, texts, units, suffix.match(y.index, units.ids))


def _tests(
    y: Yardstick, texts: Sequence[str], units: Texts, matches: Sequence[suffix.Match]
) -> Tests:
    phrases, unknown = np.zeros(len(texts)), np.zeros(len(texts))
    if y.phrases is not None:
        bare = texts_of(texts, y.seen, line=False, words=True)
        phrases = _per_token(*ngrams.score(y.phrases, common_words(bare, y.seen)))
        strange = [(ids > y.seen.known).sum() for ids in bare.ids]
        unknown = np.array(strange) / np.maximum([len(ids) for ids in bare.ids], 1)
    covers, whole = originality.covers(matches), originality.copied_whole(matches)
    shares = originality.unique_shares(covers, low=SPANS[0], high=SPANS[1], whole=whole)
    return Tests(
        spelling=_per_token(*ngrams.score(y.spelling, characters(texts, y.seen))),
        phrases=phrases,
        unknown=unknown,
        repetition=ngrams.repetition(tokens(y, texts), REPEATED),
        span=originality.longest_span(covers),
        copied=1 - shares,
        whole=whole,
    )


def _per_token(nats_N: np.ndarray, tokens_N: np.ndarray) -> np.ndarray:
    """Nats per token; infinite for a text without tokens."""
    return np.where(tokens_N > 0, nats_N / np.maximum(tokens_N, 1), np.inf)


def faults(y: Yardstick, texts: Sequence[str], seen: Tests) -> list[list[str]]:
    """Why each text is not valid, in words; [] for a valid one."""
    fails = {
        reason: getattr(seen, name) > getattr(y.limits, name) for name, reason in VALID.items()
    }
    fails["empty"] = np.array([not text.strip() for text in texts], bool)
    return [[reason for reason in fails if fails[reason][i]] for i in range(len(texts))]


def copied(y: Yardstick, seen: Tests) -> np.ndarray:
    """[N] bool: copied whole, or more than all but a few held-out texts are."""
    more = [getattr(seen, name) > getattr(y.limits, name) for name in ORIGINAL]
    return seen.whole | np.any(more, axis=0)


# --- a set of texts ------------------------------------------------------------------------------


def measure(
    y: Yardstick,
    texts: Sequence[str],
    *,
    intervals: bool = True,
    full: bool = False,
    seed: int = 0,
) -> Measures:
    """What the axes and the Creative Yield of texts rest on; with `full`, all other metrics too.

    Without `intervals` those that take long are left out.
    """
    units, features_ND = units_of(y, texts), y.features(texts)
    matches = suffix.match(y.index, units.ids)
    index = _creativity_index(matches, seed)
    rate = neighbour_rate(y, units, permutations=PERMUTATIONS if full else 0, seed=seed)
    novelty = {
        "creativity_ratio": quotient(index, y.heldout_index),
        "heldout_neighbour_rate_match": rate.estimate,
    }
    diversity = _diversity(y, texts, features_ND, REPEATS if intervals else 0, seed)
    valid_N = original_N = distinct_N = np.zeros(0, bool)
    tested = [name for name in VALID if y.words or name not in OF_WORDS]
    quality = {f"{name}_par": dataclasses.replace(NOTHING, n=len(texts)) for name in tested}
    if y.limits is not None:
        seen = _tests(y, texts, units, matches)
        quality = {
            f"{name}_par": roc_area(getattr(seen, name), getattr(y.par, name)).scaled(2)
            for name in tested
        }
        valid_N = np.array([not found for found in faults(y, texts, seen)], bool)
        original_N = ~copied(y, seen)
        first = slice(y.size)
        distinct_N = distinct(features_ND[first], (valid_N & original_N)[first], y.alike)
    metrics = {**quality, **novelty, **diversity, "creativity_index": index}
    if full:
        p = rate.p if rate.estimate.value is not None else None
        metrics |= _spans(matches, p, seed) | _ngrams(y, texts, seed)
        metrics |= _by_features(y, features_ND, REPEATS if intervals else 0, seed)
    return Measures(valid_N, original_N, distinct_N, quality, novelty, diversity, metrics)


def neighbour_rate(
    y: Yardstick, units: Texts, *, permutations: int = 0, seed: int = 0
) -> memorisation.HNR:
    """The held-out-neighbour rate by longest matches; undetermined where `y.doubt` says why."""
    found = _neighbour_rate(y.pool, len(y.trained), units, permutations, seed)
    return dataclasses.replace(found, estimate=_unless(y.doubt, found.estimate))


def _neighbour_rate(
    pool: suffix.Index, trained: int, units: Texts, permutations: int = 0, seed: int = 0
) -> memorisation.HNR:
    weight_P = originality.match_weights(pool, suffix.match(pool, units.ids))
    in_heldout_P = np.arange(len(weight_P)) >= trained
    return memorisation.heldout_neighbour_rate(
        weight_P, in_heldout_P, permutations=permutations, seed=seed
    )


def _creativity_index(matches: Sequence[suffix.Match], seed: int) -> Estimate:
    covers, whole = originality.covers(matches), originality.copied_whole(matches)
    low, high = SPANS
    return originality.creativity_index(covers, low=low, high=high, whole=whole, seed=seed)


def _diversity(
    y: Yardstick, texts: Sequence[str], features_ND: np.ndarray, repeats: int, seed: int
) -> dict[str, Estimate]:
    """Variety relative to that of as many peers."""
    if y.limits is None:
        return {"vendi_ratio": dataclasses.replace(NOTHING, n=len(features_ND))}
    sets, how = _sets(y, features_ND), {"repeats": repeats, "seed": seed}
    same = ngrams.equal_budget(tokens(y, texts[: y.size]), tokens(y, y.peers[: y.size]))
    variety = [ngrams.distinct(part, VARIETY, seed=seed) for part in same]
    return {
        "vendi_ratio": vendi_ratio(**{**sets, "real": y.peers_ND[: y.size]}, **how),
        f"distinct_{VARIETY}_ratio": quotient(*variety),
        "coverage_ratio": quotient(_covered(y, features_ND, repeats, seed), y.coverage),
    }


def _covered(y: Yardstick, features_ND: np.ndarray, repeats: int, seed: int) -> Estimate:
    """Coverage of the standard."""
    how = {"shares": ["coverage"], "repeats": repeats, "seed": seed}
    return fidelity.prdc_estimates(**_sets(y, features_ND), **how)["coverage"]


def _sets(y: Yardstick, features_ND: np.ndarray) -> dict[str, np.ndarray]:
    return {"real": y.standard_MD[: y.size], "generated": features_ND[: y.size]}


def _unless(doubt: str, estimate: Estimate) -> Estimate:
    return undetermined(doubt, n=estimate.n, n_ref=estimate.n_ref) if doubt else estimate


# --- all other metrics ---------------------------------------------------------------------------


def _spans(matches: Sequence[suffix.Match], p: float | None, seed: int) -> dict[str, Estimate]:
    found = originality.span_summary(originality.covers(matches), seed=seed)
    whole = originality.copied_whole(matches)
    tested = {} if p is None else {"heldout_neighbour_p": exact(p, n=len(matches))}
    return tested | {
        "longest_span_median": found.median,
        "longest_span_max": found.maximum,
        "exact_copies": wilson(whole.sum(), len(whole)),
    }


def _ngrams(y: Yardstick, texts: Sequence[str], seed: int) -> dict[str, Estimate]:
    n, written, spelled = len(texts), tokens(y, texts), characters(texts, y.seen)
    repeated_N = ngrams.repetition(written, REPEATED)
    known = y.alphabet.words if y.words else (c.casefold() for c in y.alphabet.characters)
    vocabulary = len({*known, *(token for text in written for token in text)})
    found = {f"distinct_{k}": ngrams.distinct(written, k, seed=seed) for k in (1, 2, 3)}
    found |= {
        "ead_2": ngrams.expectation_adjusted_distinct(written, 2, vocabulary, seed=seed),
        "forward_cross_entropy": ratio(*ngrams.score(y.spelling, spelled), seed=seed),
        "self_bleu": self_bleu(written, seed=seed),
        "repetition": ratio(repeated_N, np.ones(n), seed=seed),
    }
    if y.limits is None:
        return found
    budget, _ = ngrams.equal_budget(spelled, characters(y.peers, y.seen))
    size = len(y.seen.characters) + 1
    scorer = ngrams.fit(budget, vocabulary=size, order=CHARACTERS, whole=y.line)
    nats_M, tokens_M = ngrams.score(scorer, characters(y.standard, y.seen))
    backward = ratio(nats_M, tokens_M, seed=seed)
    return found | {"backward_cross_entropy": dataclasses.replace(backward, n=n, n_ref=len(nats_M))}


def _by_features(
    y: Yardstick, features_ND: np.ndarray, repeats: int, seed: int
) -> dict[str, Estimate]:
    if y.limits is None:
        return {}
    sets, how = _sets(y, features_ND), {"repeats": repeats, "seed": seed}
    trained = {"train": y.trained_PD, "generated": features_ND}
    heldout = {**trained, "heldout": y.features(y.reference)}
    neighbours = memorisation.hnr_features(**heldout, seed=seed).estimate
    return {
        **fidelity.prdc_estimates(**sets, **how),
        "mauve": mauve(**sets, seed=seed),
        "frechet_relative": frechet_relative(baseline=y.peers_ND, **sets, **how),
        "kid": kid(**sets, seed=seed),
        "mode_distance": mode_histogram(**sets, seed=seed).distance,
        "heldout_neighbour_rate_features": _unless(y.doubt, neighbours),
        "near_duplicates": _unless(y.doubt, memorisation.calibrated_duplicates(**heldout).estimate),
        "authenticity": memorisation.authenticity(**trained),
        "copying_ct": _unless(y.doubt, memorisation.copying_ct(**heldout, seed=seed)),
    }
