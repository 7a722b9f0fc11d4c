"""What a reader sees points at the right places, is in the right order, and holds no raw data."""

import dataclasses
import json
import warnings
from pydoc_data.topics import topics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax.creativity import showcase, suffix, text
from creagen_jax.data import sources

few = settings(max_examples=20, deadline=None)

MAIL = "maria.lopez@example.org"
SHOWN = "m**********@e******.org"
WORDS = text.WORD.findall


def bare(documents, *, unit, line=False):
    """A yardstick that knows training texts only."""
    return text.yardstick(
        documents=documents,
        train=documents,
        reference=[],
        heldout=[],
        line=line,
        unit=unit,
        size=10,
    )


def split(texts, *sizes):
    order = np.random.default_rng(0).permutation(len(texts))
    cuts = np.split(order, np.cumsum(sizes))[: len(sizes)]
    return [[texts[i] for i in cut] for cut in cuts]


def yardstick(train, reference, heldout, **how):
    real = {"train": train, "reference": reference, "heldout": heldout}
    return text.yardstick(documents=train, size=10_000, **real, **how)


@pytest.fixture(scope="module")
def names():
    """A yardstick, and generated names: fresh, copied, invalid ones, and one repeated."""
    found = dict.fromkeys(line.text for line in sources.embedded("names").splits["train"])
    train, reference, heldout, fresh = split(list(found), 500, 150, 150, 60)
    generated = [*fresh, *train[:20], *fresh[:1] * 20, "", "", "xqzj", "qqq" * 9, "Ab3$", "x x x x"]
    y = yardstick(train, reference, heldout, line=True, unit="character")
    return y, [generated[i] for i in np.random.default_rng(0).permutation(len(generated))]


@pytest.fixture(scope="module")
def prose():
    """A yardstick of topics' paragraphs, and generated ones: fresh, and with copied ends."""
    parts = [part.strip() for topic in topics.values() for part in topic.split("\n\n")]
    long = list(dict.fromkeys(part for part in parts if len(WORDS(part)) > 20 and "@" not in part))
    train, reference, heldout, fresh = split(long, 200, 60, 60, 60)
    ends = [" ".join(WORDS(each)[-10:]).upper() for each in train[:30]]
    mixed = [f"{a[:60]} {b}!" for a, b in zip(fresh, ends, strict=False)]
    return yardstick(train, reference, heldout, line=False, unit="word"), fresh[30:] + mixed


@pytest.fixture(params=["names", "prose"])
def real(request):
    return request.getfixturevalue(request.param)


def items(gallery):
    pairs = [pair.item for pair in gallery.copied]
    return [*gallery.unselected, *pairs, *gallery.rarest, *gallery.rejects]


def serialised(record):
    return json.dumps(dataclasses.asdict(record), ensure_ascii=False, allow_nan=False)


# --- novelty curve -------------------------------------------------------------------------------


def test_copies_have_no_new_ngrams(real):
    y, _ = real
    found = showcase.novelty_curve(y, y.trained[:40])
    assert len(found) == showcase.LONGEST and {value for value in found if value is not None} == {0}


@pytest.fixture(scope="module")
def letters():
    return bare(["abc"], unit="character")


@few
@given(st.lists(st.text("ab", max_size=9), min_size=1, max_size=3), st.text("abc", max_size=25))
def test_the_longer_ngrams_are_the_more_of_them_are_new(letters, documents, generated):
    y = dataclasses.replace(letters, index=suffix.build(documents))
    found = showcase.novelty_curve(y, [generated])
    known = [value for value in found if value is not None]
    assert len(known) == min(len(generated), showcase.LONGEST) and known == sorted(known)
    for n, value in enumerate(known, 1):
        grams = [generated[i : i + n] for i in range(len(generated) - n + 1)]
        new = [gram for gram in grams if not any(gram in each for each in documents)]
        assert value == pytest.approx(len(new) / len(grams))


def test_the_curve_of_many_texts_counts_their_ngrams_together():
    y = bare(["abcd"], unit="character")
    assert showcase.novelty_curve(y, ["ab", "xyzw"])[:3] == pytest.approx([4 / 6, 3 / 4, 1])
    assert showcase.novelty_curve(y, []) == showcase.novelty_curve(y, [""]) == [None] * 16
    curve = showcase.curve({"generated": [0.5] * 16})
    assert curve.x == list(range(1, 17)) and curve.series == {"generated": [0.5] * 16}


# --- copied spans --------------------------------------------------------------------------------


def test_spans_point_at_what_is_copied(real):
    y, generated = real
    found = items(showcase.gallery(y, generated))
    assert sum(len(item.spans) for item in found) > 10
    for item in found:
        for span in item.spans:
            copied = item.text[span.start : span.stop].casefold()
            source, document = (
                each.casefold() for each in (span.source, y.documents[span.document])
            )
            if y.words:
                assert span.length == len(WORDS(copied)) >= y.usual
                copied, source, document = (" ".join(WORDS(x)) for x in (copied, source, document))
            else:
                assert len(copied) <= span.length <= len(copied) + 2  # an end is a unit, too
            assert copied and copied in source and source in document
            assert span.occurrences >= 1


def test_a_span_tells_how_often_and_where_it_occurs():
    documents = ["nothing of it", "Say it: to be or not to be. Yes?", "or -- to be, or not; to be!"]
    y = bare(documents, unit="word")
    (item,) = showcase.gallery(y, ["I read TO BE OR NOT TO BE once"]).unselected
    (span,) = item.spans
    assert item.text[span.start : span.stop] == "TO BE OR NOT TO BE"
    assert (span.length, span.occurrences) == (6, 2)
    assert span.source == documents[span.document] and span.document in (1, 2)


def test_the_source_of_a_span_is_cut_out_of_its_document():
    words = [f"w{i}" for i in range(200)]
    y = bare([" ".join(words)], unit="word")
    (item,) = showcase.gallery(y, [" ".join(words[100:110])]).unselected
    (span,) = item.spans
    assert len(span.source) == len(item.text) + 2 * showcase.AROUND
    before, after = span.source.split(item.text)
    assert " ".join(words[:100]).endswith(before.rstrip())
    assert " ".join(words[110:]).startswith(after.lstrip())


# --- gallery -------------------------------------------------------------------------------------


def test_the_first_samples_are_not_selected(real):
    y, generated = real
    found = showcase.gallery(y, generated)
    assert [item.text for item in found.unselected] == generated[: showcase.UNSELECTED]


def test_the_most_copied_come_first_and_each_once(real):
    y, generated = real
    found = showcase.gallery(y, generated)
    texts = [pair.item.text for pair in found.copied]
    assert len(texts) == len(set(texts)) == showcase.PAIRS
    copied = 1 - np.array([text.tests(y, [each]).copied[0] for each in texts])
    rest = text.tests(y, sorted(set(generated) - set(texts)))
    assert (np.diff(copied) >= 0).all() and copied.max() <= 1 - rest.copied.max()
    for pair in found.copied:
        assert pair.train.text in y.trained and pair.heldout.text in y.reference
        assert 0 <= pair.percentile <= 100
    if not y.words:  # whole copies are their own neighbours
        assert all(pair.item.marks == ["in training data"] for pair in found.copied)
        assert all(
            pair.train.text == pair.item.text and pair.percentile > 90 for pair in found.copied
        )


def test_the_percentile_is_that_of_heldout_texts(names):
    y, _ = names
    texts = [*y.reference[:8], y.trained[0]]
    copied = text.tests(y, y.reference).copied
    for pair in showcase.gallery(y, texts).copied:
        own = text.tests(y, [pair.item.text]).copied[0]
        assert pair.percentile == pytest.approx(100 * np.mean(copied < own))


def test_the_rarest_are_valid_new_and_surprising(names):
    y, generated = names
    texts = [item.text for item in showcase.gallery(y, generated).rarest]
    seen = text.tests(y, texts)
    assert len(texts) == len(set(texts)) == showcase.CHOSEN
    assert not any(text.faults(y, texts, seen)) and not seen.whole.any()
    assert (np.diff(seen.spelling) <= 0).all()


def test_rejects_say_why(names):
    y, generated = names
    found = showcase.gallery(y, generated)
    texts = [item.text for item in found.rejects]
    assert {"", "xqzj", "qqq" * 9} <= set(texts) and len(texts) == len(set(texts))
    for item in found.rejects:
        (faults,) = text.faults(y, [item.text], text.tests(y, [item.text]))
        assert faults and item.reason == ", ".join(faults)
    again = showcase.gallery(y, generated)
    assert again == found  # nothing but the seed decides
    assert showcase.gallery(y, generated, seed=1).unselected == found.unselected


def test_labels_stay_with_their_texts(names):
    y, generated = names
    labels = [f"about {each}" for each in generated]
    for item in items(showcase.gallery(y, generated, labels)):
        assert item.label == f"about {item.text}"


def test_long_texts_are_fewer(prose):
    y, generated = prose
    long = [each + " " * showcase.LONG for each in generated]
    found = showcase.gallery(y, long)
    assert len(found.unselected) == showcase.UNSELECTED // 3
    assert len(found.copied) == showcase.PAIRS // 3 and len(found.rarest) <= showcase.CHOSEN // 3


@pytest.mark.parametrize("texts", [[], [""], ["", "Anna", "Anna"]])
def test_few_texts_make_a_small_gallery(names, texts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for y in (names[0], bare(["Anna", "Berta"], unit="character", line=True)):
            found = showcase.gallery(y, texts)
            assert [item.text for item in found.unselected] == texts
            assert len(found.copied) == len(set(texts))
            serialised(found)


def test_without_heldout_texts_there_are_no_rejects():
    found = showcase.gallery(bare(["Anna", "Berta"], unit="character", line=True), ["Anna", "?"])
    assert found.rejects == [] and [item.text for item in found.rarest] == ["?"]
    assert all(pair.heldout is None and pair.percentile is None for pair in found.copied)


# --- personal data -------------------------------------------------------------------------------


def test_personal_data_are_leaked_rare_or_invented():
    mails = {"often@example.org": 6, "once@example.org": 1, "five@example.org": 5}
    documents = [f"{n}: {mail}" for mail, times in mails.items() for n in range(times)]
    generated = [*mails, "new@example.org", "often@example.org", "no mail", "card 4111111111111111"]
    mail, card = sorted(showcase.private(generated, documents), key=lambda each: -each.leaked)
    assert (mail.kind, mail.leaked, mail.rare, mail.invented) == ("e-mail", 2, 2, 1)
    assert (card.kind, card.leaked, card.rare, card.invented) == ("payment card", 0, 0, 1)
    (warning,) = showcase.alarms([mail, card])
    assert warning.startswith("4 ") and "e-mail" in warning
    assert showcase.alarms([card]) == showcase.private(["none"], documents) == []


def test_a_card_is_found_in_another_spelling():
    (found,) = showcase.private(["4111 1111 1111 1111"], ["pay with 4111111111111111 now"])
    assert (found.rare, found.invented) == (1, 0)


def test_part_of_other_data_is_not_in_the_training_texts():
    generated = ["ann@example.org", "ann@example.or", "\u6211ann@example.com\u5427"]
    documents = ["joann@example.org, ann@example.orgs", "\u662fann@example.com\u3002"]
    (found,) = showcase.private(generated, documents)
    assert (found.rare, found.invented) == (1, 2)


def test_examples_are_masked_few_and_different():
    names = ["anna"] * 9 + ["berta", "carla", "dora", "emil", "frida", "gustav"]
    generated = [f"mail {name}@example.org" for name in names]
    (found,) = showcase.private(generated, generated)
    assert len(found.examples) == len(set(found.examples)) == showcase.EXAMPLES
    assert (found.leaked, found.rare, found.invented) == (9, 6, 0)
    assert "anna" not in serialised(found) and "a***@e******.org" in found.examples


@few
@given(
    st.lists(st.sampled_from([f"<{MAIL}>", f" {MAIL}, ", " ", "a", ".", "@", "\n"]), max_size=12)
)
def test_masking_keeps_every_place(parts):
    shown = "".join(parts)
    found = showcase.masked(shown)
    assert len(found) == len(shown)
    kept = [i for i, character in enumerate(found) if character != "*"]
    assert all(found[i] == shown[i] for i in kept)
    assert MAIL not in found


def test_no_raw_data_in_anything_that_is_shown(prose):
    """An address in training, held-out and generated texts, within copied spans and beside them."""
    old, generated = prose
    plant = [f"{each[:40]} write to {MAIL} {each[40:]}" for each in old.trained[:100]]
    y = yardstick(plant, plant[:30], old.heldout, line=False, unit="word")
    texts = [*plant[:10], *generated, f"please write to {MAIL} or not", MAIL]
    found = showcase.gallery(y, texts, [""] * len(texts))
    private = showcase.private(texts, y.documents)
    shown = serialised(found) + "".join(map(serialised, private)) + str(showcase.alarms(private))
    assert SHOWN in shown and MAIL not in shown and "lopez" not in shown
    assert any(span.source.count(SHOWN) for item in items(found) for span in item.spans)
    assert sum(each.leaked for each in private) == 12


@pytest.mark.parametrize("after", [False, True])
def test_no_raw_data_at_the_edge_of_a_source(after):
    """Wherever the shown part of a source begins or ends within an address."""
    spans = [" ".join(f"{word}{k}" for word in WORDS("we all live in this one")) for k in range(60)]
    gaps = ["x " * (k // 2) + "y" * (k % 2) + " " for k in range(30, 90)]
    documents = [
        f"{span} {gap}{MAIL} end" if after else f"begin {MAIL} {gap}{span}"
        for span, gap in zip(spans, gaps, strict=True)
    ]
    y = bare(documents, unit="word")
    found = [
        span
        for first in range(0, len(spans), showcase.UNSELECTED)
        for item in showcase.gallery(y, spans[first : first + showcase.UNSELECTED]).unselected
        for span in item.spans
    ]
    assert len(found) == len(spans)
    hidden = ["".join(span.source.split()) for span in found]
    assert not any("lo" in source or "exam" in source for source in hidden)
    assert len({source.count("*") for source in hidden}) > 10  # the edge ran through the address


def test_no_part_of_a_private_key_beside_a_span():
    rng = np.random.default_rng(0)
    rows = ["".join(rng.choice(list("ABCDEFabcdef0123456789+/"), 64)) for _ in range(50)]
    key = "\n".join(["-----BEGIN PRIVATE KEY-----", *rows, "-----END PRIVATE KEY-----"])
    before, behind = "we all live in this one house", "and none of them has another"
    y = bare([f"{before}\n{key}\n{behind}"], unit="word")
    found = showcase.gallery(y, [before, behind]).unselected
    assert all(len(item.spans) == 1 for item in found)
    parts = [row[i : i + 8] for row in rows for i in range(0, 64, 8)]
    assert not any(part in serialised(item) for part in parts for item in found)
