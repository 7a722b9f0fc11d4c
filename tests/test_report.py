"""A report survives JSON, and its page shows all of it and runs none of it."""

import base64
import dataclasses
import io
import itertools
import json
import re
import unicodedata
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from reports import (
    PICTURE_ANCHORS,
    curve,
    estimate,
    fake_report,
    luminance,
    nothing,
    pages,
    picture_report,
    profile,
    replaced,
    sweep,
)
from sklearn.datasets import load_digits

from creagen_jax.creativity import (
    arrays,
    gallery,
    page,
    pictures,
    plots,
    record,
    report,
    series,
    words,
)
from creagen_jax.creativity.catalogue import METRICS, SCALES
from creagen_jax.creativity.estimate import Estimate, difference, exact, undetermined
from creagen_jax.creativity.record import (
    AXES,
    Anchor,
    Counts,
    Gallery,
    Item,
    Neighbours,
    Span,
    Yield,
    alignment,
    picture,
)
from creagen_jax.types import UserError

HOSTILE = (
    "</style></title><script>document.title='owned'</script><img src=x onerror=\"x\">'&amp;\x00"
)
EMPTY_TAGS = {"br", "img", "meta", "path", "use", "rect"}
fast = settings(max_examples=30, deadline=None)


class Page(HTMLParser):
    """All elements as (tag, attributes), the text, and the text by the tag around it."""

    def __init__(self, html: str):
        super().__init__()
        self.elements, self.open, self.text, self.inside = [], [], "", {}
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert tag in EMPTY_TAGS or self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data
            self.inside.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str, **attributes) -> list[dict]:
        return [
            found for name, found in self.elements
            if name == tag and attributes.items() <= found.items()
        ]  # fmt: skip


# --- report.json ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "original", [fake_report(), fake_report(prose=True), picture_report(), nothing()]
)
def test_a_report_survives_strict_json(original):
    text = json.dumps(record.to_json(original), allow_nan=False)
    assert record.from_json(json.loads(text)) == original


def test_nan_is_refused_and_numpy_numbers_are_not_kept():
    bad = fake_report(curves={"novelty": record.Curve([1.0], {"generated": [float("nan")]})})
    with pytest.raises(ValueError):
        record.to_json(bad)
    fields = record.to_json(fake_report(protocol={"seconds": np.float64(1.5)}))
    assert type(fields["protocol"]["seconds"]) is float


def test_what_is_no_report_is_a_user_error():
    fields = record.to_json(fake_report())
    missing = {key: value for key, value in fields.items() if key != "metrics"}
    for bad in (
        [],
        {},
        {**fields, "schema": record.SCHEMA + 1},
        missing,
        {**fields, "anchors": [1]},
    ):
        with pytest.raises(UserError) as error:
            record.from_json(bad)
        assert "\n" not in str(error.value)


# --- safety --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(pages()))
def test_pages_load_and_run_nothing(name):
    html = pages()[name]
    assert not re.search(r"https?:|@import|url\((?!#)|javascript:|<script", html)
    for tag, attributes in Page(html).elements:
        assert tag not in {"script", "link", "iframe", "object", "base", "form"}
        for key, value in attributes.items():
            assert not key.startswith("on")
            assert key not in {"href", "xlink:href"} or value.startswith("#")
            assert key != "src" or value.startswith("data:image/png;base64,")


@pytest.mark.parametrize("original", [fake_report(), picture_report()])
def test_hostile_text_in_every_field_stays_text(original):
    fields = record.to_json(dataclasses.replace(original, curves={"novelty": curve()}))
    hostile = replaced({**fields, "metrics": {}, "anchors": {}}, HOSTILE)
    hostile["metrics"] = {HOSTILE: replaced(fields["metrics"]["precision"], HOSTILE)}
    anchor = replaced(fields["anchors"]["noise"], HOSTILE)
    hostile["anchors"] = {HOSTILE: anchor, "noise": anchor}
    hostile["protocol"] = {HOSTILE: [HOSTILE]}
    series_of = hostile["curves"]["novelty"]["series"]
    hostile["curves"]["novelty"]["series"] = {
        "generated": series_of["generated"],
        f"{HOSTILE} 1": series_of["noise"],
    }
    bad = record.from_json(hostile)
    rows = [(HOSTILE, bad), (HOSTILE, bad)]
    plain = Page(report.render(original))
    for html in (
        report.render(bad),
        series.render(HOSTILE, rows, sentences=[HOSTILE]),
        series.render(HOSTILE, rows, x=[1, 2], x_title=HOSTILE, mark=(1, HOSTILE)),
    ):
        found = Page(html)
        usual = {tag for tag, _ in plain.elements} | {"b", "figure", "figcaption", "svg"}
        drawing = {"g", "path", "defs", "use", "text", "rect", "title", "desc", "clippath", "tspan"}
        assert {tag for tag, _ in found.elements} <= usual | drawing
        assert not any(key.startswith("on") for _, each in found.elements for key in each)
        assert found.text.count("<script>document.title='owned'</script>") > 3
        assert html.count(page.STYLE) == 1 == html.count("</style>")
        assert "\x00" not in html
        html.encode()


@fast
@given(st.text() | st.text("<>&\"'a\x00\ud800"))
def test_escaped_text_reads_as_it_was_written(text):
    html = page.tag("p", text, title=text)
    html.encode()
    found = Page(html)
    for read in (found.text, found.all("p")[0]["title"]):
        assert len(read) == len(text)
        for was, now in zip(text, read, strict=True):
            if was in "\n\t" or unicodedata.category(was) not in {"Cc", "Cs"}:
                assert now == was
            else:
                assert unicodedata.category(now) in {"So", "Po"}  # a sign for it


# --- what it shows -------------------------------------------------------------------------------


def test_all_numbers_and_texts_are_shown():
    shown = fake_report()
    found = Page(report.render(shown))
    for entry in METRICS.values():
        assert entry.title in found.text
        assert entry.definition in found.text and entry.caveat in found.text
    for warning in shown.warnings:
        assert warning in found.text
    for row in shown.privacy:
        assert row.kind in found.text and row.examples[0] in found.text
    for item in (*shown.gallery.unselected, *shown.gallery.rarest, *shown.gallery.rejects):
        assert item.text in found.text.replace("\n", "") and item.reason in found.text
    for pair in shown.gallery.copied:
        assert pair.train.text in found.text and pair.heldout.text in found.text
    for text in ("1,880 (94 %)", "1,900 (95 %)", "3cc474858c98", "temperature 1.0", "79 of 100"):
        assert text in found.text
    assert "What this does not measure" in found.text


def test_unknown_metrics_keep_their_names():
    found = Page(report.render(fake_report(metrics={"made_up_score": estimate(0.375)})))
    assert "made_up_score" in found.text and "0.375" in found.text


def test_what_is_undetermined_is_a_word_with_its_reason():
    html = report.render(nothing())
    text = Page(html).text
    assert text.count("there are no samples") >= len(METRICS) + len(AXES)
    assert not re.search(r"\b(nan|None(?!\.)|inf)\b", text)
    assert 'class="point"' not in html and 'class="fill"' not in html
    assert any("undetermined: there are no samples" in line for line in words.summary(nothing()))


def test_points_and_anchors_stand_at_their_values():
    values = {"quality": 0.4, "novelty": 0.875, "diversity": 1.3}  # beyond 1 is drawn at 1
    shown = fake_report(profile={axis: estimate(x, 0.1) for axis, x in values.items()})
    shown.anchors["noise"].profile["novelty"] = undetermined("too few", n=1)
    bars = report.render(shown).split('class="axis"')[1:]
    for axis, bar in zip(AXES, bars, strict=True):
        point = re.search(r'class="point" style="left:([\d.]+)%', bar)
        assert float(point[1]) == pytest.approx(100 * min(values[axis], 1), abs=0.06)
        placed = re.findall(r'<span style="left:([\d.]+)%[^"]*" title="([^"]*)"', bar)
        expected = {
            name: anchor.profile[axis].value for name, anchor in shown.anchors.items()
            if anchor.profile[axis].value is not None
        }  # fmt: skip
        assert {name: float(place) / 100 for place, name in placed} == pytest.approx(
            expected, abs=6e-4
        )
        assert SCALES[axis][0] in bar


def test_names_of_anchors_do_not_overlap():
    bar = report.axis_bar("quality", estimate(0.5), {
        f"Markov {i}": exact(value, n=1) for i, value in enumerate([0.5, 0.51, 0.5, 0.9, 0.56])
    })  # fmt: skip
    placed = re.findall(r'<span style="left:([\d.]+)%;--lane:(\d+)', bar)
    lanes = {}
    for place, lane in placed:
        lanes.setdefault(lane, []).append(float(place))
    assert len(placed) == 5
    assert all(np.diff(sorted(each)).min(initial=99) >= report.LANE for each in lanes.values())


def test_the_same_report_is_the_same_page():
    again = record.from_json(record.to_json(fake_report()))
    assert report.render(again) == report.render(fake_report())
    assert sweep() == sweep() == pages()["comparison"]


@pytest.mark.parametrize("name", list(pages()))
def test_pages_are_accessible(name):
    html = pages()[name]
    found = Page(html)
    assert found.all("html")[0]["lang"] == "en"
    for landmark in ("main", "header", "nav", "footer"):
        assert len(found.all(landmark)) == 1
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    ids = [each["id"] for _, each in found.elements if "id" in each]
    assert len(ids) == len(set(ids))
    for _, each in found.elements:
        labels = each.get("aria-labelledby", "").split() + [
            each[key][1:] for key in ("href", "xlink:href") if key in each
        ]
        assert set(labels) <= set(ids)
    assert len(found.all("caption")) == len(found.all("table"))
    assert all(each.get("scope") in {"col", "row"} for each in found.all("th"))
    assert all(each["role"] == "img" for each in found.all("svg"))
    assert html.count("<svg") == html.count("<desc")
    hovered = [each for each in found.all("mark") if "tabindex" in each]
    assert all(each["tabindex"] == "0" and each["aria-description"] for each in hovered)
    assert all(
        "tabindex" in each and each["aria-label"] for each in found.all("div", role="region")
    )


@pytest.mark.parametrize("scheme", [0, 1, 2])  # light, dark, print
def test_contrast_is_enough_in_every_scheme(scheme):
    block = re.findall(r":root \{(.*?)\}", page.STYLE, re.S)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", block))
    pairs = [("mark", f"copy{i}") for i in range(1, 5)] + [("alarm-ink", "alarm")]
    pairs += [("ink", "card"), ("soft", "card"), ("paper", "ink")]
    for name in ("ink", "soft", "run", "heldout", "copies", "noise", "chain"):
        pairs.append((name, "paper"))
    for a, b in pairs:
        high, low = sorted((luminance(colours[a]), luminance(colours[b])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (a, b)


# --- copied text ---------------------------------------------------------------------------------

span = st.tuples(st.integers(0, 30), st.integers(1, 12)).map(
    lambda pair: Span(pair[0], sum(pair), pair[1], "source", 3, 2)
)


@fast
@given(st.text("ab\n<&", max_size=30), st.lists(span, max_size=5))
def test_exactly_the_copied_characters_are_marked_by_the_longest_span(text, spans):
    html = gallery.cards([Item(text, spans)], "character")
    body = re.search(r'<p class="text" dir="auto">(.*?)</p>', html, re.S)[1]
    assert Page(f"<p>{body}</p>").text == text
    got = []
    for before, about, inside in re.findall(
        r'([^<]*)(?:<mark [^>]*aria-description="(\d+)[^>]*>(.*?)</mark>)?', body, re.S
    ):
        got += [0] * len(Page(f"<p>{before}</p>").text)
        got += [int(about or 0)] * len(Page(f"<p>{inside}</p>").text)
    expected = [
        max((each.length for each in spans if each.start <= i < each.stop), default=0)
        for i in range(len(text))
    ]
    assert got == expected


@fast
@given(st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_longer_spans_are_shaded_darker_and_the_legend_says_so(lengths):
    items = [Item("x", [Span(0, 1, length, "x", 0, 1)]) for length in lengths]
    drawn = gallery.render(record.Gallery(items), "word")
    html = page.join(drawn)
    legend, cards = html.split("<h3>")[:2]
    levels = [int(level) for level in re.findall(r'class="copy(\d)" tabindex', cards)]
    pairs = sorted(zip(lengths, levels, strict=True))
    assert levels and all(a[1] <= b[1] for a, b in itertools.pairwise(pairs))
    ranges = dict(re.findall(r'class="copy(\d)">([^<]*)<', legend))
    assert min(levels) == 1 and {str(level) for level in levels} == set(ranges)
    for length, level in pairs:
        shown = ranges[str(level)]
        start, stop = (re.findall(r"\d+", shown) * 2 or [length] * 2)[:2]
        assert "up to" in shown or int(start) <= length
        assert "or more" in shown or length <= int(stop)


def test_sources_are_shown_beside_what_was_copied():
    found = Page(report.render(fake_report(prose=True)))
    about = next(each["aria-description"] for each in found.all("mark") if "tabindex" in each)
    assert re.match(r"\d+ characters, once in training; document 0:\nFrom fairest", about)


def test_without_a_neighbour_the_page_says_so():
    pairs = [Neighbours(Item("Ada"), None, None), Neighbours(picture_item(), None, None)]
    for pair in pairs:
        found = Page(page.join(gallery.render(Gallery(copied=[pair]), "character")))
        assert found.inside["p"].count("none") == 2


# --- pairs ---------------------------------------------------------------------------------------


def aligned(source=("h", "i", " "), target=("HH", "AY", ""), seed: int = 0) -> record.Alignment:
    weights = np.random.default_rng(seed).dirichlet([0.3] * len(source), len(target))
    return alignment(source, target, weights)


def test_sources_stand_before_texts_and_references_after_them():
    items = [
        Item("K AE T", source="cat", reference="K AE T"),
        Item("12", source="4+9", reference="13", label="sums"),
        Item("second\nthird", source="first"),
        Item("alone"),
        Item("", source="to nothing"),
    ]
    html = gallery.cards(items, "character")
    texts = [Page(each).text for each in re.findall(r'<li class="item">.*?</li>', html, re.S)]
    assert texts == [
        "cat → K AE Tas the reference",
        "4+9 → 12sumsreference: 13",
        "first →\nsecond\nthird",
        "alone",
        "to nothing → ",
    ]


def test_pairs_and_alignments_survive_strict_json_and_hostile_text():
    items = [Item("12", source="4+8", reference="12")]
    original = fake_report(alignments=[aligned(), aligned(seed=1)], gallery=Gallery(items))
    fields = json.loads(json.dumps(record.to_json(original), allow_nan=False))
    assert record.from_json(fields) == original
    for name in ("alignments", "gallery"):
        fields[name] = replaced(fields[name], HOSTILE)
    html = report.render(record.from_json(fields))
    found = Page(html)
    assert not any(key.startswith("on") for _, each in found.elements for key in each)
    assert not found.all("script") and not found.all("img")
    ids = [each["id"] for _, each in found.elements if "id" in each]
    assert len(ids) == len(set(ids))
    widths = [float(each["viewbox"].split()[2]) for each in found.all("svg")]
    assert max(widths) < 600  # long units are cut


@pytest.mark.parametrize("weights", [[[1.0, 0.0]], [[1.0], [0.0, 1.0]], [[1.0, 0.0]] * 3, []])
def test_an_alignment_has_a_weight_for_each_pair_of_units(weights):
    with pytest.raises(ValueError, match="row for each target unit"):
        record.Alignment(["a", "b"], ["x", "y"], weights)
    fields = record.to_json(fake_report(alignments=[aligned()]))
    fields["alignments"][0]["weights"] = weights
    with pytest.raises(UserError, match="damaged"):
        record.from_json(fields)


@pytest.mark.parametrize(("sources", "targets"), [(3, 2), (40, 40), (1, 7)])
def test_the_cells_of_an_alignment_stand_at_their_units_as_strong_as_their_weights(
    sources, targets
):
    found = aligned([chr(97 + i % 26) for i in range(sources)], ["AB"] * targets)
    assert all(round(sum(row), 2) == 1 for row in found.weights)
    drawing = Page(plots.alignment(found, 1))
    frame, *cells = drawing.all("rect")
    left, top = float(frame["x"]), float(frame["y"])
    assert (int(frame["width"]), int(frame["height"])) == (
        plots.CELL * sources,
        plots.CELL * targets,
    )
    drawn = np.zeros((targets, sources))
    for cell in cells:
        t, s = ((float(cell[k]) - at) / plots.CELL for k, at in (("y", top), ("x", left)))
        drawn[round(t), round(s)] = float(cell["fill-opacity"])
        assert max(abs(t - round(t)), abs(s - round(s))) < 0.05
    np.testing.assert_allclose(drawn, found.weights, atol=plots.FAINT)
    _, _, width, height = map(float, drawing.all("svg")[0]["viewbox"].split())
    assert left + plots.CELL * sources <= width and top + plots.CELL * targets <= height
    labels = drawing.inside["text"]
    assert labels == [*found.source, *found.target]


def test_an_alignment_says_in_words_what_it_shows():
    found = record.Alignment(["h", "i"], ["HH", "AY"], [[0.9, 0.1], [0.2, 0.8]])
    (words_of,) = Page(plots.alignment(found, 1)).inside["desc"]
    assert words_of == "Most attended: HH from h, AY from i."
    empty = record.Alignment([], ["a"], [[]])
    Page(plots.alignment(empty, 1))
    Page(plots.alignment(record.Alignment([], [], []), 1))


def test_units_that_show_nothing_have_signs():
    shown = Page(plots.alignment(aligned([" ", "", "\n", "a"], ["\t"]), 1)).inside["text"]
    assert shown == ["␣", "∅", "↵", "a", "⇥"]


def test_wide_sources_stand_upright_and_long_ones_are_turned():
    for source, turned in ((["明", "月"], False), (["moon", "is"], True)):
        texts = Page(plots.alignment(aligned(source, ["a"]), 1)).all("text")
        assert ["rotate" in each["transform"] for each in texts] == [turned, turned, False]


# --- pictures ------------------------------------------------------------------------------------


def picture_item(height: int = 8, width: int = 8, channels: int = 1, **rest) -> Item:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    return Item(picture=picture(pixels), **rest)


def drawn(items: list[Item]) -> list[dict]:
    """The pictures of items that are unselected."""
    return Page(page.join(gallery.render(Gallery(items), ""))).all("img")


def opened(uri: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


@fast
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([1, 3, 4]))
def test_pictures_are_kept_to_the_pixel_or_shrunk(height, width, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)
    got = opened(picture(pixels))
    if max(height, width) <= record.LARGEST:
        np.testing.assert_array_equal(got.reshape(pixels.shape), pixels)
    else:
        assert max(got.shape[:2]) == record.LARGEST and got.ndim == 2 + (channels > 1)
        scale = record.LARGEST / max(height, width)
        np.testing.assert_allclose(got.shape[:2], [height * scale, width * scale], atol=1)


@pytest.mark.parametrize("elsewhere", ["https://a.b/c.png", "//a.b/c.png", "javascript:alert(1)"])
def test_no_picture_is_fetched(elsewhere):
    with pytest.raises(ValueError, match="data URI"):
        Item(picture=elsewhere)
    fields = record.to_json(picture_report())
    fields["gallery"]["unselected"][0]["picture"] = elsewhere
    with pytest.raises(UserError, match="damaged"):
        record.from_json(fields)


@fast
@given(st.integers(1, 300), st.integers(1, 300))
def test_small_pictures_are_enlarged_by_whole_numbers_and_large_ones_shrunk(height, width):
    item = picture_item(height, width)
    size = np.array(opened(item.picture).shape)
    (small,) = drawn([item])
    (large,) = Page(gallery.cards([item], "")).all("img")
    for shown, side in ((small, gallery.SMALL), (large, gallery.LARGE)):
        got = np.array([int(shown["height"]), int(shown["width"])])
        room = np.array([side, gallery.WIDE * side])
        assert got.min() >= 1 and (got <= room).all()
        assert ("sharp" in shown.get("class", "")) == (size <= room).all()
        if (size <= room).all():
            assert (got + size > room).any()  # no larger multiple fits
            np.testing.assert_array_equal(got, size * (got[0] // size[0]))
        else:
            np.testing.assert_allclose(got, np.maximum(size * (room / size).min(), 1), atol=0.5)


def test_every_picture_is_shown_with_all_that_is_said_of_it():
    of = picture_report().gallery
    sides = [each for pair in of.copied for each in (pair.item, pair.train, pair.heldout)]
    found = Page(report.render(picture_report()))
    images = found.all("img")
    by_class = sorted(of.unselected, key=lambda item: item.label)
    expected = [*by_class, *sides, *of.rarest, *of.rejects]
    assert [each["src"] for each in images] == [item.picture for item in expected]
    for image, item in zip(images, expected, strict=True):
        about = ", ".join([f"class {item.label}", *item.marks, *[item.reason] * bool(item.reason)])
        assert image["alt"] == image["title"] == about
        assert ("flaw" in image["class"]) == bool(item.reason)
    for pair in of.copied:
        said = f"nearer to training data than {words.number(pair.percentile)} % of held-out items"
        assert said in found.text
    assert "A dashed frame" in found.text


def test_classes_have_rows_in_natural_order():
    labels = [str(i) for i in (10, 2, 9, 2, 0, 10, 1, 11)]
    items = [picture_item(label=label) for label in labels]
    html = page.join(gallery.render(Gallery(items), ""))
    assert Page(html).inside["b"] == ["0", "1", "2", "9", "10", "11"]
    assert [row.count("<img") for row in html.split("<b>")[1:]] == [1, 1, 2, 1, 2, 1]
    alone = page.join(gallery.render(Gallery([picture_item(), picture_item()]), ""))
    assert (
        "<b>" not in alone and [each["alt"] for each in Page(alone).all("img")] == ["no class"] * 2
    )
    assert "A dashed frame" not in alone


def test_each_class_has_its_numbers():
    shown = picture_report()
    section = re.search(r'<h2 id="by-class">.*?</section>', report.render(shown), re.S)[0]
    rows = section.split("<tr>")[1:]
    assert len(rows) == 1 + len(shown.classes) and "By class" not in Page(pages()["names"]).text
    for name in shown.classes[0].metrics:
        assert METRICS[name].title in rows[0]
    for row, each in zip(rows[1:], shown.classes, strict=True):
        cells = Page(f"<table><tr>{row.split('</tr>')[0]}</tr></table>").inside
        assert cells["th"] == [each.label] and cells["td"][0] == str(each.count)
        for found in each.metrics.values():
            assert (f"{found.value:.3f}" if found.value else found.note) in row


def test_a_gallery_of_pictures_holds_what_the_showcase_chose():
    values, digits = load_digits(return_X_y=True)
    images = np.clip(16 * values, 0, 255).astype(np.uint8).reshape(-1, 8, 8, 1)
    cuts = [slice(0, 600), slice(600, 800), slice(800, 1000)]
    names = [f"digit {i}" for i in range(10)]
    items, asked = (np.concatenate([each[:5], each[1000:1100]]) for each in (images, digits))

    def made(*parts: slice) -> Gallery:
        train, reference, heldout = (images[part] for part in parts)
        y = arrays.yardstick(
            train=train, reference=reference, heldout=heldout,
            features={"pixels": lambda x: np.reshape(x, (len(x), 64)) / 255},
            domain="pixels", labels=arrays.Labels(*(digits[part] for part in parts)), read=None,
            size=150, seed=0,
        )  # fmt: skip
        return pictures.gallery(y, items, asked, names=names)

    found = made(*cuts)
    label_of = {picture(image): names[digit] for image, digit in zip(images, digits, strict=True)}
    sides = [each for pair in found.copied for each in (pair.item, pair.train, pair.heldout)]
    every = [*found.unselected, *sides, *found.rarest, *found.rejects]
    assert len(every) > 100 and all(label_of[item.picture] == item.label for item in every)
    assert [item.picture for item in found.unselected] == [picture(each) for each in items[:64]]
    for pair in found.copied[:5]:
        assert pair.item.picture == pair.train.picture and pair.item.reason == "exact copy"
    held = {picture(image) for image in images[cuts[1]]}
    assert all(pair.heldout.picture in held for pair in found.copied)
    nothing = slice(0)
    assert all(pair.heldout is None for pair in made(cuts[0], nothing, nothing).copied)


def test_a_report_of_pictures_does_not_speak_of_texts():
    text = Page(pages()["pictures"]).text
    for word in ("Personal data", "Shaded", "characters?", "Novelty by length", "texts?"):
        assert not re.search(rf"\b{word}\b", text)
    assert {"Personal data", "Novelty by length"} <= set(Page(pages()["names"]).inside["h2"])


def test_anchors_have_short_symbols_of_their_own():
    symbols = [report.symbol(name) for name in PICTURE_ANCHORS]
    assert len(set(symbols)) == len(symbols) and max(map(len, symbols)) <= 2
    assert {"CG", "M", "CN"} <= set(symbols)


# --- words ---------------------------------------------------------------------------------------


def test_the_summary_is_about_ten_lines_of_fixed_width():
    lines = words.summary(fake_report(warnings=["w" * 200, "b", "c", "d", "e"]))
    assert 9 <= len(lines) <= 13
    assert max(map(len, lines)) <= words.COLUMNS
    bars = [line.index("|") for line in lines if "|" in line]
    assert len(bars) == 4 and len(set(bars)) == 1
    quality = next(line for line in lines if line.startswith("quality"))
    drawing = quality.split("|")[1]
    assert drawing.index("o") == round(0.93 * (words.SCALE - 1))
    assert any("2 more" in line for line in lines)


@pytest.mark.parametrize(
    ("axis", "numbers", "part"),
    [
        ("quality", (0.5, 0.4, 0.6), "50 % of the way from noise to real data"),
        ("quality", (0.97, 0.9, 1.0), "Not to be told from real data"),
        ("quality", (0.02, 0.0, 0.1), "Not to be told from noise"),
        ("diversity", (0.5, 0.0, 1.0), "says nothing"),
        ("novelty", (0.8, 0.7, 0.9), "As if 20 % of the samples were copies (10 % to 30 %)"),
        ("novelty", (0.97, 0.9, 1.0), "allows for 10 % of copies at most"),
        ("novelty", (1.0, 1.0, 1.0), "the interval reaches 1."),
        ("novelty", (0.0, 0.0, 0.0), "As if 100 % of the samples were copies"),
    ],
)
def test_sentences_say_what_the_interval_allows(axis, numbers, part):
    assert part in words.sentence(axis, Estimate(*numbers, "bootstrap", 10))


def test_the_verdict_follows_the_interval():
    def said(*numbers):
        return words.verdict(Estimate(*numbers, "bootstrap", 10))

    assert said(0.97, 0.95, 0.99).startswith("It stays a little nearer to its training data")
    assert said(0.8, 0.7, 0.9) == "It copies its training data in part."
    assert said(0.1, 0.0, 0.3) == "It mostly copies its training data."
    assert "no evidence" in said(0.8, 0.5, 1.0)
    assert "cannot be told" in said(0.5, 0.0, 1.0)
    assert "no held-out data." in words.verdict(undetermined("no held-out data", n=9))


def test_few_samples_are_counted_one_by_one():
    unknown = undetermined("few", n=7)
    few = Yield(unknown, unknown, Counts(7, 6, 5, 4), Counts(1000, 900, 800, 700))
    said = words.headline(fake_report(creative_yield=few))
    assert "4 of 7 samples" in said and "70 of 100" in said


# --- plots ---------------------------------------------------------------------------------------


@fast
@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_labels_are_spread_apart_in_order(values):
    values = sorted(values)
    places = plots.spread(values, 0.1, 0.0, 1.0)
    assert (np.diff(places) >= 0.1 - 1e-9).all()
    assert places.min() >= -1e-9 and places.max() <= 1 + 1e-9
    apart = np.arange(len(values)) * 0.2
    np.testing.assert_allclose(plots.spread(apart, 0.1, 0, 2), apart)


def test_the_novelty_plot_names_its_lines_and_says_its_numbers():
    found = Page(plots.novelty(curve(), "character"))
    for name in ("generated", "held-out", "training copies", "noise", *"123456"):
        assert name in found.text
    assert "Share of runs of 6 characters that are new: generated 61 %" in found.text
    assert {"var(--run)", "var(--heldout)"} <= set(re.findall(r"var\(--\w+\)", page.join(
        plots.novelty(curve(), "character"))))  # fmt: skip


def test_plots_of_next_to_nothing():
    unknown = dict.fromkeys(AXES, undetermined("no samples", n=0))
    for drawing in (
        plots.novelty(record.Curve([], {}), "word"),
        plots.novelty(record.Curve([1.0], {"generated": [None], "Markov 1": [None]}), "word"),
        plots.settings([1.0], [unknown], x_title="step"),
        plots.settings([1.0], [profile(0.1, 0.2, 0.3)], x_title="$x$ & 温度", mark=(1.0, "a")),
        plots.plane(["a"], [unknown]),
        plots.plane(["a"], [profile(0.1, 0.2, 0.3)]),
    ):
        assert not re.search(r"\bnan\b", drawing)
        Page(drawing)


# --- several reports -----------------------------------------------------------------------------


def test_a_comparison_shows_differences_to_the_first():
    first = fake_report(values=(0.5, 0.9, 0.9), metrics={"precision": estimate(0.4)})
    second = fake_report(values=(0.8, 0.9, 0.9), metrics={"precision": estimate(0.3)})
    html = series.render("Two", [("a", first), ("b", second)])
    change = difference(second.profile["quality"], first.profile["quality"])
    numbers = f"{change.value:.3f} ({change.low:.3f} to {change.high:.3f})"
    assert f"<b>{numbers}</b>" in html
    assert "-0.100 (-0.157 to -0.043)" in html
    assert "0 (-0.057 to 0.057)" in html and "<b>0 " not in html


def test_a_sweep_is_drawn_in_the_order_of_its_setting():
    rows = [("hot", fake_report()), ("cold", fake_report())]
    html = series.render("Sweep", rows, x=[1.2, 0.5], x_title="temperature")
    assert html.index(">cold</th>") < html.index(">hot</th>")
    assert len(Page(html).all("svg")) == 2 and "Differences" not in html


def test_pictures_of_a_sweep_stand_below_one_another():
    rows = [("4", picture_report(blur=0.4)), ("0", picture_report()), ("1", nothing())]
    html = series.render("Sweep", rows, x=[4, 0, 1], x_title="guidance")
    table = re.findall("<table>.*?</table>", html, re.S)[-1]
    assert Page(table).inside["th"] == ["Guidance", "Samples", "0", "1", "4"]
    images = [each["src"] for each in Page(html).all("img")]
    firsts = [item.picture for at in (1, 0) for item in rows[at][1].gallery.unselected[:10]]
    assert images == firsts and table.count("<img") == len(firsts)


def test_warnings_name_the_reports_that_have_them():
    rows = [(name, fake_report(warnings=["all", *extra])) for name, extra in
            (("a", ["x"]), ("b", ["x", "y"]), ("c", []))]  # fmt: skip
    found = Page(series.render("Three", rows))
    assert {"all", "a, b: x", "b: y"} <= set(found.inside["li"])


def test_copying_begins_where_novelty_leaves_that_of_held_out_data_for_good():
    high = [1.0, 0.99, 1.0, None, 0.95, 0.9]
    novelty = [
        undetermined("few", n=1) if end is None else Estimate(end - 0.1, 0.5, end, "bootstrap", 9)
        for end in high
    ]
    steps = [100, 200, 300, 400, 500, 600]
    assert series.onset(steps, novelty) == 500
    assert series.onset(steps[::-1], novelty[::-1]) == 500
    assert series.onset(steps[:3], novelty[:3]) is None
    assert series.onset([], []) is None


def test_an_anchor_without_some_measures_is_shown():
    bare = {"noise": Anchor("Noise", {"quality": exact(0, n=5)})}
    found = Page(report.render(dataclasses.replace(fake_report(), anchors=bare)))
    assert "Noise" in found.text
