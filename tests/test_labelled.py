"""Texts are read as the labels that they were made for, and the report says how often."""

import collections

import numpy as np
import pytest

from creagen_jax import judging
from creagen_jax.creativity import catalogue, labelled, record, report
from creagen_jax.creativity.record import alignment
from creagen_jax.material import Material
from creagen_jax.types import UserError

ENDS = {"latin": ["us", "um", "orum"], "czech": ["ová", "ek", "ský"], "rare": ["xx", "yy"]}
SHARES = {"latin": 0.6, "czech": 0.37, "rare": 0.03}


def names(seed: int, n: int, labels: list[str] | None = None) -> tuple[list[str], list[str]]:
    """Words whose ends tell their labels."""
    rng = np.random.default_rng(seed)
    if labels is None:
        labels = rng.choice(list(SHARES), n, p=list(SHARES.values())).tolist()
    stems = ["".join(rng.choice(list("abdeilmnorst"), rng.integers(3, 7))) for _ in labels]
    return [s + rng.choice(ENDS[each]) for s, each in zip(stems, labels, strict=True)], labels


@pytest.fixture(scope="module")
def reader():
    return labelled.reader(*names(0, 800), *names(1, 300))


def test_labels_are_read_however_rare(reader):
    assert reader.accuracy.value > 0.95 and reader.accuracy.n == 300
    assert set(reader.by_label) == set(SHARES)
    for each in reader.by_label.values():
        assert each.value > 0.85


def test_labels_that_mean_nothing_are_read_at_random():
    (texts, labels), (others, asked) = names(0, 300), names(1, 300)
    labels, asked = (
        np.random.default_rng(2).permutation(each).tolist() for each in (labels, asked)
    )
    found = labelled.reader(texts, labels, others, asked)
    assert found.accuracy.value < max(SHARES.values()) + 0.1


def test_label_accuracy_is_the_share_of_texts_that_are_what_was_asked_for(reader):
    texts, labels = names(2, 400, ["latin"] * 200 + ["czech"] * 200)
    asked = ["czech"] * 50 + labels[50:]  # a quarter of the Latin ones were asked for in vain
    whole, rows = labelled.measure(reader, texts, asked)
    right = reader.read(texts) == np.array(asked)
    assert whole["label_accuracy"].value == right.mean() == pytest.approx(350 / 400, abs=0.03)
    assert f"{reader.accuracy.value:.1%}" in whole["label_accuracy"].note
    ratio = whole["label_accuracy_ratio"].value
    assert ratio == pytest.approx(right.mean() / reader.accuracy.value)
    assert set(rows) == {"latin", "czech"}
    assert rows["czech"]["label_accuracy"].value == pytest.approx(200 / 250, abs=0.03)
    count = collections.Counter(asked)
    assert all(rows[label]["label_accuracy"].n == count[label] for label in rows)
    assert set(whole) <= set(catalogue.METRICS)


def test_the_same_seed_reads_the_same(monkeypatch):
    monkeypatch.setattr(labelled, "MOST", 150)
    texts, heldout = names(0, 800), names(1, 300)
    a, b = (labelled.reader(*texts, *heldout, seed=3) for _ in range(2))
    assert (a.read(heldout[0]) == b.read(heldout[0])).all()


def test_degenerate_texts_are_read(reader):
    assert len(reader.read([])) == 0
    assert set(reader.read(["", "漢字", "\n"])) <= set(SHARES)
    found, rows = labelled.measure(reader, [], [])
    assert found["label_accuracy"].value is None and not rows
    unknown, rows = labelled.measure(reader, ["abc"], ["other"])
    assert unknown["label_accuracy"].value == 0
    assert rows["other"]["label_accuracy_ratio"].value is None


def test_nothing_is_told_of_one_label_or_without_held_out_texts():
    with pytest.raises(UserError, match="two labels"):
        labelled.reader(["a", "b"], ["x", "x"], ["c"], ["x"])
    found = labelled.reader(["aa", "bb"] * 9, ["x", "y"] * 9, [], [])
    assert found.accuracy.value is None
    told, _ = labelled.measure(found, ["aa"], ["x"])
    assert told["label_accuracy"].value == 1 and told["label_accuracy_ratio"].value is None


# --- in the report -------------------------------------------------------------------------------


def material(**rest) -> Material:
    train, heldout = names(0, 300)[0], names(1, 200)[0]
    found = Material("t", True, train, heldout, lambda orders, num, seed: {}, {}, [])
    for name, value in rest.items():
        object.__setattr__(found, name, value)
    return found


@pytest.fixture(scope="module")
def on():
    found = material(labels=names(0, 300)[1], heldout_labels=names(1, 200)[1])
    return judging.bench(found, names(2, 150)[0], seed=0, fast=True)


def test_the_report_has_label_accuracy_beside_that_of_held_out_texts(on):
    texts, labels = names(2, 150)
    found = judging.judge(on, texts, title="t", labels=labels, probed={"model": {"x": NOTE}})
    assert found.metrics["label_accuracy"].value > 0.9 and found.metrics["x"] == NOTE
    assert found.anchors["held-out"].metrics["label_accuracy"] == on.reader.accuracy.value
    assert {row.label: row.count for row in found.classes} == collections.Counter(labels)
    html = report.render(found)
    assert "By class" in html and "Label accuracy, relative" in html
    assert record.from_json(record.to_json(found)) == found
    wrong = judging.judge(on, texts, title="t", labels=["rare"] * 150)
    assert wrong.metrics["label_accuracy"].value < 0.1


NOTE = record.Estimate(0.5, 0.4, 0.6, "bootstrap", 9)


@pytest.mark.parametrize("labels", [[], [""] * 150])
def test_without_labels_there_is_none(on, labels):
    found = judging.judge(on, names(2, 150)[0], title="t", labels=labels, full=False)
    assert "label_accuracy" not in found.metrics and not found.classes


def test_data_without_labels_or_of_one_label_needs_no_classifier():
    texts = names(2, 150)[0]
    for rest in ({}, {"labels": ["x"] * 300, "heldout_labels": ["x"] * 200}):
        assert judging.bench(material(**rest), texts, seed=0, fast=True).reader is None


def test_pieces_of_long_texts_have_the_labels_of_these():
    parts, labels = judging._cut(["abcdefg", "hi", "jklmno"], ["x", "y", "z"], 3)
    assert (parts, labels) == (["abc", "def", "jkl", "mno"], ["x", "x", "z", "z"])
    assert judging._cut(["ab", "c"], ["x", "y"], 0) == (["ab", "c"], ["x", "y"])
    assert judging._cut(["abcd"], [], 2) == (["ab", "cd"], [])


def test_the_first_samples_are_shown_with_sources_and_references(on):
    texts = names(2, 150)[0]
    sources = [f"source {i} of ann@example.org" for i in range(150)]
    references = [[f"best {i}", texts[i]] if i % 2 else [f"other {i}"] for i in range(150)]
    maps = [
        alignment(list("abc"), list("xy"), np.full((2, 3), 1 / 3)),
        alignment(list("ann@example.org"), list("xy"), np.full((2, 15), 1 / 15)),
    ]
    found = judging.judge(
        on, texts, title="t", sources=sources, references=references, alignments=maps, full=False
    )
    for i, item in enumerate(found.gallery.unselected):
        assert item.text == texts[i] and item.source.startswith(f"source {i} of")
        assert item.reference == (texts[i] if i % 2 else f"other {i}")
    assert "ann@example.org" not in str(record.to_json(found))
    assert found.alignments == maps[:1]
