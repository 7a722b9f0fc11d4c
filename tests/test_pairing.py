"""What a run of pairs is asked, and what its report says of the answers."""

import json

import helpers
import numpy as np
import pytest

from creagen_jax import evaluation, generation, pairing, rundir
from creagen_jax.creativity import record, report, words
from creagen_jax.data import pairs
from creagen_jax.evaluation import Config
from creagen_jax.types import UserError

STEPS = {"steps": 4, "batch": 16, "eval_every": 4, "save_every": 4}
# Two targets for each source of three digits; other ones for the same digits the other way round.
ROWS = [(f"{i:03d}", f"{i:03d}"[::-1] + end) for i in range(300) for end in "ab"]
METRICS = {"exact_match", "token_accuracy", "error_rate", "chrf", "bleu"}


def write(folder, rows=ROWS):
    path = folder / "pairs.tsv"
    path.write_text("".join(f"{source}\t{target}\n" for source, target in rows))
    return path


def train(folder, **changes):
    """A run of `seq2seq`, of four steps."""
    changes = {"data": {"validation": 0.2}, "train": STEPS} | changes
    experiment = helpers.experiment("seq2seq", write(folder), **changes)
    assert helpers.train(experiment, folder / "run") == 0
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def dataset(run):
    return generation.training_data(run)


def request(run, **changes):
    return evaluation.request_of([run]).__class__(**changes)


def test_questions_are_held_out_each_once_with_all_their_answers(dataset):
    asked = pairing.questions("pairs", dataset, 1000)
    known = set(pairs.sources(dataset, "train"))
    assert len(set(asked.sources)) == len(asked.sources) > 20
    assert not known & set(asked.sources)
    for source, answers in zip(asked.sources, asked.references, strict=True):
        assert sorted(answers) == [source[::-1] + "a", source[::-1] + "b"]


def test_few_questions_are_spread_over_the_split(dataset):
    everything = pairing.questions("pairs", dataset, 1000).sources
    few = pairing.questions("pairs", dataset, 5).sources
    places = [everything.index(source) for source in few]
    assert len(places) == 5 and places == sorted(places)
    assert places[0] < len(everything) / 4 and places[-1] > len(everything) * 3 / 4


def test_a_right_answer_scores_full_and_a_wrong_one_nothing(dataset):
    asked = pairing.questions("pairs", dataset, 20)
    right = pairing.scores(dataset.codec, [each[-1] for each in asked.references], asked, seed=0)
    wrong = pairing.scores(dataset.codec, ["z"] * 20, asked, seed=0)
    assert right.keys() == wrong.keys() >= METRICS
    assert right["exact_match"].value == right["token_accuracy"].value == 1
    assert right["error_rate"].value == 0 and right["chrf"].value == pytest.approx(100)
    assert wrong["exact_match"].value == wrong["chrf"].value == 0
    assert wrong["error_rate"].value == 1  # four characters, none of them kept


def test_an_alignment_has_a_row_for_each_token_and_sums_to_one(run, dataset):
    model = generation.load(run)
    asked = pairing.questions("pairs", dataset, 8)
    outputs = ["12", "", *["0" * 30] * 6]  # shorter, empty and longer than the model can write
    found = pairing.alignments(model, outputs, asked)
    assert len(found) == pairing.SHOWN
    for each, source in zip(found, asked.sources, strict=False):
        assert each.source == [*source, ""]  # "" is the end
        np.testing.assert_allclose(np.sum(each.weights, axis=1), 1, atol=0.01)  # rounded for JSON
    assert [each.target for each in found[:2]] == [["1", "2", ""], [""]]
    assert len(found[2].target) == model.length


def test_a_report_of_pairs(run):
    flags = evaluation.request_of([run])
    assert flags.sampling.temperature == 0  # the likeliest output, unless flags say otherwise
    found = evaluation.of_run(run, flags, Config(num=24))
    assert record.from_json(json.loads(json.dumps(record.to_json(found)))) == found
    assert found.metrics.keys() >= METRICS
    assert found.protocol["items"]["generated"] == 24 and len(found.alignments) == pairing.SHOWN
    lines = words.summary(found)
    assert [line for line in lines if line.startswith("Exact match")] == [words.answers(found)]
    assert words.answers(found) in report.render(found)
    shown = found.gallery.unselected
    assert all(sorted(each.reference) == sorted(each.source[::-1]) or
               each.reference[:-1] == each.source[::-1] for each in shown)  # fmt: skip
    fields = json.dumps(record.to_json(evaluation.of_run(run, flags, Config(num=24))))
    assert fields == json.dumps(record.to_json(found))


def test_a_model_without_attention_shows_none(tmp_path):
    run = train(tmp_path, model={"attention": False})
    found = evaluation.of_run(run, evaluation.request_of([run]), Config(num=5, fast=True))
    assert found.alignments == [] and "exact_match" in found.metrics


def test_a_source_cannot_be_chosen_and_some_must_be_held_out(run, tmp_path):
    asked = generation.Request(source=("123",))
    with pytest.raises(UserError, match="--source goes with"):
        evaluation.of_run(run, asked, Config(num=5))
    seen = train(tmp_path, data={"validation": 0.0})
    with pytest.raises(UserError, match="no held-out pairs"):
        evaluation.of_run(seen, evaluation.request_of([seen]), Config(num=5))


def test_no_frontier_of_what_is_right(run):
    with pytest.raises(UserError, match="write text of their own"):
        evaluation.run([run], evaluation.request_of([run]), Config(frontier=("1",)))
    assert rundir.read(run)["spec"].source == 12
