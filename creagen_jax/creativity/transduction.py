"""Outputs against references: how much of a sum, a pronunciation or a translation is right.

An item is a sequence of tokens, as in `ngrams`. Each output has one reference or more, of which the
best counts. All functions raise UserError if there are not as many lists of references as outputs,
or if one of them is empty.

Letters: N outputs, P pairs of an output and a reference of it, L and M tokens of the two.
"""

from __future__ import annotations

import operator
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from sacrebleu.metrics import BLEU, CHRF

from creagen_jax.creativity.estimate import Estimate, ratio, subsample, undetermined, wilson
from creagen_jax.creativity.ngrams import Item, encode
from creagen_jax.types import UserError

References = Sequence[Sequence[Item]]

CHUNK = 1024  # pairs whose edit distances are found at once
REPEATS = 20  # halves for an interval
SPACELESS = {"CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"}
GRAMS = 4  # the longest n-grams of BLEU


def measure(
    outputs: Sequence[str], references: Sequence[Sequence[str]], *, words: bool, seed: int = 0
) -> dict[str, Estimate]:
    """All scores, by the names of `catalogue.METRICS`.

    words: tokens are what spaces part, such as phonemes; else characters.
    """
    split = str.split if words else list
    items = [split(output) for output in outputs]
    wanted = [[split(text) for text in texts] for texts in references]
    return {
        "exact_match": exact_match(items, wanted),
        "token_accuracy": token_accuracy(items, wanted, seed=seed),
        "error_rate": error_rate(items, wanted, seed=seed),
        "word_error": word_error(items, wanted),
        "chrf": chrf(outputs, references, seed=seed),
        "bleu": bleu(outputs, references, seed=seed),
    }


# --- tokens --------------------------------------------------------------------------------------


def exact_match(outputs: Sequence[Item], references: References) -> Estimate:
    """The share of outputs that equal a reference."""
    _check(outputs, references)
    return wilson(_right(outputs, references), len(outputs))


def word_error(outputs: Sequence[Item], references: References) -> Estimate:
    """The share of outputs that equal no reference: the word error rate, where an output is a word.

    Beside the phoneme error rate this is what work on pronunciation publishes.
    """
    _check(outputs, references)
    return wilson(len(outputs) - _right(outputs, references), len(outputs))


def token_accuracy(outputs: Sequence[Item], references: References, *, seed: int = 0) -> Estimate:
    """The share of positions that hold the token of the reference.

    Positions that only one of the two has are wrong. Of several references the one with the largest
    share counts, and of these the shortest.
    """
    _check(outputs, references)
    best = [
        max((_agreement(output, each) for each in texts), key=_share)
        for output, texts in zip(outputs, references, strict=True)
    ]
    right_N, all_N = np.array(best, np.int64).reshape(-1, 2).T
    return ratio(right_N, all_N, seed=seed)


def error_rate(outputs: Sequence[Item], references: References, *, seed: int = 0) -> Estimate:
    """The edit distances of all outputs to their references, over the length of these.

    The phoneme error rate, where tokens are phonemes: of several pronunciations the nearest counts,
    with its length, as is usual for CMUdict; of equally near ones it is the shortest. The
    interval is the bootstrap over outputs.
    """
    _check(outputs, references)
    output_P = np.repeat(np.arange(len(outputs)), [len(texts) for texts in references])
    flat = [each for texts in references for each in texts]
    distance_P = edit_distances([outputs[i] for i in output_P], flat)
    length_P = np.array([len(each) for each in flat], np.int64)
    order = np.lexsort((length_P, distance_P, output_P))
    nearest_N = order[np.unique(output_P[order], return_index=True)[1]]
    return ratio(distance_P[nearest_N], length_P[nearest_N], seed=seed)


def edit_distances(a: Sequence[Item], b: Sequence[Item]) -> np.ndarray:
    """The edit distance of each pair [P]: how many tokens must be put in, left out or replaced to
    make one of the other (Levenshtein, 1966). Raises UserError for unequal numbers of items.
    """
    if len(a) != len(b):
        raise UserError(f"{len(a)} and {len(b)} items make no pairs")
    (a, b), _ = encode(a, b)
    # Those of about the same length together: all are padded to the longest.
    order = sorted(range(len(a)), key=lambda i: (len(a[i]), len(b[i])))
    distance_P = np.zeros(len(a), np.int64)
    for start in range(0, len(a), CHUNK):
        some = order[start : start + CHUNK]
        distance_P[some] = _distances([a[i] for i in some], [b[i] for i in some])
    return distance_P


def _distances(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> np.ndarray:
    """By the algorithm of Wagner and Fischer (1974), a row of all tables at a time."""
    a_PL, b_PM = _padded(a, -1), _padded(b, -2)
    a_P, b_P = (np.array([len(each) for each in part], np.int64) for part in (a, b))
    place_M = np.arange(b_PM.shape[1] + 1)
    # Distances of the first tokens of a, as many as rows were done, to each beginning of b.
    row_PM = np.broadcast_to(place_M, (len(a), len(place_M)))
    distance_P = b_P.copy()  # of an empty a
    for done, token_P in enumerate(a_PL.T, 1):
        wrong_PM = b_PM != token_P[:, None]
        without_PM = np.minimum(row_PM[:, 1:] + 1, row_PM[:, :-1] + wrong_PM)
        without_PM = np.pad(without_PM, ((0, 0), (1, 0)), constant_values=done)
        # The tokens of b put in after the best place: the smallest of d[k] + (m - k) for k <= m.
        row_PM = np.minimum.accumulate(without_PM - place_M, axis=1) + place_M
        last_P = np.flatnonzero(a_P == done)
        distance_P[last_P] = row_PM[last_P, b_P[last_P]]
    return distance_P


def _padded(items: Sequence[np.ndarray], fill: int) -> np.ndarray:
    longest = max(map(len, items), default=0)
    rows = [np.pad(item, (0, longest - len(item)), constant_values=fill) for item in items]
    return np.array(rows, np.int64).reshape(len(items), longest)


def _right(outputs: Sequence[Item], references: References) -> int:
    return sum(
        any(list(output) == list(each) for each in texts)
        for output, texts in zip(outputs, references, strict=True)
    )


def _agreement(output: Item, reference: Item) -> tuple[int, int]:
    """Positions with the same token, and positions."""
    return sum(map(operator.eq, output, reference)), max(len(output), len(reference))


def _share(agreement: tuple[int, int]) -> tuple[float, int]:
    same, positions = agreement
    return same / max(positions, 1), -positions


def _check(outputs: Sequence[Item], references: References) -> None:
    if len(outputs) != len(references):
        raise UserError(f"{len(outputs)} outputs and references of {len(references)}")
    for i, texts in enumerate(references):
        if not len(texts):
            raise UserError(f"output {i} has no reference")


# --- language ------------------------------------------------------------------------------------


def chrf(outputs: Sequence[str], references: Sequence[Sequence[str]], *, seed: int = 0) -> Estimate:
    """chrF of all outputs together (Popović, 2015), 0 .. 100: the F2 score of n-grams of 1 to 6
    characters, without spaces, by sacrebleu.

    The interval is the spread between halves of the outputs, around the value of all.
    """
    return _of_corpus(CHRF(), outputs, references, seed)


def bleu(outputs: Sequence[str], references: Sequence[Sequence[str]], *, seed: int = 0) -> Estimate:
    """BLEU of all outputs together (Papineni et al., 2002), 0 .. 100, by sacrebleu (Post, 2018).

    Undetermined where no output has four words, or characters of a script without spaces. The
    interval is as that of `chrf`.
    """
    metric = BLEU(tokenize=tokenizer([each for texts in references for each in texts]))
    return _of_corpus(metric, outputs, references, seed)


def tokenizer(texts: Sequence[str]) -> str:
    """sacrebleu's name for the way to cut these texts into words, by the script of most letters:
    "zh" for Chinese, "char" for others without spaces, else "13a".
    """
    scripts: Counter[str] = Counter()
    for character, count in Counter("".join(texts)).items():
        if character.isalpha():
            scripts[unicodedata.name(character, "?").split()[0]] += count
    spaceless = sum(scripts[name] for name in SPACELESS)
    if 2 * spaceless <= scripts.total():
        return "13a"
    # Japanese has Chinese signs as well, but never nothing else.
    return "zh" if scripts["CJK"] > 0.9 * spaceless else "char"


def _of_corpus(
    metric: BLEU | CHRF, outputs: Sequence[str], references: Sequence[Sequence[str]], seed: int
) -> Estimate:
    _check(outputs, references)
    if not outputs:
        return undetermined("no items", n=0)

    def score(index: Sequence[int]):
        # A list for the first reference of each output, one for the second ...
        columns = list(zip_longest(*(references[i] for i in index)))
        return metric.corpus_score([outputs[i] for i in index], columns)

    whole = score(range(len(outputs)))
    if isinstance(metric, BLEU) and not whole.totals[GRAMS - 1]:
        return undetermined(f"no output has {GRAMS} words", n=len(outputs))
    return subsample(
        lambda index: score(index).score,
        len(outputs),
        seed=seed,
        repeats=REPEATS,
        note=f"sacrebleu: {metric.get_signature()}",
    )
