import dataclasses
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from creagen_jax.creativity import audit as audits
from creagen_jax.creativity import duplicates
from creagen_jax.creativity.audit import audit, lines
from creagen_jax.types import UserError

few = settings(max_examples=25, deadline=None)


def words(rng, n, length=12):
    """Lines of random words: no two are alike."""
    return [
        " ".join("".join(rng.choice(list("abcdefghij"), 5)) for _ in range(length))
        for _ in range(n)
    ]


@pytest.fixture(scope="module")
def clean():
    return words(np.random.default_rng(0), 300)


def test_clean_data_have_no_findings(clean):
    found = audit(train=clean[:200], heldout={"validation": clean[200:250], "test": clean[250:]})
    assert list(found.splits) == ["train", "validation", "test"]
    for split in found.splits.values():
        assert split.duplicates == audits.Copies(0, 0, 0, [])
        assert (split.empty, split.short, split.broken, split.most_repeated) == (0, 0, 0, [])
    pairs = [(leak.source, leak.into) for leak in found.leaks]
    assert pairs == [("train", "validation"), ("train", "test"), ("validation", "test")]
    assert all(leak.items.near == 0 and leak.shared == 0 for leak in found.leaks)
    assert found.spans == audits.Spans(0, 0, [])
    assert found.personal == found.notes == []
    assert found.splits["train"].items == 200
    assert found.splits["train"].characters == sum(map(len, clean[:200]))


def test_planted_duplicates_are_counted_by_how_near_they_are(clean):
    longer = clean[4] + " and"
    train = [*clean, clean[0], clean[0], clean[1], clean[2].upper() + "!", longer]
    split = audit(train=train, heldout={}).splits["train"]
    copies = split.duplicates
    assert (copies.exact, copies.normalised, copies.near) == (3, 4, 5)
    assert split.most_repeated == [(shown(clean[0]), 3), (shown(clean[1]), 2)]
    assert copies.examples == [shown(clean[0]), shown(clean[1]), shown(clean[2].upper())]


def shown(text):
    return text[:59] + "…"


def test_planted_leaks_are_counted_by_how_near_they_are(clean):
    near = clean[3].replace(clean[3][30:32], "zz")
    heldout = [*clean[200:], clean[0], clean[1].title(), near]
    found = audit(train=clean[:200], heldout={"test": heldout})
    (leak,) = found.leaks
    assert (leak.items.exact, leak.items.normalised, leak.items.near) == (1, 2, 3)
    assert leak.items.examples[0] == shown(clean[0])
    windows = [len(text) - 49 for text in heldout]
    assert leak.shared == pytest.approx(windows[100] / sum(windows))  # the exact one only
    assert found.splits["test"].duplicates.near == 0


def test_a_part_of_one_stream_in_another_is_a_leak():
    rng = np.random.default_rng(0)
    train, heldout = (" ".join(words(rng, 20)) for _ in range(2))
    heldout = heldout[:500] + train[300:600] + heldout[500:]
    (leak,) = audit(train=[train], heldout={"validation": [heldout]}).leaks
    assert leak.items.near == 0
    assert leak.shared == pytest.approx((300 - 49) / (len(heldout) - 49))


def test_a_span_repeated_in_a_stream_is_found_whole():
    rng = np.random.default_rng(0)
    notice = "All rights reserved; no part may be reproduced in any form. "
    chapters = [" ".join(words(rng, 3)) + "\n" for _ in range(20)]
    marked = [chapter + notice for chapter in chapters[:11]] + chapters[11:]
    found = audit(train=["".join(marked)], heldout={}).spans
    assert found.number == 1
    assert found.most_repeated == [(" ".join(notice.split()), 11)]
    assert found.share == pytest.approx(11 * len("\n" + notice) / sum(map(len, marked)), rel=0.02)
    # Ten times, and shorter than 50 characters, are no finding.
    assert audit(train=["".join(marked[1:])], heldout={}).spans.number == 0
    short = [text.replace(notice, notice[:45]) for text in marked]
    assert audit(train=["".join(short)], heldout={}).spans.number == 0


def test_a_span_of_many_documents_is_found():
    lines_of = [
        line + " and they lived happily ever after until the very end" for line in "abcdefghijkl"
    ]
    found = audit(train=lines_of, heldout={}).spans
    assert found.number == 1
    assert found.most_repeated[0][1] == 12


def test_personal_data_are_counted_and_masked(clean):
    train = [
        *clean,
        "write to john@example.com",
        "or jane@example.com or john@example.com",
        "4111111111111111",
    ]
    found = audit(train=train, heldout={"test": ["john@example.com"]})
    assert found.personal == [
        audits.Personal("e-mail", 3, ["j***@e******.com"]),
        audits.Personal("payment card", 1, ["************1111"]),
    ]


def test_no_example_holds_personal_data():
    notice = "For any question about this text please do write to john@example.com today."
    found = audit(
        train=[notice] * 12 + [notice.upper()], heldout={"test": [notice, notice + " Ok"]}
    )
    everything = json.dumps(dataclasses.asdict(found)) + "".join(lines(found))
    assert found.spans.number == 1
    assert found.leaks[0].items.near == 2
    assert "john@" not in everything.lower()
    assert "j***@e******.com" in everything


def test_empty_short_and_broken_items_are_counted():
    found = audit(
        train=["a" * 40, "b" * 50, "c" * 60, "", " \n", "d", "e\x00\ufffd\ud800" + "e" * 30],
        heldout={},
    )
    split = found.splits["train"]
    assert (split.items, split.empty, split.short, split.broken) == (7, 2, 1, 3)
    assert split.duplicates.exact == 0  # empty items are copies of nothing
    text = "\n".join(lines(found))
    text.encode()  # fit to be printed
    assert "\x00" not in text


@pytest.mark.parametrize("train", [[], [""], ["a"], ["a", "a"], ["!!!", "???"], ["  ", "\t"]])
@pytest.mark.parametrize("heldout", [{}, {"test": []}, {"test": ["a"]}])
def test_tiny_data_are_fine(train, heldout):
    found = audit(train=train, heldout=heldout)
    assert lines(found)
    json.dumps(dataclasses.asdict(found), allow_nan=False)
    assert found.splits["train"].duplicates.exact == (train == ["a", "a"])
    assert found.splits["train"].duplicates.near == (train == ["a", "a"])


def test_the_summary_has_the_counts(clean):
    train = [*clean[:100], clean[0], "call (212) 555-0123", ""]
    text = "\n".join(lines(audit(train=train, heldout={"test": [clean[1], *clean[200:203]]})))
    assert "train: 103 items" in text
    assert "1 empty" in text
    assert "duplicates in train: 1 exact" in text
    assert "leak from train into test: 1 exact" in text
    assert "25.0% of items" in text
    assert "phone 1 (" in text
    assert "555" not in text
    assert len(text.splitlines()) <= 12


def test_large_data_are_sampled_and_it_says_so(clean, monkeypatch):
    monkeypatch.setattr(audits, "LIMIT", 2000)
    monkeypatch.setattr(audits, "PIECE", 500)
    train = [*clean[:100], clean[0], " ".join(clean)]
    found = audit(train=train, heldout={"test": clean[200:210]}, seed=3)
    assert [note.partition(":")[0] for note in found.notes] == ["near duplicates", "spans of train"]
    assert all("at random" in note for note in found.notes)
    assert found.splits["train"].duplicates.exact == 1  # equality is looked for everywhere
    assert lines(found)[-1].startswith("note: spans of train: searched in ")
    assert audit(train=train, heldout={"test": clean[200:210]}, seed=3) == found


def test_a_heldout_split_has_a_name_of_its_own():
    with pytest.raises(UserError, match="train"):
        audit(train=["a"], heldout={"train": ["b"]})


# --- hashing -------------------------------------------------------------------------------------

texts_of = st.lists(st.text("ab", max_size=12), max_size=6)


@few
@given(texts=texts_of, width=st.integers(1, 6))
def test_windows_hash_equal_text_equally(texts, width):
    hash_M, text_M, start_M = duplicates.windows(texts, width)
    joined = "".join(texts)
    strings = [joined[start : start + width] for start in start_M]
    expected = [
        (n, t[i : i + width]) for n, t in enumerate(texts) for i in range(len(t) - width + 1)
    ]
    assert list(zip(text_M.tolist(), strings, strict=True)) == expected
    assert len(set(zip(strings, hash_M.tolist(), strict=True))) == len(set(strings))
    assert len(set(hash_M.tolist())) == len(set(strings))


@few
@given(texts=texts_of, width=st.integers(2, 4), more_than=st.integers(0, 3))
def test_repeated_spans_are_made_of_repeated_windows(texts, width, more_than):
    spans, covered = duplicates.repeated_spans(texts, width=width, more_than=more_than)
    grams = [text[i : i + width] for text in texts for i in range(len(text) - width + 1)]
    often = {gram for gram in grams if grams.count(gram) > more_than}
    assert {s[i : i + width] for s in spans for i in range(len(s) - width + 1)} == often
    for span, times in spans.items():
        assert times == grams.count(span[:width])
        assert any(span in text for text in texts)
    marked = [
        any(
            text[j : j + width] in often
            for j in range(max(i - width + 1, 0), i + 1)
            if j + width <= len(text)
        )
        for text in texts
        for i in range(len(text))
    ]
    assert covered == sum(marked)


def test_clusters_are_those_of_all_pairs():
    """Of texts at every distance MinHash finds what comparing each with each finds."""
    rng = np.random.default_rng(0)
    originals, texts = words(rng, 15, length=30), []
    for original in originals:
        for edits in (0, 1, 2, 3, 4, 5):
            text = list(original)
            for place in rng.choice(len(text), edits, replace=False):
                text[place] = "z"
            texts.append("".join(text))
    size = len(texts)
    index = np.zeros((size, size))
    for i, j in itertools.combinations(range(size), 2):
        index[i, j] = duplicates.jaccard(texts[i], texts[j])

    def together(least):
        label = sparse.csgraph.connected_components(index >= least, directed=False)[1]
        return np.equal.outer(label, label)

    near, nearer = together(duplicates.SIMILAR), together(0.87)
    found = np.equal.outer(duplicates.clusters(texts), duplicates.clusters(texts))
    assert not (found & ~near).any()
    assert not (nearer & ~found).any()
    assert found.sum() - size > 0.95 * (near.sum() - size)
    assert 1.2 * size < near.sum() < 5 * size  # of six, some are near and some are not


def test_a_group_of_many_equals_is_one_cluster(clean):
    texts = [*clean[:3], *(clean[3] + " " + "abcdefghij"[i % 10] for i in range(500))]
    found = duplicates.clusters(texts)
    assert len(set(found.tolist())) == 4
    assert len(set(found[3:].tolist())) == 1


def test_short_texts_are_not_alike():
    assert (
        len(set(duplicates.clusters(["Christopher", "Christophe", "Christophers"]).tolist())) == 3
    )
    assert duplicates.clusters([]).shape == (0,)


def test_jaccard_is_of_shingles():
    assert duplicates.jaccard("abcdef", "abcdef") == 1
    assert duplicates.jaccard("abcdef", "bcdefg") == 1 / 3
    assert duplicates.jaccard("abc", "abc") == 0
