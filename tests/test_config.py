"""Configuration survives JSON, differences are found, and flags reach their fields."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creagen_jax import config, models
from creagen_jax.config import Experiment, Optim, Train
from creagen_jax.data import text
from creagen_jax.types import UserError

BASE = Experiment(text.Config(), models.get("lstm").Config())


def parse(*flags):
    return config.parse(BASE, list(flags), prog="test", description="")


experiments = st.builds(
    Experiment,
    data=st.builds(text.Config),
    model=st.sampled_from(models.names()).flatmap(lambda n: st.builds(models.get(n).Config)),
    optim=st.builds(Optim, learning_rate=st.floats(0, 1), name=st.sampled_from(["adamw", "muon"])),
    train=st.builds(Train, steps=st.integers(0, 10**9)),
    seed=st.integers(0, 2**31 - 1),
)


@given(experiments)
def test_json_round_trip(experiment):
    fields = config.to_json(experiment)
    assert config.from_json(fields) == experiment
    assert fields["model"]["family"] == config.family(experiment)
    assert fields["data"]["modality"] == config.modality(experiment) == "text"
    assert config.differences(fields, config.to_json(experiment)) == []


@pytest.mark.parametrize("section", ["data", "model", "optim", "train"])
def test_a_field_of_another_version_is_refused(section):
    fields = config.to_json(BASE)
    fields[section]["flux"] = 1
    with pytest.raises(UserError, match="has no field flux"):
        config.from_json(fields)


def test_differences_are_named():
    other = config.replace(BASE, model={"width": 7}, seed=3)
    lines = config.differences(config.to_json(BASE), config.to_json(other))
    assert lines == [f"model.width: {BASE.model.width} -> 7", "seed: 0 -> 3"]


def test_replace_leaves_the_original():
    assert config.replace(BASE, train={"steps": 4}).train.steps == 4
    assert BASE.train.steps != 4


def test_flags_reach_their_fields():
    new = parse("--seed", "4", "--model.width", "9", "--data.path", "x.txt", "--optim.name", "muon")
    assert (new.seed, new.model.width, new.data.path, new.optim.name) == (4, 9, "x.txt", "muon")
    rest = config.replace(
        new, seed=0, model={"width": BASE.model.width}, data={"path": ""}, optim={"name": "adamw"}
    )
    assert rest == BASE


@given(st.sampled_from([f.name for f in dataclasses.fields(Train)]), st.data())
def test_a_misspelt_flag_names_the_one_that_was_meant(name, data):
    i = data.draw(st.integers(0, len(name) - 2))
    misspelt = name[:i] + name[i + 1] + name[i] + name[i + 2 :]
    if misspelt in (field.name for field in dataclasses.fields(Train)):
        return
    with pytest.raises(UserError, match=rf"^no flag --train\.{misspelt}; did you mean --train\."):
        parse(f"--train.{misspelt}", "1")


@pytest.mark.parametrize("flag", ["--model.width", "--optim.learning_rate", "--train.steps"])
def test_a_wrong_type_is_one_line(flag):
    with pytest.raises(UserError, match=f"^{flag} cannot be 'ten'; it is ") as error:
        parse(flag, "ten")
    assert "\n" not in str(error.value)


def test_nearest():
    choices = ["names_lstm", "shakespeare_gru"]
    assert config.nearest("names_lstn", choices).startswith("did you mean 'names_lstm'? choose")
    assert config.nearest("zzz", choices) == "choose one of names_lstm, shakespeare_gru"


def test_a_config_of_ones_own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        '"""Mine."""\n'
        "from creagen_jax.config import Experiment\n"
        "from creagen_jax.data import text\n"
        "from creagen_jax.models import gru\n"
        "CONFIG = Experiment(text.Config(), gru.Config(width=5))\n"
    )
    assert config.load(str(path), tmp_path).model.width == 5
    assert config.load("mine", tmp_path).model.width == 5
    assert config.available(tmp_path) == {"mine": "Mine."}
    with pytest.raises(UserError, match="defines no SMOKE"):
        config.load("mine", tmp_path, smoke=True)
    with pytest.raises(UserError, match="did you mean 'mine'"):
        config.load("mime", tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"seed": -1}, {"seed": 2**31}]
    + [{"train": {name: 0}} for name in ("log_every", "eval_every", "save_every")]
    + [{"train": {name: -1}} for name in ("steps", "sample_every", "patience")],
)
def test_numbers_out_of_range(changes):
    config.check(BASE)
    with pytest.raises(UserError, match="choose"):
        config.check(config.replace(BASE, **changes))
