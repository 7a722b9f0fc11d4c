"""Every config: its SMOKE trains, checkpoints, restores and samples; its CONFIG builds."""

from pathlib import Path

import helpers
import jax
import numpy as np
import pytest

from creagen_jax import checkpoint, config, data, generation, models, optim, rundir, synthesis
from creagen_jax.data import pictures

FOLDER = Path(__file__).parent.parent / "configs"
every = pytest.mark.parametrize("name", sorted(config.available(FOLDER)))


@pytest.fixture(scope="module")
def with_data(tmp_path_factory):
    """An experiment with data at hand, made here instead of a set to be prepared: text, grey
    pictures in an .npz, and a folder of coloured ones."""
    folder = tmp_path_factory.mktemp("data")
    words = helpers.write_text(folder, 20_000)
    grey = helpers.write_pictures(folder, shape=(28, 28, 1), classes=10)
    with pictures.folder_writer(folder / "coloured") as file:
        made, _ = helpers.made_pictures(64, (32, 32, 3))
        file.add(made, None, [{}] * len(made))

    def with_data(experiment):
        own = {}
        if experiment.data.tfds:
            own["path"] = str(words if config.modality(experiment) == "text" else grey)
        elif experiment.data.path:
            own["path"] = str(folder / "coloured")
        # Samples are drawn below; to draw others on the way would compile one more program.
        return config.replace(experiment, data=own, train={"sample_every": 0})

    return with_data


def test_names_are_data_and_family():
    for name in config.available(FOLDER):
        assert name.rpartition("_")[2] == config.family(config.load(name, FOLDER))


@every
def test_first_line_and_round_trip(name):
    assert len(config.available(FOLDER)[name]) > 10
    for smoke in (False, True):
        experiment = config.load(name, FOLDER, smoke=smoke)
        assert config.from_json(config.to_json(experiment)) == experiment
        config.check(experiment)


@every
def test_the_config_builds(name, with_data):
    experiment = with_data(config.load(name, FOLDER))
    family = models.get(config.family(experiment))
    dataset = data.get(config.modality(experiment)).load(experiment.data)
    spec = dataset.spec(experiment.train.batch)
    tx = optim.make(experiment.optim, 10)

    def init():
        return family.init(jax.random.key(0), experiment.model, spec, tx)

    state = init() if family.HOST else jax.eval_shape(init)
    assert jax.tree.leaves(state.params)


@every
def test_the_smoke_trains_restores_and_samples(name, with_data, tmp_path):
    experiment, run = with_data(config.load(name, FOLDER, smoke=True)), tmp_path / "run"
    assert helpers.train(experiment, run) == 0
    assert checkpoint.steps(rundir.checkpoints(run))
    assert rundir.read(run)["experiment"] == experiment
    for line in helpers.metrics(run):
        assert np.isfinite([value for value in line.values() if not isinstance(value, str)]).all()
    model = generation.load(run)
    for leaf in jax.tree.leaves(model.params):
        assert leaf.dtype in (np.float32, np.int32) and np.isfinite(leaf).all()
    family = models.get(model.family)
    if family.KIND == "autoregressive":
        samples = generation.draw(model, generation.Request(length=20), num=2, seed=0)
        assert [sample.seed for sample in samples] == [0, 1]
        assert all(isinstance(each.text, str) and len(each.text) <= 20 for each in samples)
    else:
        way = {"sampling": synthesis.QUICK} if family.KIND == "diffusion" else {}
        request = synthesis.REQUESTS[family.KIND](**way)
        (samples,) = synthesis.draw(model, request, num=2, seed=0)
        assert samples.images.dtype == np.uint8 and samples.seeds.tolist() == [0, 1]
        assert samples.images.shape == (2, *model.codec.shape)
