"""evaluate.py as a user meets it: what it writes and prints, and what it says of a mistake."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import helpers
import numpy as np
import pytest

from creagen_jax import cli, evaluation, generation, judging, rundir
from creagen_jax.creativity import record, text

ROOT = Path(__file__).parent.parent
QUICK = ("--fast", "--num", 20)


@pytest.fixture(scope="module", autouse=True)
def few_anchors():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "ORDERS", (1, 2))
        patch.setattr(text, "REPEATS", 4)
        patch.setattr(text, "WIDTH", 64)
        yield


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("evaluate_script", ROOT / "evaluate.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def command(main, monkeypatch, capfd):
    """command(...) -> exit code, standard output, standard error."""

    def command(*flags):
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, flags)])
        try:
            code = cli.run(main)
        except SystemExit as stop:
            code = stop.code
        return code, *capfd.readouterr()

    return command


@pytest.fixture
def mistake(command):
    """The one line of a command that must fail, after what it said it was doing."""

    def mistake(*flags):
        code, out, err = command(*flags)
        assert (code, out) == (2, "")
        said = [line for line in err.splitlines() if not line.endswith(" ...")]
        assert len(said) == 1 and said[0].startswith("error: ")
        return said[0]

    return mistake


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Lines with labels, and two runs on them, `markov` and `lstm`; and other files and runs."""
    folder = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(0)
    made = ["".join(rng.choice(list("abcde"), rng.integers(3, 9))) for _ in range(400)]
    rows = [{"text": each, "label": each[0]} for each in made[:300]]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name, part in {
        "train": made[:200],
        "heldout": made[200:300],
        "mine": made[300:],
        "one": made[:1],
        "empty": [],
    }.items():
        (folder / f"{name}.txt").write_text("".join(f"{each}\n" for each in part))
    data = {"validation": 0.3, "length": 12}
    steps = {"steps": 2, "batch": 50, "eval_every": 1, "save_every": 1}
    for family in ("markov", "lstm"):
        experiment = helpers.experiment(family, folder / "rows.jsonl", data=data, train=steps)
        helpers.train(experiment, folder / family)
    steps |= {"steps": 3, "keep_every": 1}
    game = {"pretrain": 2, "warm": 0}
    exp = helpers.experiment("text_gan", folder / "rows.jsonl", data=data, model=game, train=steps)
    helpers.train(exp, folder / "text_gan")
    words = helpers.write_text(folder)
    helpers.train(helpers.experiment("markov", words, train=steps), folder / "words")
    return folder


def read(path):
    def refuse(name):
        raise AssertionError(f"{name} in {path}")

    return json.loads(path.read_text(), parse_constant=refuse)


# --- one report ----------------------------------------------------------------------------------


def test_a_run_gets_its_report(command, folder):
    code, out, err = command(folder / "markov", *QUICK)
    lines = out.splitlines()
    assert (code, err) == (0, "") and 8 <= len(lines) <= 14
    assert all(len(line) <= 100 for line in lines[:-1])
    assert lines[-1] == "written: " + ", ".join(
        str(folder / "markov" / f"report.{suffix}") for suffix in ("json", "html")
    )
    report = record.from_json(read(folder / "markov" / "report.json"))
    assert {axis for axis in record.AXES if any(axis in line.lower() for line in lines)} == set(
        record.AXES
    )
    assert report.protocol["items"]["generated"] == 20
    page = (folder / "markov" / "report.html").read_text()
    assert page.startswith("<!doctype html>") and "<script" not in page


def test_the_same_command_writes_the_same_report(command, folder, tmp_path):
    pages = []
    for _ in range(2):
        assert command(folder / "lstm", *QUICK, "--out", tmp_path)[0] == 0
        pages.append([(tmp_path / f"report.{suffix}").read_bytes() for suffix in ("json", "html")])
    assert pages[0] == pages[1]


def test_a_stream_a_label_and_a_prompt(command, folder, tmp_path):
    (tmp_path / "prompt.txt").write_text("one \n")
    flags = [*QUICK, "--length", 60, "--prompt", f"@{tmp_path / 'prompt.txt'}", "--out", tmp_path]
    assert command(folder / "words", *flags)[0] == 0
    report = record.from_json(read(tmp_path / "report.json"))
    assert report.unit == "word" and report.protocol["sampling"]["prompt"] == "one "
    assert command(folder / "markov", *QUICK, "--label", "b", "--out", tmp_path)[0] == 0
    report = record.from_json(read(tmp_path / "report.json"))
    assert {item.label for item in report.gallery.unselected} == {"b"}


def test_any_programs_output(command, folder, tmp_path):
    parts = tmp_path / "parts"
    parts.mkdir()
    lines = (folder / "mine.txt").read_text().splitlines()
    (parts / "a.txt").write_text("\n".join(lines[:50]))
    (parts / "b.jsonl").write_text("\n".join(json.dumps({"text": each}) for each in lines[50:]))
    files = ("--train", folder / "train.txt", "--heldout", folder / "heldout.txt")
    found = []
    for samples in (folder / "mine.txt", parts):
        out = tmp_path / samples.stem
        assert command("--samples", samples, *files, "--out", out, "--fast")[0] == 0
        found.append(record.from_json(read(out / "report.json")))
    assert found[0].profile == found[1].profile
    assert found[0].protocol["items"]["generated"] == 100


def test_samples_in_files_are_judged_as_those_of_a_run(command, folder, tmp_path):
    run = folder / "markov"
    rows = (folder / "rows.jsonl").read_text().splitlines()
    drawn = evaluation.draw(run, generation.Request(), evaluation.Config(num=40), "best", print)
    made = [{"text": t, "label": of} for t, of in zip(drawn.items, drawn.labels, strict=True)]
    found = {}
    for name, lines in {"drawn": map(json.dumps, made), "copies": rows}.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        files = ("--samples", tmp_path / f"{name}.jsonl", "--out", tmp_path / name)
        assert command(run, *files, "--fast")[0] == 0
        found[name] = record.from_json(read(tmp_path / name / "report.json"))
    assert command(run, "--num", 40, "--fast", "--out", tmp_path)[0] == 0
    own = record.from_json(read(tmp_path / "report.json"))
    assert found["drawn"].profile == own.profile and found["drawn"].metrics == own.metrics
    assert found["drawn"].protocol["sampling"] == {"samples": str(tmp_path / "drawn.jsonl")}
    assert found["copies"].profile["novelty"].value < own.profile["novelty"].value


def test_without_heldout_nothing_is_claimed(command, folder, tmp_path):
    files = ("--samples", folder / "mine.txt", "--train", folder / "train.txt", "--out", tmp_path)
    code, out, _ = command(*files, "--fast")
    assert code == 0 and "no held-out data" in out and "undetermined" in out.lower()
    report = record.from_json(read(tmp_path / "report.json"))
    assert all(each.value is None for each in report.profile.values())


# --- many reports --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "runs", "flags"),
    [
        ("sweep", ["markov"], ("--sweep", "temperature", "0.5", "1")),
        ("checkpoints", ["markov"], ("--checkpoints",)),
        ("comparison", ["markov", "lstm"], ()),
    ],
)
def test_many_reports_on_one_page(command, folder, tmp_path, name, runs, flags):
    runs = [folder / run for run in runs]
    code, out, err = command(*runs, *flags, *QUICK, "--out", tmp_path)
    assert code == 0 and err.count(" ...\n") == 2
    lines = out.splitlines()
    assert len(lines) == 3 and lines[-1].startswith("written: ")
    found = read(tmp_path / f"{name}.json")
    assert found["schema"] == record.SCHEMA and len(found["rows"]) == 2
    for row, line in zip(found["rows"], lines, strict=False):
        assert line.startswith(row["label"]) and "novelty" in line
        record.from_json(row["report"])
    assert (tmp_path / f"{name}.html").read_text().startswith("<!doctype html>")


def test_quality_against_diversity_by_temperature(command, folder, tmp_path):
    runs = [folder / name for name in ("text_gan", "lstm")]
    flags = ["--frontier", "1.2", "0.5", "--num", 30, "--out", tmp_path]
    code, out, err = command(*runs, *flags)
    assert code == 0 and err.count(" ...\n") == 6
    found = read(tmp_path / "frontier.json")
    alone = f"{runs[0]}, maximum likelihood alone"
    systems = [(row["system"], row["temperature"]) for row in found["rows"]]
    pairs = [(name, at) for name in (str(runs[0]), alone, str(runs[1])) for at in (0.5, 1.2)]
    assert systems == [*pairs, ("real data", None)]
    *rows, before, before_too, other, other_too, written = out.splitlines()
    assert found["sentences"] == [before, before_too, other, other_too]
    assert all(each.startswith("The adversarial phase ") for each in found["sentences"])
    assert alone in before and str(runs[1]) in other and written.startswith("written: ")
    for row, line in zip(found["rows"], rows, strict=True):
        assert line.startswith(row["system"]) and "self_bleu_5 " in line
    page = (tmp_path / "frontier.html").read_text()
    assert page.startswith("<!doctype html>") and before in page
    # The same texts are held against what is asked for.
    flags += ["--heldout", folder / "mine.txt"]
    assert command(*runs, *flags)[0] == 0
    others = read(tmp_path / "frontier.json")["rows"]
    for row, changed in zip(found["rows"], others, strict=True):
        assert row["samples"] == changed["samples"] and row["metrics"] != changed["metrics"]


# --- an audit ------------------------------------------------------------------------------------


def test_an_audit_finds_what_was_planted(command, folder, tmp_path):
    lines = (folder / "train.txt").read_text().splitlines()
    (tmp_path / "data.txt").write_text("\n".join([*lines, "ask ann.lee@mail.org", *lines[:10]]))
    code, out, _ = command("--audit", tmp_path / "data.txt", "--unit", "line", "--out", tmp_path)
    printed = out.splitlines()
    assert code == 0 and 5 <= len(printed) <= 14
    assert re.search(r"duplicates in train: [1-9]", out)
    assert "e-mail 1" in out and "ann.lee@mail.org" not in out
    assert read(tmp_path / "audit.json")["personal"][0]["kind"] == "e-mail"
    assert not (tmp_path / "audit.html").exists()
    code, out, _ = command("--audit", tmp_path / "data.txt", "--unit", "line")
    assert code == 0 and "written" not in out


@pytest.mark.parametrize("content", ["a few words\n", "line\n" * 300])
def test_an_audit_of_little(command, tmp_path, content):
    (tmp_path / "data.txt").write_text(content)
    code, out, err = command("--audit", tmp_path / "data.txt")
    assert (code, err) == (0, "") and "personal data in train: none found" in out


# --- mistakes ------------------------------------------------------------------------------------


def test_help_and_no_arguments(command, mistake):
    code, out, err = command("--help")
    assert (code, err) == (0, "") and "--sweep" in out and "evaluate.py RUN" in out
    assert "choose one" in mistake()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("nowhere",), "no config.json"),
        (("markov", "--fats"), "--fast"),
        (("markov", "--num", -1), "--num is -1"),
        (("markov", "--seed", -1), "--seed is -1"),
        (("markov", "--checkpoint", 9), "no checkpoint '9'"),
        (("markov", "--label", "z"), "no label 'z'"),
        (("markov", "--prompt", "Q"), "Q"),
        (("markov", "--temperature", -1), "temperature is -1"),
        ((), "nothing given; choose one"),
        (("markov", "--samples", "mine.txt"), "needs --out DIR"),
        (("markov", "--samples", "mine.txt", "--out", "o", "--train", "t"), "without RUN"),
        (("markov", "--samples", "mine.txt", "--out", "o", "--num", 5), "--num cannot go with"),
        (("markov", "--samples", "mine.txt", "--out", "o", "--temperature", 2), "flags of sample"),
        (("markov", "lstm", "--samples", "mine.txt", "--out", "o"), "one RUN at most"),
        (("markov", "--samples", "gone.txt", "--out", "o"), "no such file"),
        (("markov", "--samples", "empty.txt", "--out", "o"), "empty.txt"),
        (("markov", "--audit", "mine.txt"), "choose one"),
        (("markov", "--train", "train.txt"), "go with --samples"),
        (("markov", "--unit", "line"), "--unit goes with --audit"),
        (("markov", "lstm", "--checkpoints"), "take one run"),
        (("markov", "--checkpoints", "--sweep", "top_k", 1), "not both"),
        (("markov", "--sweep", "temperature"), "needs values"),
        (("markov", "--frontier", "1", "--checkpoints"), "none of --sweep, --checkpoints"),
        (("--frontier", "1", "--audit", "mine.txt"), "--frontier takes RUN"),
        (("markov", "--frontier", "hot"), "takes numbers, not 'hot'"),
        (("markov", "words", "--frontier", "1"), "different data"),
        (("markov", "--sweep", "temprature", 1), "temperature"),
        (("markov", "--sweep", "temperature", "hot"), "takes numbers, not 'hot'"),
        (("markov", "--sweep", "top_k", "2.5"), "takes whole numbers, not '2.5'"),
        (("markov", "--sweep", "temperature", "nan"), "temperature is nan"),
        (("markov", "words"), "different data"),
        (("markov", "nowhere"), "no config.json"),
        (("--samples", "mine.txt"), "needs RUN"),
        (("--samples", "mine.txt", "--train", "train.txt", "--out", "o", "--label", "a"), "flags"),
        (("--samples", "mine.txt", "--train", "train.txt"), "--out"),
        (("--samples", "mine.txt", "--train", "gone.txt", "--out", "o"), "no such file"),
        (("--samples", "mine.txt", "--train", "empty.txt", "--out", "o"), "empty.txt"),
        (("--samples", "empty.txt", "--train", "train.txt", "--out", "o"), "holds no text"),
        (("--samples", "gone.txt", "--train", "train.txt", "--out", "o"), "no such file"),
        (("--audit", "gone.txt"), "no such file"),
        (("--audit", "empty.txt"), "empty.txt"),
    ],
)
def test_mistakes_are_told_in_one_line(mistake, folder, monkeypatch, flags, said):
    monkeypatch.chdir(folder)
    assert said in mistake(*flags)
    assert not (folder / "o").exists()


def test_a_run_that_is_not_whole(mistake, folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder / "markov", run)
    shutil.rmtree(rundir.checkpoints(run))
    for flags in ((), ("--checkpoints",)):
        assert "has no checkpoint yet" in mistake(run, *QUICK, *flags)
    (run / "config.json").write_text("{")
    assert "is damaged" in mistake(run, *QUICK)


def test_data_that_has_changed(mistake, folder):
    path, kept = folder / "words.txt", folder / "kept"
    path.rename(kept)
    try:
        assert "no such file" in mistake(folder / "words", *QUICK)
        path.write_text("three " * 600)
        assert "has changed since" in mistake(folder / "words", *QUICK)
    finally:
        kept.replace(path)


def test_a_report_that_cannot_be_written(mistake, folder):
    assert "cannot write" in mistake(folder / "markov", *QUICK, "--out", folder / "one.txt")


def test_a_sweep_is_refused_before_anything_is_drawn(mistake, folder, monkeypatch):
    def draw(*_, **__):
        raise AssertionError("samples were drawn")

    monkeypatch.setattr(evaluation, "draw", draw)
    assert "temperature is -1" in mistake(folder / "markov", "--sweep", "temperature", "1", "-1")
