"""What is judged, and what it is held against: read as it stands in the files."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax import data, generation, material, models, scoring
from creagen_jax.data import text
from creagen_jax.generation import Request
from creagen_jax.types import UserError

texts = st.lists(st.text(alphabet="ab \n", max_size=12), max_size=12)
few = settings(max_examples=30, deadline=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("material")
    rng = np.random.default_rng(0)
    made = ["".join(rng.choice(list("abcd"), rng.integers(2, 8))) for _ in range(60)]
    (folder / "lines.txt").write_text("\n".join(made))
    (folder / "stream.txt").write_text(" ".join(made) * 3)
    rows = [{"text": each, "label": each[0]} for each in made]
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


# --- files ---------------------------------------------------------------------------------------


def test_lines_are_read_from_text_rows_and_folders(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n two 😀\n")
    (tmp_path / "b.jsonl").write_text('{"text": "three\\nfour"}\n{"text": ""}\n')
    (tmp_path / "c.csv").write_text("text,label\nfive,x\n")
    assert material.lines(str(tmp_path / "a.txt")) == ["one", " two 😀"]
    assert material.lines(str(tmp_path)) == ["one", " two 😀", "three\nfour", "", "five"]


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_text_is_refused(tmp_path, content):
    (tmp_path / "empty.txt").write_text(content)
    with pytest.raises(UserError, match="holds no text"):
        material.lines(str(tmp_path / "empty.txt"))


def test_files_are_kept_whole(tmp_path):
    made = ["one", "two words", "one", "x" * 3000, "ümläut"]
    (tmp_path / "train.txt").write_text("\n".join(made))
    (tmp_path / "heldout.txt").write_text("three 😀\nthree 😀")
    found = material.of_files(str(tmp_path / "train.txt"), str(tmp_path / "heldout.txt"))
    assert found.line and found.documents == made and found.heldout == ["three 😀"] * 2
    assert material.of_files(str(tmp_path / "train.txt"), "").heldout == []


# --- pieces and halves ---------------------------------------------------------------------------


@given(texts, st.integers(1, 15))
@few
def test_pieces_have_one_size_and_lose_only_ends(made, size):
    found = material.pieces(made, size)
    assert all(len(piece) == size for piece in found)
    assert "".join(found) == "".join(each[: len(each) // size * size] for each in made)


@given(texts, st.integers(0, 9))
@few
def test_halves_share_nothing_and_lose_nothing(made, seed):
    one, other = material.halves(made, seed)
    assert sorted([*one, *other]) == sorted(set(made))
    assert 0 <= len(other) - len(one) <= 1
    assert (one, other) == material.halves(made, seed)


# --- runs' data ----------------------------------------------------------------------------------


def loaded(path, **changes):
    return text.load(text.Config(path=str(path), validation=0.2, length=12, **changes))


def test_a_label_selects_texts_of_both_splits(folder):
    dataset = loaded(folder / "labels.jsonl")
    every = material._of_dataset("t", "text", dataset, Request())
    some = material._of_dataset("t", "text", dataset, Request(label="b"))
    for field in ("documents", "heldout"):
        wanted = [each for each in getattr(every, field) if each[0] == "b"]
        assert getattr(some, field) == wanted
    assert some.documents and some.protocol["label"] == "b" and "label" not in every.protocol
    with pytest.raises(UserError, match="no label 'z'"):
        material._of_dataset("t", "text", dataset, Request(label="z"))


def test_large_data_is_searched_in_part_and_that_is_said(folder, monkeypatch):
    dataset = loaded(folder / "lines.txt", unit="line")
    whole = material._of_dataset("t", "text", dataset, Request())
    monkeypatch.setattr(material, "SEARCHED", 60)
    part = material._of_dataset("t", "text", dataset, Request())
    assert part.documents == whole.documents[: len(part.documents)]
    assert 0 < len(part.documents) < len(whole.documents)
    assert not whole.warnings and "the first 60 of" in part.warnings[0]


# --- Markov anchors ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lines.txt", "stream.txt", "labels.jsonl"])
def test_chains_that_share_a_program_predict_as_those_alone(folder, name):
    markov, source = models.get("markov"), data.get("text")
    dataset = loaded(folder / name, unit="stream" if name == "stream.txt" else "line")
    shared, params = scoring.chains(source, dataset, (4, 1, 2))
    assert len({tuple(map(len, jax.tree.leaves(each))) for each in params.values()}) == 1

    x_BT = next(source.eval_batches(dataset, "validation", size=5))["x"]
    labels = dataset.codec.labels
    condition_B = jnp.arange(5) % len(labels) if labels else None

    def logits(cfg, params):
        carry = markov.init_carry(params, cfg, 5, condition_B)
        steps = []
        for token_B in x_BT.T:
            logits_BV, carry = markov.next_logits(params, cfg, carry, token_B)
            steps.append(np.asarray(logits_BV))
        return np.stack(steps)

    for order in (1, 2, 4):
        cfg, state = scoring.chain(source, dataset, order)
        np.testing.assert_array_equal(logits(shared, params[order]), logits(cfg, state.params))


def test_chains_draw_texts_of_the_label_that_was_asked_for(folder):
    dataset = loaded(folder / "labels.jsonl")
    found = material._of_dataset("t", "text", dataset, Request(label="b"))
    drawn = found.chains((1, 3), 40, 0)
    assert drawn.keys() == {1, 3} and all(len(each) == 40 for each in drawn.values())
    assert sum(each.startswith("b") for each in drawn[3]) > 20  # of all training lines, 1 in 4
    assert drawn == found.chains((1, 3), 40, 0) != found.chains((1, 3), 40, 1)


def test_chains_draw_pieces_of_the_length_that_was_asked_for(folder):
    dataset = loaded(folder / "stream.txt", unit="stream")
    request = dataclasses.replace(generation.Request(), length=30)
    found = material._of_dataset("t", "text", dataset, request)
    assert not found.line
    assert {len(each) for each in found.chains((2,), 5, 0)[2]} == {30}
