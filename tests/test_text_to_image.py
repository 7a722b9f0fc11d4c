"""Diffusion from captions: what the family promises, and sample.py --prompt."""

import dataclasses

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from creagen_jax import config, evaluation, generation, retrieving, synthesis
from creagen_jax.config import Experiment, Optim, Train
from creagen_jax.data import captioned
from creagen_jax.models import diffusion
from creagen_jax.types import Spec, TrainState, UserError

SPEC = Spec(shape=(8, 8, 3), source=6, source_vocab=12)
SOURCE = np.array([[3, 4, 5, 0, 0, 0], [5, 4, 3, 0, 0, 0], [0, 0, 0, 0, 0, 0]], np.int32)
NETWORKS = {"unet": {"levels": (1, 2)}, "dit": {"depth": 1}}
TX = optax.sgd(0.01)
both = pytest.mark.parametrize("name", NETWORKS)


def model_of(name, **changes):
    return diffusion.Config(
        network=name, width=8, heads=2, patch=2, source_depth=1, **NETWORKS[name], **changes
    )


def params_of(name, spec=SPEC):
    like = jax.eval_shape(lambda: diffusion.init(jax.random.key(0), model_of(name), spec, TX))
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.2, leaf.shape), leaf.dtype), like.params
    )


@both
def test_the_source_is_read(name):
    params, x = params_of(name), jnp.ones((3, 8, 8, 3))
    denoise = jax.jit(
        lambda source: diffusion.denoise(params, model_of(name), x, jnp.ones(3), source)
    )
    found = np.asarray(denoise(SOURCE))
    assert found.shape == x.shape and np.isfinite(found).all()
    assert np.abs(found[0] - found[1]).max() > 1e-4  # in the order of its words
    padded = np.pad(SOURCE, ((0, 0), (0, 2)))
    np.testing.assert_allclose(found, denoise(padded), atol=1e-4)
    np.testing.assert_allclose(found[2], np.asarray(denoise(None))[2], atol=1e-4)


@both
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_withheld_sources_teach_nothing(name, share):
    cfg, rng = model_of(name, source_dropout=share), jax.random.key(0)
    state = TrainState.create(params_of(name), TX)
    step = jax.jit(diffusion.make_step(cfg, SPEC, TX))
    batch = {"x": jnp.ones((3, 8, 8, 3)), "source": SOURCE}
    losses = [
        float(step(state, {**batch, "source": s}, rng)[1]["loss"]) for s in (SOURCE, 0 * SOURCE)
    ]
    assert (losses[0] == losses[1]) == (share == 1.0)


def test_classes_and_sources_are_not_told_both():
    with pytest.raises(UserError, match="not both"):
        spec = dataclasses.replace(SPEC, classes=2)
        diffusion.init(jax.random.key(0), model_of("dit"), spec, TX)


def test_without_sources_nothing_has_changed():
    params = params_of("unet", dataclasses.replace(SPEC, source=0, source_vocab=0))
    assert not [name for name in helpers.arrays(params) if "look" in name or "encoder" in name]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    colors = {"red": (255, 0, 0), "blue": (0, 0, 255), "green": (0, 255, 0), "grey": (99, 99, 99)}
    for color, rgb in colors.items():
        for i, size in enumerate(("big", "small", "wide", "high", "round")):
            Image.new("RGB", (8, 8), rgb).save(folder / f"{size}_{color}_{i}.png")
            image = Image.open(folder / f"{size}_{color}_{i}.png")
            image.putpixel((i, i), (9 * i, 0, 9))
            image.save(folder / f"{size}_{color}_{i}.png")
    return Experiment(
        data=captioned.Config(path=str(folder), length=8, vocab=300, flip=True, probe=0.0),
        model=model_of("dit"),
        optim=Optim(learning_rate=1e-2, warmup=2),
        train=Train(steps=8, batch=8, log_every=2, eval_every=4, eval_windows=8, save_every=4),
    )


@pytest.fixture(scope="module")
def run(experiment, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "run"
    assert helpers.train(experiment, run) == 0
    return run


def draw(run, num=3, seed=0, **fields):
    request = synthesis.Denoising(**{"sampling": synthesis.QUICK, **fields})
    model = generation.load(run)
    parts = list(synthesis.draw(model, request, num=num, seed=seed))
    return model, request, parts


def test_prompts_are_taken_in_turn(run):
    model, _, (samples,) = draw(run, prompt=("a Big blue", "small red"))
    assert samples.prompts == ("a Big blue", "small red", "a Big blue")
    assert [each["prompt"] for each in samples.about(model.codec)] == list(samples.prompts)
    _, _, (second,) = draw(run, num=1, seed=1, prompt=("a Big blue", "small red"))
    assert second.prompts == ("small red",)
    difference = samples.images[1].astype(int) - second.images[0]
    assert np.abs(difference).max() <= 1  # another batch size: another order of sums
    _, _, (own,) = draw(run)
    assert set(own.prompts) <= set(model.codec.examples)


def test_guidance_of_sources(run):
    way = dataclasses.replace(synthesis.QUICK, guidance=3.0)
    _, _, (guided,) = draw(run, prompt=("small red",), sampling=way)
    _, _, (plain,) = draw(run, prompt=("small red",))
    assert not np.array_equal(guided.images, plain.images)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"prompt": (" ",)}, "--prompt is empty"),
        ({"prompt": ("wörter " * 9,)}, "reads at most 7"),
        ({"label": "red"}, "without labels"),
    ],
)
def test_prompts_that_cannot_be_read(run, fields, says):
    with pytest.raises(UserError, match=says):
        draw(run, **fields)


def test_a_model_without_captions_reads_no_prompt(tmp_path):
    pictures = helpers.write_pictures(tmp_path)
    exp = config.replace(helpers.experiment("diffusion", pictures), train={"steps": 4})
    assert helpers.train(exp, tmp_path / "run") == 0
    with pytest.raises(UserError, match="reads none"):
        draw(tmp_path / "run", prompt=("x",))


def test_evaluation_asks_for_held_out_captions(run, monkeypatch, capsys):
    monkeypatch.setattr(retrieving, "STEPS", 2)
    request = dataclasses.replace(evaluation.request_of([run]), sampling=synthesis.QUICK)
    cfg = evaluation.Config(num=24)
    found = evaluation.of_run(run, request, cfg)
    held = retrieving.questions(generation.training_data(run))
    assert found.protocol["sampling"]["prompt"] == held
    few = found.metrics["recall_at_10"]
    assert few.n == len(held) and "too few" in few.note
    assert "recall_at_10" in found.anchors["held-out"].metrics
