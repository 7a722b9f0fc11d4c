"""The commands as a user meets them: what they write, how they end, what they say of a mistake."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import helpers
import pytest

from creagen_jax import cli, scoring

ROOT = Path(__file__).parent.parent
SMALL = ("--smoke", "--train.sample_every", "0")


def script(name):
    spec = importlib.util.spec_from_file_location(f"{name}_script", ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


SCRIPTS = {name: script(name) for name in ("train", "sample")}


@pytest.fixture
def command(monkeypatch, capfd):
    """command("train", ...) -> exit code, standard output, standard error."""
    monkeypatch.setattr(scoring, "reference", helpers.no_reference)

    def command(name, *flags):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, flags)])
        try:
            code = cli.run(SCRIPTS[name].main)
        except SystemExit as stop:
            code = stop.code
        return code, *capfd.readouterr()

    return command


@pytest.fixture
def mistake(command):
    """The one line of a command that must fail."""

    def mistake(name, *flags):
        code, _, err = command(name, *flags)
        assert code == 2
        assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n")
        return err

    return mistake


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    helpers.write_text(folder)
    rows = [{"text": word * n, "label": word} for word in ("ab", "cd") for n in range(1, 60)]
    (folder / "lines.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for name, content in {
        "empty": b"",
        "blank": b"\n\n",
        "short": b"a few words",
        "latin": "caf\xe9 ".encode("latin-1") * 500,
        "one": b"a" * 5000,
    }.items():
        (folder / f"{name}.txt").write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def run(folder):
    """A finished run on labelled lines, by the command, with its reference line."""
    flags = ["names_markov", "--smoke", "--run", folder / "run", "--data.path"]
    assert SCRIPTS["train"].main([*map(str, flags), str(folder / "lines.jsonl")]) == 0
    return folder / "run"


# --- train.py ------------------------------------------------------------------------------------


def test_train_alone_lists_the_configs(command):
    code, out, err = command("train")
    assert (code, err) == (0, "")
    for path in (ROOT / "configs").glob("*.py"):
        assert sum(path.stem in line.split() for line in out.splitlines()) == 1


@pytest.mark.parametrize("flags", [("--help",), ("names_lstm", "--help"), ("names_lstm", "-h")])
def test_train_help(command, flags):
    code, out, err = command("train", *flags)
    assert (code, err) == (0, "") and "usage" in out


def test_a_run_holds_the_documented_files(run):
    files = {"config.json", "checkpoints", "metrics.jsonl", "reference.json"}
    assert {path.name for path in run.iterdir()} >= files
    config = json.loads((run / "config.json").read_text())
    assert config["experiment"]["model"]["family"] == "markov"
    assert {"fingerprint", "versions"} <= config.keys()
    lines = helpers.metrics(run)
    assert {line["split"] for line in lines} >= {"train", "validation"}
    for line in lines:
        assert line.keys() >= {"step", "split", "loss", "seconds"}
        if line["split"] == "validation":
            assert line.keys() >= {"nats_per_char", "bits_per_byte"}


def test_train_samples_resumes_and_refuses_other_flags(command, mistake, folder, tmp_path):
    run = tmp_path / "run"
    flags = ["names_gru", "--smoke", "--data.path", folder / "words.txt", "--data.length", 16]
    flags += ["--train.steps", 4, "--train.sample_every", 2, "--run", run]
    assert command("train", *flags, "--stop_at", 2)[0] == 0
    assert [path.name for path in (run / "samples").iterdir()] == ["step_000002.txt"]
    code, out, _ = command("train", *flags)
    assert code == 0 and "resuming at step 2 of 4" in out
    assert max(line["step"] for line in helpers.metrics(run)) == 4
    assert "model.width: 32 -> 16" in mistake("train", *flags, "--model.width", 16)
    code, out, _ = command("train", *flags, "--model.width", 16, "--overwrite", "--stop_at", 1)
    assert code == 0 and "resuming" not in out


def test_a_dry_run_writes_nothing(command, folder, tmp_path):
    code, out, _ = command(
        "train", "names_gru", *SMALL, "--dry_run", "--data.path", folder / "lines.jsonl",
        "--run", tmp_path / "run",
    )  # fmt: skip
    assert code == 0 and not (tmp_path / "run").exists()
    assert all(word in out for word in ('"family": "gru"', "parameters:", "memory", "time:"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["names_lstn"], "no config 'names_lstn'; did you mean 'names_lstm'?"),
        (["--smoke", "names_lstm"], "--smoke comes before a config"),
        (["names_lstm", "--model.widht", "3"], "no flag --model.widht; did you mean --model.width"),
        (["names_lstm", "--train.stps=3"], "no flag --train.stps"),
        (["names_lstm", "more"], "no flag more"),
        (["names_lstm", "--model.width", "ten"], "--model.width cannot be 'ten'; it is INT"),
        (["names_lstm", "--model.width"], "--model.width"),
        (["names_lstm", "--optim.name", "sgd"], "'sgd' for argument '--optim.name'"),
        (["names_lstm", "--seed", "-1"], "--seed is -1"),
        (["names_lstm", "--stop_at", "-1"], "--stop_at is -1"),
        (["names_lstm", "--distributed", "two"], "choose auto, or ADDRESS:PORT,PROCESSES,INDEX"),
        (["names_lstm", "--train.log_every", "0"], "--train.log_every is 0; choose 1 or more"),
        (["names_lstm", "--train.steps", "-1"], "--train.steps is -1; choose 0 or more"),
        (["names_lstm", "--optim.beta2", "1"], "--optim.beta2 is 1.0; choose 0 or more, and less"),
        (["names_lstm", "--train.batch", "0"], "--train.batch is 0; choose 1 or more"),
        (["names_lstm", "--data.source", "name"], "no embedded set 'name'; did you mean 'names'?"),
        (["names_transformer", "--model.heads", "3"], "model.heads 3"),
        (["names_transformer", "--model.context", "4"], "--model.context"),
        (["names_markov", "--model.order", "0"], "model.order is 0"),
    ],
)  # fmt: skip
def test_mistakes_in_flags(mistake, tmp_path, flags, message):
    assert message in mistake("train", *flags, *["--run", tmp_path / "run"] * (len(flags) > 2))
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("word.txt", "no such file or folder: {path}; near it: words.txt"),
        ("empty.txt", "{path} is empty"),
        ("short.txt", "too few for one window"),
        ("latin.txt", "{path} is not UTF-8: invalid continuation byte at byte 3"),
        ("one.txt", "only one symbol"),
    ],
)
def test_mistakes_in_data(mistake, folder, tmp_path, file, message):
    path = folder / file
    line = mistake("train", "names_lstm", *SMALL, "--data.path", path, "--run", tmp_path / "run")
    assert message.format(path=path) in line or (file == "one.txt" and str(path) in line)


def test_a_folder_with_other_things_is_not_overwritten(mistake, folder, tmp_path):
    (tmp_path / "novel.txt").write_text("precious")
    flags = ["--data.path", folder / "lines.jsonl", "--run", tmp_path, "--overwrite"]
    assert "not a run directory" in mistake("train", "names_lstm", *SMALL, *flags)
    assert (tmp_path / "novel.txt").read_text() == "precious"


# --- sample.py -----------------------------------------------------------------------------------


def test_samples_go_to_the_screen_and_the_summary_beside_it(command, run):
    code, out, err = command("sample", run, "--num", 5, "--label", "ab")
    assert code == 0 and len(out.splitlines()) == 5 and "5 samples" in err
    assert all("new" in line or "in training data" in line for line in out.splitlines())


def test_one_sample_is_streamed(command, run):
    code, out, err = command("sample", run, "--label", "cd", "--prompt", "cdc")
    assert code == 0 and out.startswith("cdc") and out.endswith("\n") and "1 sample," in err


def test_json_lines(command, run, tmp_path):
    out = tmp_path / "out.jsonl"
    assert command("sample", run, "--num", 3, "--seed", 7, "--out", out)[:2] == (0, "")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["seed"] for line in lines] == [7, 8, 9]
    for line in lines:
        assert line.keys() == {
            "text",
            "seed",
            "label",
            "settings",
            "new",
            "refused",
            "cut",
            "source",
            "score",
            "given",
        }
        assert line["label"] in ("ab", "cd") and isinstance(line["new"], bool)


def test_no_copies(command, mistake, folder, tmp_path):
    path, run = tmp_path / "words.txt", tmp_path / "run"
    path.write_text((folder / "words.txt").read_text())
    flags = ["--smoke", "--data.path", path, "--data.length", 16, "--run", run]
    assert command("train", "names_markov", *flags)[0] == 0
    code, out, err = command("sample", run, "--max_copy", 4, "--length", 60)
    text = path.read_text()
    assert code == 0 and "copying refused" in err
    assert not [i for i in range(len(out) - 5) if out[i : i + 5] in text]
    out = command("sample", run, "--max_copy", 4, "--length", 60, "--num", 2)[1]
    assert not [i for i in range(60 - 5) if out[i : i + 5] in text]
    assert "choose 1 or more" in mistake("sample", run, "--max_copy", -2)
    line = mistake("sample", run, "--max_copy", 4, "--beams", 2)
    assert "beam search ignores max_copy" in line
    path.write_text(text[:-1] + "!")
    assert f"the training data of {run} has changed" in mistake("sample", run, "--max_copy", 4)
    assert command("sample", run)[0] == 0


def test_a_prompt_from_a_file(command, mistake, run, tmp_path):
    (tmp_path / "prompt").write_text("abab")
    out = command("sample", run, "--num", 2, "--prompt", f"@{tmp_path / 'prompt'}")[1]
    assert all(line.startswith("abab") for line in out.splitlines())
    assert "cannot read" in mistake("sample", run, "--prompt", f"@{tmp_path / 'absent'}")
    (tmp_path / "prompt").write_bytes(b"\xff")
    assert "is not UTF-8" in mistake("sample", run, "--prompt", f"@{tmp_path / 'prompt'}")


def test_sample_help(command, run):
    code, out, _ = command("sample", "--help")
    assert code == 0 and "RUN --help" in out
    code, out, _ = command("sample", run, "--help")
    assert code == 0 and all(flag in out for flag in ("--num", "--seed", "--label", "--prompt"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--label", "abc"], "no label 'abc'; did you mean 'ab'? choose one of ab, cd"),
        (["--prompt", "aZ"], "'Z'"),
        (["--num", "0"], "--num is 0"),
        (["--nmu", "2"], "no flag --nmu; did you mean --num?"),
        (["--seed", "-1"], "--seed is -1"),
        (["--length", "-1"], "--length is -1"),
        (["--checkpoint", "99"], "no checkpoint '99'"),
        (["--top_p", "2"], "top_p is 2.0"),
        (["--top_k", "1.5"], "--top_k cannot be '1.5'"),
        (["--beams", "2"], "--label"),
        (["--out", "/no/such/folder/x.jsonl", "--num", "2"], "cannot write"),
    ],
)
def test_mistakes_in_sampling(mistake, run, flags, message):
    assert message in mistake("sample", run, *flags)


def test_what_is_no_run(mistake, run, tmp_path):
    assert "no run given" in mistake("sample")
    assert "no run given" in mistake("sample", "--num", "3")
    assert "not a run directory" in mistake("sample", tmp_path)
    (tmp_path / "config.json").write_text((run / "config.json").read_text())
    assert "no checkpoint" in mistake("sample", tmp_path)
    config = (run / "config.json").read_text().replace('"family": "markov"', '"family": "elman"')
    (tmp_path / "config.json").write_text(config)
    assert "unknown model family 'elman'; choose one of" in mistake("sample", tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert "config.json is damaged" in mistake("sample", tmp_path)


# --- in processes of their own -------------------------------------------------------------------


def shell(line):
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def test_a_closed_pipe_is_no_error(run):
    done = shell(f"$PYTHON sample.py {run} --num 3000 | head -1")
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_a_mistake_is_one_line_on_standard_error(tmp_path):
    done = shell(f"$PYTHON train.py names_lstm --data.path {tmp_path / 'absent.txt'}")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == f"error: no such file or folder: {tmp_path / 'absent.txt'}\n"
