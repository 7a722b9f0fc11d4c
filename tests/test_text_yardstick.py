"""Texts of known merit: what the yardstick says of held-out texts, copies, noise and mixtures."""

import types
from pydoc_data.topics import topics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax.creativity import suffix, text
from creagen_jax.creativity.units import EDGE
from creagen_jax.data import sources

few = settings(max_examples=30, deadline=None)


def split(texts, *sizes):
    """The texts in random order: training, reference, held-out and fresh ones."""
    order = np.random.default_rng(0).permutation(len(texts))
    cuts = np.split(order, np.cumsum(sizes))[: len(sizes)]
    return [[texts[i] for i in cut] for cut in cuts]


def lines(train, reference, heldout, size=10_000):
    """A yardstick of lines, compared by characters."""
    return text.yardstick(
        documents=train,
        train=train,
        reference=reference,
        heldout=heldout,
        line=True,
        unit="character",
        size=size,
    )


NAMES = list(dict.fromkeys(line.text for line in sources.embedded("names").splits["train"]))


def paragraphs():
    found = [part.strip() for topic in topics.values() for part in topic.split("\n\n")]
    long = [part for part in found if len(text.WORD.findall(part)) >= text.WORDS]
    return list({part.casefold(): part for part in long}.values())


@pytest.fixture(scope="module")
def names():
    train, reference, heldout, fresh = split(NAMES, 1800, 500, 500, 900)
    y = lines(train, reference, heldout)
    return types.SimpleNamespace(y=y, train=train, fresh=fresh)


@pytest.fixture(scope="module")
def prose():
    """Paragraphs; 20 of them make a training document."""
    train, reference, heldout, fresh = split(paragraphs(), 500, 200, 200, 200)
    y = text.yardstick(
        documents=["\n\n".join(train[i : i + 20]) for i in range(0, len(train), 20)],
        train=train,
        reference=reference,
        heldout=heldout,
        line=False,
        unit=text.unit_of(heldout),
        size=10_000,
    )
    return types.SimpleNamespace(y=y, train=train, fresh=fresh)


@pytest.fixture(params=["names", "prose"])
def real(request):
    return request.getfixturevalue(request.param)


def shuffled(texts):
    rng = np.random.default_rng(0)
    return ["".join(rng.permutation(list(each))) for each in texts]


def measured(y, texts, **how):
    return text.measure(y, texts, **{"intervals": False, **how})


def assert_sound(found):
    """A number within its interval, or a reason."""
    for name, each in {**found.metrics, **found.novelty, **found.diversity}.items():
        if each.value is None:
            assert each.note, name
        else:
            assert each.low <= each.value <= each.high, name


# --- units ---------------------------------------------------------------------------------------


def test_long_texts_are_compared_by_words_and_short_ones_by_characters(names, prose):
    assert (names.y.words, prose.y.words) == (False, True)
    assert text.unit_of(names.train) == text.unit_of([]) == "character"
    assert text.unit_of(["one two three " * 4]) == "word"


@few
@given(st.lists(st.text(max_size=20), min_size=1, max_size=3), st.booleans())
def test_characters_lead_back_to_their_place(texts, line):
    alphabet = text.Alphabet({}, {}, 0, 0)
    units = text.texts_of(texts, alphabet, line=line, words=False)
    for i, each in enumerate(texts):
        rows = list(zip(units.ids[i], units.start[i], units.stop[i], strict=True))
        if line:
            assert rows[0] == (EDGE, 0, 0)
            assert rows[-1] == (EDGE, len(each), len(each))
            rows = rows[1:-1]
        assert [(start, stop) for _, start, stop in rows] == [(k, k + 1) for k in range(len(each))]
        for id, start, stop in rows:
            folded = each[start:stop].casefold()
            assert chr(id) == (folded if len(folded) == 1 else each[start:stop])


@few
@given(st.lists(st.text("abB éÉßİ.,\n1_漢", max_size=20), min_size=1, max_size=3), st.booleans())
def test_words_lead_back_to_their_place(texts, line):
    words = sorted({word.casefold() for each in texts for word in text.WORD.findall(each)})
    alphabet = text.Alphabet({}, {word: i for i, word in enumerate(words, 1)}, 0, len(words))
    units = text.texts_of(texts, alphabet, line=line, words=True)
    for i, each in enumerate(texts):
        rows = list(zip(units.ids[i], units.start[i], units.stop[i], strict=True))
        if line:
            rows = rows[1:-1]
        assert [each[start:stop] for _, start, stop in rows] == text.WORD.findall(each)
        assert all(words[id - 1] == each[start:stop].casefold() for id, start, stop in rows)


def test_characters_that_fold_to_several_keep_offsets():
    plain, folded = text.texts_of(
        ["Straße in İzmir", "STRAßE IN İZMIR"], text.Alphabet({}, {}, 0, 0), line=False, words=False
    ).ids
    assert plain.tolist() == folded.tolist() and len(plain) == 15


def test_no_real_text_has_the_unit_of_unknown_words():
    """Not even a piece that was cut within a word."""
    documents = ["one two three four five six seven eight nine ten"]
    pieces = [documents[0][i : i + 9] for i in range(0, 36, 9)]
    y = text.yardstick(
        documents=documents,
        train=pieces,
        reference=["seven nine"],
        heldout=["ten six"],
        line=False,
        unit="word",
        size=1,
    )
    (unknown,) = set(text.units_of(y, ["these, those"]).ids[0].tolist())
    assert unknown not in y.pool.symbols and unknown not in y.index.symbols


# --- tests of single texts -----------------------------------------------------------------------


def test_limits_fail_few_of_the_texts_that_they_are_set_by(real):
    y = real.y
    standard, reference = text.tests(y, y.standard), text.tests(y, y.reference)
    for name in text.VALID:
        assert np.mean(getattr(standard, name) > getattr(y.limits, name)) <= text.TOLERANCE
    for name in text.ORIGINAL:
        assert np.mean(getattr(reference, name) > getattr(y.limits, name)) <= text.TOLERANCE
    spelling = np.mean(standard.spelling > y.limits.spelling)
    assert spelling > text.TOLERANCE - 1.5 / len(y.standard)  # no stricter limit would do


def test_fresh_texts_pass_each_test_as_often_as_heldout_ones(real):
    y, n = real.y, len(real.fresh)
    seen = text.tests(y, real.fresh)
    error = np.sqrt(text.TOLERANCE * (1 / n + 1 / len(y.standard)))
    for name in (*text.VALID, *text.ORIGINAL):
        failed = np.mean(getattr(seen, name) > getattr(y.limits, name))
        assert failed <= text.TOLERANCE + 4 * error, name


def test_copies_are_never_original_and_noise_is_hardly_ever_valid(real):
    assert not measured(real.y, real.train[:300]).original_N.any()
    noise = measured(real.y, shuffled(real.fresh))
    assert noise.valid_N.mean() < 0.15 and noise.original_N.mean() > 0.95


@pytest.mark.parametrize("change", [str.upper, str.swapcase])
def test_a_copy_in_another_case_is_a_copy(real, change):
    copies = [change(each) for each in real.train[:50]]
    assert not measured(real.y, copies).original_N.any()


def test_words_are_compared_without_punctuation(prose):
    copies = [", ".join(text.WORD.findall(each)) + "!" for each in prose.train[:50]]
    found = measured(prose.y, copies)
    assert not found.original_N.any() and found.novelty["creativity_ratio"].value == 0


def test_a_copy_of_a_short_text_is_told_from_a_part_of_a_longer_one(names):
    y = lines([*names.train, "Maryanne"], names.y.reference, names.y.heldout)
    seen = text.tests(y, ["Maryanne", "maryanne", "Maryann", "aryanne"])
    assert seen.whole.tolist() == [True, True, False, False]
    assert text.copied(y, seen)[:2].all()


def test_a_span_may_cross_from_one_piece_into_the_next(prose):
    ends = [text.WORD.findall(each) for each in prose.train[:2]]
    words = [*ends[0][-8:], *ends[1][:8]]
    crossing, broken = " ".join(words), " ".join(words[8:] + words[:8])
    seen = text.tests(prose.y, [crossing, broken])
    assert seen.span[0] == 16 and seen.whole.tolist() == [True, False]
    assert seen.copied[0] == 1 and text.copied(prose.y, seen)[0]
    weights = suffix.match(prose.y.pool, text.units_of(prose.y, [crossing]).ids)
    assert weights[0].length.max() < 16


@pytest.mark.parametrize("empty", ["", " ", "\n\t "])
def test_an_empty_text_is_not_valid(real, empty):
    (reasons,) = text.faults(real.y, [empty], text.tests(real.y, [empty]))
    assert "empty" in reasons
    assert measured(real.y, [empty, real.fresh[0]]).valid_N[0] == np.False_


def test_what_the_training_texts_do_not_have_is_scored_too(real):
    strange = ["漢字かな", "Ω\u0378\x00\x07", "qwrtzpsd " * 30, "\U0001f600"]
    seen = text.tests(real.y, strange)
    assert np.isfinite(seen.spelling).all() and np.isfinite(seen.repetition).all()
    assert (seen.unknown[[0, 2]] == (1 if real.y.words else 0)).all()
    found = text.faults(real.y, strange, seen)
    assert all(found) and set().union(*found) <= set(text.VALID.values())


def test_reasons_name_what_is_wrong(prose):
    plain = prose.fresh[0]
    texts = ["xqj zvv kkp " * 8, "the value of the name of the value of the name " * 6]
    made, looped = text.faults(prose.y, texts, text.tests(prose.y, texts))
    assert {"unlikely spelling", "unknown words"} <= set(made)
    assert "repeats itself" in looped and "unknown words" not in looped
    assert text.faults(prose.y, [plain], text.tests(prose.y, [plain])) == [[]]


# --- a set of texts ------------------------------------------------------------------------------


def test_fresh_texts_are_as_good_as_heldout_ones(real):
    found = measured(real.y, real.fresh)
    assert found.valid_N.mean() > 0.85 and found.original_N.mean() > 0.9
    for name, each in {**found.quality, **found.novelty, **found.diversity}.items():
        # Those of variety hold for these very real texts, of which others are as many again.
        slack = 0.1 if name in found.diversity or name == "creativity_ratio" else 0
        assert each.low - slack <= 1 <= each.high + slack, name


def test_par_is_twice_the_chance_to_beat_a_real_text(real):
    y = real.y
    found = measured(y, y.peers).quality
    tested = set(text.VALID) - (set() if y.words else set(text.OF_WORDS))
    assert found.keys() == {f"{name}_par" for name in tested}
    for each in found.values():
        assert each.value == pytest.approx(1) and each.low < 1.0001 and each.high > 0.9999
    texts = [*real.fresh[:20], "", "xqj zvv"]
    seen, pairs = text.tests(y, texts), measured(y, texts).quality
    for name in tested:
        ours, theirs = getattr(seen, name)[:, None], getattr(y.par, name)
        expected = 2 * np.mean((ours < theirs) + (ours == theirs) / 2)
        assert pairs[f"{name}_par"].value == pytest.approx(expected), name
    assert measured(y, shuffled(real.fresh)).quality["spelling_par"].high < 0.2


def test_copies_have_no_novelty_and_their_variety(real):
    found = measured(real.y, real.train[: real.y.size])
    assert found.novelty["creativity_ratio"].value == 0
    assert found.novelty["heldout_neighbour_rate_match"].value == 0
    assert found.diversity["vendi_ratio"].value > 0.9
    assert found.diversity["coverage_ratio"].value > 0.9


@pytest.mark.parametrize("copied", [0.1, 0.5, 0.9])
def test_the_neighbour_rate_tells_the_share_of_copies(names, copied):
    n = round(copied * 500)
    rate = measured(names.y, names.train[:n] + names.fresh[n:500]).novelty
    rate = rate["heldout_neighbour_rate_match"]
    assert rate.low <= 1 - copied <= rate.high and rate.value == pytest.approx(1 - copied, abs=0.15)


def test_texts_that_are_stitched_together_of_copies_are_not_new(prose):
    halves = [text.WORD.findall(each) for each in prose.train[:200]]
    following = halves[1:] + halves[:1]
    pairs = zip(halves, following, strict=True)
    mixed = [" ".join(a[: len(a) // 2] + b[len(b) // 2 :]) for a, b in pairs]
    found, fresh = measured(prose.y, mixed).novelty, measured(prose.y, prose.fresh).novelty
    assert 0 < found["creativity_ratio"].value < 0.3 < fresh["creativity_ratio"].low
    assert found["heldout_neighbour_rate_match"].high < 0.3
    assert not text.tests(prose.y, mixed).whole.any()


def test_one_text_repeated_has_no_variety(real):
    fresh = measured(real.y, real.fresh)
    first = int(np.flatnonzero(fresh.distinct_N)[0])
    found = measured(real.y, real.fresh[first : first + 1] * 200)
    assert found.distinct_N.sum() == 1 and found.distinct_N[0]
    assert found.diversity["vendi_ratio"].value < 0.05
    assert found.diversity["coverage_ratio"].value < 0.2
    assert found.novelty["heldout_neighbour_rate_match"].value is None  # one neighbour


def test_the_order_of_texts_does_not_matter(real):
    texts = real.fresh[:100] + real.train[:60] + shuffled(real.fresh[100:140])
    order = np.random.default_rng(1).permutation(len(texts))
    a, b = measured(real.y, texts), measured(real.y, [texts[i] for i in order])
    np.testing.assert_array_equal(a.valid_N[order], b.valid_N)
    np.testing.assert_array_equal(a.original_N[order], b.original_N)
    for name in a.metrics:  # an equal budget of words may end within another text
        assert a.metrics[name].value == pytest.approx(b.metrics[name].value, rel=1e-3), name


def test_intervals_change_no_value(real):
    texts = real.fresh[:120]
    found, bare = text.measure(real.y, texts), measured(real.y, texts)
    assert found.metrics.keys() == bare.metrics.keys()
    for name in found.metrics:
        assert found.metrics[name].value == pytest.approx(bare.metrics[name].value), name
    vendi = found.diversity["vendi_ratio"]
    assert vendi.low < vendi.value < vendi.high
    assert_sound(found)


@pytest.mark.parametrize("n", [30, 499, 900])
def test_more_or_fewer_texts_than_heldout_ones(names, n):
    found = measured(names.y, names.fresh[:n])
    assert len(found.valid_N) == len(found.original_N) == n
    assert len(found.distinct_N) == min(n, names.y.size)
    assert found.valid_N.mean() > 0.85
    assert found.diversity["distinct_3_ratio"].value == pytest.approx(1, abs=0.15)
    assert_sound(found)


def test_features_are_equal_for_equal_texts_only(real):
    features_ND = real.y.features([*real.fresh[:20], *real.fresh[:20], ""])
    np.testing.assert_allclose(np.linalg.norm(features_ND, axis=1), 1)
    np.testing.assert_array_equal(features_ND[:20], features_ND[20:40])
    distance = np.linalg.norm(features_ND[:20, None] - features_ND[:20], axis=-1)
    assert (distance[~np.eye(20, dtype=bool)] > 0.01).all()
    assert real.y.features([]).shape == (0, text.WIDTH)


# --- held-out texts that are none ----------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    """Names, in sets small enough to make a yardstick of each."""
    return split(NAMES, 600, 200, 200, 200)


def refused(y, texts):
    """What needs held-out texts to be a random part of all texts is undetermined."""
    found = measured(y, texts)
    rate = found.novelty["heldout_neighbour_rate_match"]
    assert rate.value is None and rate.note == y.doubt != ""
    assert_sound(found)
    return found.novelty["creativity_ratio"]


def test_a_random_part_of_all_texts_is_not_doubted(real, small):
    assert real.y.doubt == ""
    assert (real.y.standard, real.y.peers) == (real.y.reference, real.y.heldout)
    train, reference, heldout, _ = small
    assert lines(train, [*train[:2], *reference[2:]], heldout).doubt == ""  # half a per cent


@pytest.mark.parametrize("change", [str, str.upper])
def test_heldout_texts_that_leak_are_refused(small, change):
    train, reference, heldout, fresh = small
    leaked = [change(each) for each in train[:20]]
    y = lines(train, [*leaked[:10], *reference[10:]], [*leaked[10:], *heldout[10:]])
    assert "5.0%" in y.doubt and "also training texts" in y.doubt
    assert refused(y, fresh).note == y.doubt  # copies look new beside copies
    assert not measured(y, train[:50]).original_N.any()


def test_heldout_texts_that_resemble_training_texts_are_refused(small):
    train, _, _, fresh = small
    near = [each + "x" for each in train]
    y = lines(train, near[:200], near[200:400])
    assert "the training texts" in y.doubt
    assert refused(y, fresh).note == y.doubt


@pytest.fixture(scope="module")
def foreign(small):
    """Names, held against words of another source."""
    words = {word.lower() for topic in topics.values() for word in text.WORD.findall(topic)}
    reference, heldout = split(sorted(word for word in words if len(word) > 6), 200, 200)
    return lines(small[0], reference, heldout)


def test_heldout_texts_from_another_source_are_refused(foreign, small):
    assert "each other" in foreign.doubt
    assert 0 < refused(foreign, small[3]).value <= 1
    assert refused(foreign, small[0]).value == 0


def test_in_doubt_texts_are_held_against_training_texts_that_no_scorer_saw(foreign, small):
    apart = set(foreign.standard) | set(foreign.peers)
    assert apart <= set(small[0]) and not set(foreign.standard) & set(foreign.peers)
    assert len(apart) == len(small[0]) // text.UNSEEN
    found, noise = measured(foreign, small[3]), measured(foreign, shuffled(small[3]))
    assert found.valid_N.mean() > 0.85 and noise.valid_N.mean() < 0.3
    assert found.diversity["vendi_ratio"].value == pytest.approx(1, abs=0.1)
    assert not measured(foreign, small[0]).original_N.any()


@pytest.mark.parametrize("halves", [([], []), (["Anna"], []), ([], ["Anna"])])
def test_without_heldout_texts_nothing_is_relative(small, halves):
    train, _, _, fresh = small
    y = lines(train, *halves)
    assert y.doubt and y.limits is y.par is None and y.size == 0
    for texts in (fresh, train[:50], []):
        found = measured(y, texts, full=True)
        assert all(
            each.value is None
            for each in {**found.quality, **found.novelty, **found.diversity}.values()
        )
        assert len(found.valid_N) == len(found.original_N) == len(found.distinct_N) == 0
        assert_sound(found)
    assert measured(y, train[:50]).metrics["creativity_index"].value == 0


# --- degenerate input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "texts", [[], [""], ["", ""], ["a"], ["Anna"] * 40, ["\n", "漢" * 50, "", "Anna"]]
)
def test_degenerate_texts_are_measured_or_undetermined(real, texts):
    found = text.measure(real.y, texts, intervals=False, full=True)
    assert len(found.valid_N) == len(found.original_N) == len(texts)
    assert_sound(found)


@pytest.mark.parametrize("unit", ["character", "word"])
@pytest.mark.parametrize("train", [[""], ["Anna"], ["one two three"] * 3])
@pytest.mark.parametrize("heldout", [["", ""], ["Berta", "Carla"], ["", "Carla", "Dora", "!"]])
def test_degenerate_real_texts_make_a_yardstick(train, heldout, unit):
    half = len(heldout) // 2
    y = text.yardstick(
        documents=train,
        train=train,
        reference=heldout[:half],
        heldout=heldout[half:],
        line=True,
        unit=unit,
        size=3,
    )
    assert_sound(measured(y, ["Anna", "Berta", ""]))


def test_training_texts_too_short_for_a_piece():
    y = text.yardstick(
        documents=["one two"], train=[], reference=[], heldout=[], line=False, unit="word", size=1
    )
    found = measured(y, ["one two three", "four"])
    assert_sound(found)
    assert found.metrics["creativity_index"].value is not None
