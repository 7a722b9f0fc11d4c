"""Reports on runs and files: the anchors are where they must be, and no input breaks a report."""

import dataclasses
import itertools
import json
import math

import helpers
import numpy as np
import pytest

from creagen_jax import evaluation, generation, judging, material
from creagen_jax.creativity import record, text
from creagen_jax.creativity.record import AXES
from creagen_jax.data import sources
from creagen_jax.evaluation import Config
from creagen_jax.generation import Request
from creagen_jax.types import UserError

PROBED = {"loss_gap", "membership_auc", "extraction_rate"}
WORDS = [f"{a}{b}{c}" for a, b, c in itertools.product("bdklmst", "aeiou", ["n", "r", "ta", "lo"])]


@pytest.fixture(scope="module", autouse=True)
def rough():
    """Rough intervals and features of what takes long."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"REPEATS": 4, "WIDTH": 64, "PERMUTATIONS": 200}.items():
            patch.setattr(text, name, value)
        yield


@pytest.fixture(scope="module")
def names():
    """All embedded names, each once, in random order."""
    found = sources.embedded("names").splits.values()
    once = list(dict.fromkeys(line.text for part in found for line in part))
    return [once[i] for i in np.random.default_rng(0).permutation(len(once))]


@pytest.fixture(scope="module")
def run(names, tmp_path_factory):
    """A Markov chain of order 3 that has seen half of its training names, and then all."""
    folder = tmp_path_factory.mktemp("names")
    (folder / "names.txt").write_text("\n".join(names[:3000]))
    experiment = helpers.experiment(
        "markov",
        folder / "names.txt",
        data={"unit": "line", "validation": 0.35, "length": 16},
        train={"steps": 2, "batch": 1000, "eval_every": 1, "save_every": 1},
    )
    helpers.train(experiment, folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def found(run):
    """The report with all that belongs to one."""
    return evaluation.of_run(run, Request(), Config(num=100))


@pytest.fixture
def two_chains(monkeypatch):
    monkeypatch.setattr(judging, "ORDERS", (1, 3))


def sound(report):
    """The report, after a look at all of its estimates and at its JSON."""
    fields = json.loads(
        json.dumps(record.to_json(report), allow_nan=False),
        parse_constant=lambda name: pytest.fail(f"{name} in a report"),
    )
    assert record.from_json(fields) == report
    for each in estimates(report):
        assert (each.value is None) == (each.low is None) == (each.high is None)
        if each.value is None:
            assert each.note, "undetermined, and nobody knows why"
        else:
            assert each.low - 1e-12 <= each.value <= each.high + 1e-12  # rounding
    assert report.profile.keys() == set(AXES)
    assert all(0 <= each.value <= 1 for each in report.profile.values() if each.value is not None)
    return report


def estimates(report):
    axes = [report.profile, *(anchor.profile for anchor in report.anchors.values())]
    for group in [*axes, report.metrics]:
        yield from group.values()
    yield from (report.creative_yield.value, report.creative_yield.absolute, report.composite.value)


# --- one run -------------------------------------------------------------------------------------


def test_a_report_is_complete(found):
    sound(found)
    assert found.kind == "text" and found.unit == "character"
    assert found.metrics.keys() >= PROBED | {"creativity_ratio", "vendi_ratio", "mauve", "coverage"}
    assert found.anchors["held-out"].metrics.keys() >= {"mauve", "extraction_rate"}
    assert found.creative_yield.value.value and found.creative_yield.counts.generated
    assert found.composite.value.value and found.composite.worst in AXES
    assert found.warnings == []
    assert found.protocol["items"]["generated"] == 100
    assert found.protocol["sampling"]["checkpoint"] == 2
    assert found.curves["novelty"].series.keys() == {"generated", *found.anchors}
    assert found.gallery.unselected and found.gallery.copied and found.gallery.rarest


def test_anchors_are_where_they_must_be(found):
    heldout, copies, noise, one = (
        {axis: estimate.value for axis, estimate in found.anchors[name].profile.items()}
        for name in ("held-out", "training copies", "noise", "one item")
    )
    assert all(value > 0.9 for value in heldout.values())
    assert copies["novelty"] == 0 and copies["quality"] > 0.9
    assert noise["quality"] < 0.05 and noise["novelty"] > 0.8
    assert one["diversity"] < 0.05
    assert found.anchors["held-out"].creative_yield == pytest.approx(1)
    for name in ("training copies", "noise", "one item"):
        assert found.anchors[name].creative_yield < 0.15


def test_longer_histories_copy_more(found):
    assert found.anchors.keys() >= {f"Markov {order}" for order in range(1, 7)}
    ratio = [found.anchors[f"Markov {order}"].metrics["creativity_ratio"] for order in range(1, 7)]
    assert all(b < a + 0.02 for a, b in itertools.pairwise(ratio))  # 5 and 6 hardly differ
    assert ratio[5] < ratio[3] - 0.02 < ratio[1] - 0.06
    novelty = found.curves["novelty"].series
    assert novelty["Markov 6"][5] < novelty["Markov 4"][5] < novelty["Markov 2"][5]


def test_a_seed_gives_one_report(run, two_chains):
    first, again = (evaluation.of_run(run, Request(), Config(num=40, fast=True)) for _ in range(2))
    assert first == again


def test_the_order_of_samples_does_not_matter(run, names, two_chains):
    generated = names[5000:5100]
    on = judging.bench(material.of_run(run, Request()), generated, seed=0, fast=True)
    assert on.yardstick.size == len(generated)  # else the first ones count more
    one, other = (
        judging.judge(on, texts, title="t", full=False) for texts in (generated, generated[::-1])
    )
    assert one.profile["quality"] == other.profile["quality"]
    for axis in AXES:
        assert one.profile[axis].value == pytest.approx(other.profile[axis].value, abs=0.02)
    assert one.warnings == other.warnings


def test_a_prompt_is_not_the_models_own_work(run, two_chains):
    drawn = evaluation.draw(run, Request(prompt="Mar"), Config(num=30), "last", print)
    model = generation.load(run, "last")
    samples = generation.draw(model, Request(prompt="Mar"), num=30, seed=0)
    assert ["Mar" + text for text in drawn.items] == [sample.text for sample in samples]
    report = evaluation.of_run(run, Request(prompt="Mar"), Config(num=30, fast=True))
    assert [item.text for item in sound(report).gallery.unselected] == drawn.items[:24]
    assert report.protocol["sampling"]["prompt"] == "Mar"


# --- labels, and streams -------------------------------------------------------------------------


def test_a_label_is_judged_among_its_like(names, tmp_path, two_chains):
    rows = [{"text": each, "label": "ab"[each < "M"]} for each in names[:600]]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    experiment = helpers.experiment(
        "markov",
        tmp_path / "rows.jsonl",
        data={"validation": 0.3, "length": 16},
        train={"steps": 1, "batch": 600, "eval_every": 1, "save_every": 1},
    )
    helpers.train(experiment, tmp_path / "run")
    every = sound(evaluation.of_run(tmp_path / "run", Request(), Config(num=40, fast=True)))
    some = sound(evaluation.of_run(tmp_path / "run", Request(label="b"), Config(num=40, fast=True)))
    assert {item.label for item in every.gallery.unselected} == {"a", "b"}
    assert {item.label for item in some.gallery.unselected} == {"b"}
    assert some.protocol["label"] == "b"
    sizes = [report.protocol["items"]["training"] for report in (every, some)]
    assert 0 < sizes[1] < sizes[0]
    near = [pair.train.text for pair in some.gallery.copied]
    assert near and all(each < "M" for each in near)


def prose(words, sentences, seed):
    rng = np.random.default_rng(seed)
    made = (" ".join(rng.choice(words, rng.integers(4, 10))) for _ in range(sentences))
    return "".join(f"{each.capitalize()}. " for each in made)


@pytest.mark.parametrize("drift", [False, True])
def test_a_stream_is_judged_by_pieces_and_words(tmp_path, two_chains, drift):
    apart = 50 if drift else 0  # the end of the text, which is held out, has other words
    written = prose(WORDS[apart:], 400, 0) + prose(WORDS[: 100 - apart], 260, 1)
    (tmp_path / "text.txt").write_text(written)
    experiment = helpers.experiment(
        "markov",
        tmp_path / "text.txt",
        data={"validation": 0.4, "length": 60},
        train={"steps": 1, "batch": 1000, "eval_every": 1, "save_every": 1},
    )
    helpers.train(experiment, tmp_path / "run")
    report = evaluation.of_run(tmp_path / "run", Request(length=70), Config(num=30, fast=drift))
    assert sound(report).unit == "word"
    assert {len(item.text) for item in report.gallery.unselected} == {70}
    assert drift or report.metrics["loss_gap"].value > 0
    doubts = [line for line in report.warnings if "nearest to each other" in line]
    assert len(doubts) == drift
    assert (report.creative_yield.value.value is None) == drift
    assert report.profile["quality"].value is not None


def test_a_stream_shorter_than_a_sample(tmp_path, two_chains):
    (tmp_path / "text.txt").write_text(prose(WORDS, 12, 0))
    experiment = helpers.experiment(
        "markov",
        tmp_path / "text.txt",
        data={"validation": 0.2},
        train={"steps": 1, "batch": 50, "eval_every": 1, "save_every": 1},
    )
    helpers.train(experiment, tmp_path / "run")
    report = sound(evaluation.of_run(tmp_path / "run", Request(length=900), Config(num=5)))
    assert all(each.value is None for each in report.profile.values())
    assert any("too few to be split" in line for line in report.warnings)


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture
def judged(tmp_path, two_chains):
    """judged(samples, train, heldout, ...) -> the sound report of these lines."""

    def judged(samples, train, heldout=(), *, fast=True):
        paths = {"samples": samples, "train": train, "heldout": heldout}
        for name, texts in paths.items():
            rows = [json.dumps({"text": each}) for each in texts]
            (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
            paths[name] = str(tmp_path / f"{name}.jsonl") if len(texts) else ""
        return sound(evaluation.of_files(Config(**paths, fast=fast)))

    return judged


@pytest.mark.parametrize("copied", [0.0, 0.4, 0.8])
def test_the_share_of_copies_shows(judged, names, copied):
    train, heldout, fresh = names[:400], names[400:560], names[1400:]
    cut = int(400 * copied)
    report = judged([*train[:cut], *fresh[: 400 - cut]], train, heldout)
    rate = report.metrics["heldout_neighbour_rate_match"]
    assert rate.low <= 1 - copied <= rate.high < rate.low + 1
    assert report.profile["novelty"].low <= 1 - copied


CASES = {
    "one sample": lambda names: (names[:1], names[100:160], names[200:260]),
    "two samples": lambda names: (names[:2], names[100:160], names[200:260]),
    "one sample, nothing held out": lambda names: (names[:1], names[100:160]),
    "all the same": lambda names: (names[:1] * 30, names[100:160], names[200:260]),
    "some empty": lambda names: ([*names[:20], "", " ", ""], names[100:160], names[200:260]),
    "all empty": lambda names: (["", " ", ""], names[100:160], names[200:260]),
    "one training text": lambda names: (names[:30], names[100:101], names[200:260]),
    "three training texts": lambda names: (names[:30], names[100:103], names[200:260]),
    "equal training texts": lambda names: (names[:30], names[100:101] * 30, names[200:260]),
    "one held-out text": lambda names: (names[:30], names[100:160], names[200:201]),
    "two held-out texts": lambda names: (names[:30], names[100:160], names[200:202]),
    "equal held-out texts": lambda names: (names[:30], names[100:160], names[200:201] * 9),
    "all leaked": lambda names: (names[:30], names[100:160], names[100:160]),
    "all leaked, few": lambda names: (names[:30], names[100:104], names[100:104]),
    "unknown signs": lambda names: (["李小龙", "😀😀", "İ\0ß"] * 9, names[100:160], names[200:260]),
    "one sign each": lambda names: (list("abcdef"), list("abcdefgh"), list("ijklmnop")),
    "very long": lambda names: ([*names[:9], "ab c " * 20_000], names[100:160], names[200:260]),
    "no words": lambda names: (["..."] * 9, ["..", "!?", "-"] * 9, ["?!", ".!", "!!", "--"]),
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_breaks_a_report(judged, names, case):
    report = judged(*CASES[case](names), fast=False)
    assert report.warnings and report.gallery.unselected


def test_what_cannot_be_known_is_not_said(judged, names):
    report = judged(names[:150], names[200:400], fast=False)
    assert all(each.value is None for each in report.profile.values())
    assert report.creative_yield.value.value is None and report.composite.value.value is None
    assert any("no held-out data" in line for line in report.warnings)
    assert "held-out" not in report.anchors and report.metrics["exact_copies"].value == 0
    for heldout in (names[400:401], names[400:401] * 9):
        report = judged(names[:150], names[200:400], heldout)
        assert all(each.value is None for each in report.profile.values())
        assert any("too few to be split" in line for line in report.warnings)


def test_a_leak_between_the_splits_is_reported(judged, names):
    report = judged(names[:100], names[200:500], names[400:700])
    assert report.metrics["heldout_neighbour_rate_match"].value is None
    assert any("33.3% of the held-out texts are also training texts" in w for w in report.warnings)


def test_equal_and_empty_samples_are_reported(judged, names):
    train, heldout = names[200:400], names[400:600]
    same = judged(["Torvin"] * 120, train, heldout)
    assert "all generated items are the same" in same.warnings
    assert same.profile["diversity"].value < 0.05
    empty = judged([*names[:90], *[""] * 30], train, heldout)
    assert "30 of 120 generated items are empty" in empty.warnings
    assert empty.profile["quality"].value < 0.8


def test_personal_data_is_masked_and_its_origin_told(judged, names):
    known, new = "ann.lee@mail.org", "bo.kim@mail.org"
    train = [*names[200:400], f"write to {known}"]
    report = judged([*names[:50], f"ask {known}", f"or {new}"], train, names[400:600])
    (mail,) = report.privacy
    assert (mail.leaked, mail.rare, mail.invented) == (0, 1, 1)
    assert any("word for word in the training data" in line for line in report.warnings)
    written = json.dumps(record.to_json(report))
    assert known not in written and new not in written


# --- many reports --------------------------------------------------------------------------------


def test_a_setting_is_changed_alone():
    plain = Request(prompt="x")
    changed = evaluation.with_setting(plain, "top_k", "5")
    assert changed == dataclasses.replace(
        plain, sampling=dataclasses.replace(plain.sampling, top_k=5)
    )
    for name, value in (("top_k", "2.5"), ("top_k", "inf"), ("temperature", "warm"), ("heat", "1")):
        with pytest.raises(UserError):
            evaluation.with_setting(plain, name, value)


def test_all_of_a_sweep_have_the_same_anchors(run, two_chains):
    cfg = Config(num=60, fast=True, sweep=("temperature", "0.2", "1"))
    page, rows = evaluation.sweep(run, Request(), cfg, say=lambda line: None)
    assert [label for label, _ in rows] == ["0.2", "1"]
    cold, warm = (sound(report) for _, report in rows)
    assert cold.anchors == warm.anchors
    assert cold.profile["diversity"].value < warm.profile["diversity"].value
    assert "temperature" in page


def test_a_row_for_each_checkpoint(run, two_chains):
    said = []
    _, rows = evaluation.along_training(run, Request(), Config(num=40, fast=True), say=said.append)
    assert [label for label, _ in rows] == ["1", "2"]
    assert [sound(report).protocol["sampling"]["checkpoint"] for _, report in rows] == [1, 2]
    assert said[:1] == ["step 1 ..."]


def test_files_are_written_whole_or_not_at_all(tmp_path):
    for path in evaluation.write(tmp_path / "a" / "b", "report", "<p>é</p>", {"x": [1, None]}):
        assert path.exists()
    assert json.loads((tmp_path / "a" / "b" / "report.json").read_text()) == {"x": [1, None]}
    with pytest.raises(ValueError):
        evaluation.write(tmp_path, "bad", None, {"x": math.nan})
    assert {path.name for path in tmp_path.iterdir()} == {"a"}
    with pytest.raises(UserError, match="cannot write"):
        evaluation.write(tmp_path / "a" / "b" / "report.json" / "c", "report", None, {})
