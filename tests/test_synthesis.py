"""Pictures are drawn one by one, under control, and can be drawn again."""

import dataclasses
import itertools
import json
from functools import cache, partial

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax import models, synthesis
from creagen_jax.data import image, pictures
from creagen_jax.generation import Model
from creagen_jax.models import diffusion
from creagen_jax.sampling import solvers
from creagen_jax.sampling.solvers import Solving
from creagen_jax.sampling.tokens import keys_from_seeds
from creagen_jax.synthesis import Denoising, Drawing, Truncation, between, draw
from creagen_jax.types import UserError

SHAPE = (6, 8, 1)
QUICK = Solving(solver="euler", steps=4, sigma_max=5.0)
UNET = {"network": "unet", "levels": (1, 2), "patch": 1}
every = pytest.mark.parametrize("family", helpers.PICTURES)


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """make(family): a model with noisy parameters; of two classes, unless they are left out."""
    path = helpers.write_pictures(tmp_path_factory.mktemp("data"), shape=SHAPE)

    @cache
    def make(family, labels=True, **changes):
        module = models.get(family)
        cfg = module.Config(**{**helpers.PICTURES[family], **changes})
        dataset = image.load(image.Config(path=str(path), labels=labels))
        rng, init = np.random.default_rng(0), partial(module.init, tx=optax.identity())
        like = jax.eval_shape(lambda: init(jax.random.key(0), cfg, dataset.spec(4)).params)
        params = jax.tree.map(lambda p: jnp.asarray(rng.normal(0, 0.3, p.shape), jnp.float32), like)
        return Model(family, cfg, params, dataset.codec, 0, step=7)

    return make


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A picture of the models' shape, and masks: of its right half, and of nothing."""
    folder = tmp_path_factory.mktemp("files")
    (picture,), _ = helpers.made_pictures(1, SHAPE, classes=1)
    mask = np.zeros(SHAPE, np.uint8)
    pictures.write_png(folder / "none.png", mask, {})
    mask[:, 4:] = 255
    pictures.write_png(folder / "mask.png", mask, {})
    pictures.write_png(folder / "picture.png", picture, {})
    (folder / "text.png").write_text("no picture")
    return folder


def request_of(family, **changes):
    return Drawing(**changes) if family == "gan" else Denoising(**{"sampling": QUICK, **changes})


def images(model, request, num=3, seed=10):
    return np.concatenate([part.images for part in draw(model, request, num=num, seed=seed)])


def assert_alike(a, b):
    """Of two programs: the same, but for a pixel that rounding took to the next of its 256."""
    assert a.dtype == b.dtype == np.uint8
    assert np.abs(a.astype(int) - b).max() <= 1 and (a != b).mean() < 0.01


# --- reproducible --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "family, changes",
    [("gan", {"levels": (1, 2), "blocks": 1}), ("diffusion", UNET), ("diffusion", {})],
)
def test_a_sample_depends_on_its_own_seed_alone(make, family, changes):
    model, request = make(family, **changes), request_of(family)
    few, many = (list(draw(model, request, num=num, seed=10)) for num in (3, 70))
    assert [len(part.images) for part in many] == [len(part.labels) for part in many] == [64, 6]
    assert np.concatenate([part.seeds for part in many]).tolist() == list(range(10, 80))
    assert_alike(few[0].images, many[0].images[:3])
    np.testing.assert_array_equal(few[0].labels, many[0].labels[:3])
    assert_alike(images(model, request, num=3, seed=77), many[1].images[-3:])
    assert many[0].images.shape == (64, *SHAPE) and many[0].images.dtype == np.uint8
    assert len(np.unique(many[0].images, axis=0)) == 64


@every
def test_the_text_fields_of_a_sample_draw_it_again(make, family):
    model = make(family)
    sampling = Truncation(0.7) if family == "gan" else dataclasses.replace(QUICK, solver="ddim")
    request = request_of(family, sampling=sampling)
    (drawn,) = draw(model, request, num=3, seed=5)
    fields = drawn.about(model.codec)[1]
    settings = json.loads(fields["creagen_jax"])
    assert settings.pop("family") == family and settings.pop("checkpoint") == 7
    own = {each.name for each in dataclasses.fields(request)} - {"sampling", "label"}
    again = request_of(
        family,
        label=fields["label"],
        **{name: settings.pop(name) for name in own},
        sampling=type(sampling)(**{k: v for k, v in settings.items() if k != "label"}),
    )
    assert_alike(images(model, again, num=3, seed=int(fields["seed"]))[0], drawn.images[1])


def test_nothing_is_drawn_before_it_is_asked_for(make, monkeypatch):
    """So that the memory of sampling does not grow with the number of samples."""
    batches = []
    real = image.Codec.decode
    monkeypatch.setattr(
        image.Codec, "decode", lambda self, x: batches.append(len(x)) or real(self, x)
    )
    drawn = draw(make("gan"), Drawing(), num=10**6, seed=0)
    assert not batches
    assert [len(part.images) for part in itertools.islice(drawn, 2)] == batches == [64, 64]


# --- classes -------------------------------------------------------------------------------------


@every
def test_labels(make, family):
    model = make(family)
    (own,) = draw(model, request_of(family), num=64, seed=0)
    assert 16 < np.count_nonzero(own.labels) < 48
    for label in (0, 1):
        (drawn,) = draw(model, request_of(family, label=str(label)), num=64, seed=0)
        assert (drawn.labels == label).all()
        same = (drawn.images == own.images).all((1, 2, 3))
        assert (same == (own.labels == label)).all()
    (bare,) = draw(make(family, labels=False), request_of(family), num=3, seed=0)
    assert bare.labels is None and "label" not in bare.about(model.codec)[0]


@pytest.mark.parametrize("guidance", [0.0, 1.0, 3.0])
def test_guidance(make, guidance):
    """0 is the model without classes and 1 the one with them, exactly."""
    model, seeds = make("diffusion"), np.arange(10, 13)
    sampling = dataclasses.replace(QUICK, guidance=guidance)
    (drawn,) = draw(model, Denoising(sampling=sampling), num=3, seed=10)
    label_B = jnp.asarray(drawn.labels)

    @jax.jit
    def by_hand(keys_B):
        def D(x, sigma_B):
            of_none = diffusion.denoise(model.params, model.cfg, x, sigma_B, None)
            of_class = diffusion.denoise(model.params, model.cfg, x, sigma_B, label_B)
            return {0.0: of_none, 1.0: of_class}.get(
                guidance, of_none + guidance * (of_class - of_none)
            )

        x = solvers.initial(keys_B, SHAPE, QUICK.sigma_max)
        return solvers.solve(D, x, solvers.levels(QUICK), keys_B, QUICK)

    expected = by_hand(keys_from_seeds(jnp.asarray(seeds)))
    assert_alike(drawn.images, model.codec.decode(expected))


def test_truncation(make):
    model = make("gan")
    for label in ("0", "1"):
        still = images(model, Drawing(label, Truncation(0.0)), num=8)
        assert len(np.unique(still, axis=0)) == 1
        assert len(np.unique(images(model, Drawing(label), num=8), axis=0)) == 8
    both = images(model, Drawing(sampling=Truncation(0.0)), num=32)
    assert len(np.unique(both, axis=0)) == 2


# --- from a picture ------------------------------------------------------------------------------


def test_painting_leaves_what_is_known(make, files):
    model, picture = make("diffusion"), pictures.read_png(files / "picture.png")[..., :1]
    paths = {"image": str(files / "picture.png"), "mask": str(files / "mask.png")}
    painted = images(model, request_of("diffusion", **paths), num=8)
    np.testing.assert_array_equal(painted[:, :, :4], np.broadcast_to(picture[:, :4], (8, 6, 4, 1)))
    assert len(np.unique(painted[:, :, 4:], axis=0)) == 8
    paths["mask"] = str(files / "none.png")
    assert (images(model, request_of("diffusion", **paths)) == picture).all()


def test_strength_0_is_the_picture_and_more_leaves_it(make, files):
    model, picture = make("diffusion"), pictures.read_png(files / "picture.png")[..., :1]

    def drawn(strength):
        return images(
            model,
            request_of("diffusion", image=str(files / "picture.png"), strength=strength),
        )

    assert (drawn(0.0) == picture).all()
    half = drawn(0.5)
    assert (half != picture).any((1, 2, 3)).all() and len(np.unique(half, axis=0)) == 3
    np.testing.assert_array_equal(drawn(1.0), images(model, request_of("diffusion")))


# --- looking -------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [3, 24])
def test_the_film_of_a_diffusion_model_ends_with_the_samples(make, frames):
    model, request = make("diffusion"), request_of("diffusion")
    shown = list(synthesis.film(model, request, num=5, seed=10, frames=frames))
    assert len(shown) == min(frames, QUICK.steps) + 1
    assert {frame.shape for frame in shown} == {(5, *SHAPE)}
    assert_alike(shown[-1], images(model, request, num=5))
    assert (shown[0] != shown[-1]).any((1, 2, 3)).all()


def test_the_film_of_a_gan_goes_from_sample_to_sample_and_back(make):
    model, request = make("gan"), Drawing(label="1")
    shown = list(synthesis.film(model, request, num=3, seed=10, frames=99))
    assert len(shown) == 3 * synthesis.WALK
    assert {frame.shape for frame in shown} == {(1, *SHAPE)}
    assert_alike(np.concatenate(shown[:: synthesis.WALK]), images(model, request, num=3))
    assert len(np.unique(np.concatenate(shown), axis=0)) > 2 * synthesis.WALK


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.5, 1.0, 3.0]))
def test_the_way_between_two_latents(seed, ratio):
    a, b = np.random.default_rng(seed).normal(size=(2, 16)).astype(np.float32)
    b *= ratio * np.linalg.norm(a) / np.linalg.norm(b)
    path = np.asarray(between(jnp.asarray(a), jnp.asarray(b), jnp.linspace(0, 1, 9)))
    np.testing.assert_allclose(path[[0, -1]], [a, b], atol=1e-4)
    if ratio == 1:  # all are as long, and evenly spaced
        np.testing.assert_allclose(np.linalg.norm(path, axis=1), np.linalg.norm(a), rtol=1e-4)
        steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
        np.testing.assert_allclose(steps, steps[0], rtol=1e-3)
    still = between(jnp.asarray(a), jnp.asarray(a), jnp.linspace(0, 1, 9))
    np.testing.assert_allclose(still, np.broadcast_to(a, (9, 16)), rtol=1e-4)


def test_a_preview_has_all_classes_in_equal_numbers_and_is_always_the_same(make):
    model, half = make("gan"), synthesis.SHOWN // 2
    shown = synthesis.preview(model, seed=3)
    np.testing.assert_array_equal(shown, synthesis.preview(model, seed=3))
    of_0, of_1 = (images(model, Drawing(label), num=2 * half, seed=3) for label in ("0", "1"))
    assert_alike(shown, np.concatenate([of_0[:half], of_1[half:]]))
    bare = make("gan", labels=False)
    assert_alike(synthesis.preview(bare, seed=3), images(bare, Drawing(), num=2 * half, seed=3))
    denoised = synthesis.preview(make("diffusion"), seed=3)
    assert denoised.shape == shown.shape == (synthesis.SHOWN, *SHAPE)


def test_speed_counts_all_but_the_batch_that_compiles(make):
    speed = synthesis.Speed()
    parts = list(synthesis.timed(draw(make("gan"), Drawing(), num=70, seed=0), speed))
    assert [len(part.images) for part in parts] == [64, 6]
    assert speed.samples == 6 and speed.seconds > 0


# --- a user's mistakes ---------------------------------------------------------------------------


def solving(**changes):
    return {"sampling": dataclasses.replace(QUICK, **changes)}


@pytest.mark.parametrize(
    ("family", "changes", "num", "message"),
    [
        ("gan", {}, 0, "--num is 0; choose 1 or more"),
        ("gan", {"label": "2"}, 1, "no label '2'.* 0, 1"),
        ("gan", {"sampling": Truncation(-1.0)}, 1, "--truncation is -1.0; choose 0 or more"),
        ("gan", {"sampling": Truncation(float("nan"))}, 1, "--truncation is nan"),
        ("diffusion", {"label": "cat"}, 1, "no label 'cat'"),
        ("diffusion", solving(steps=0), 1, "steps is 0; choose 1 or more"),
        ("diffusion", solving(guidance=-1.0), 1, "guidance is -1.0"),
        ("diffusion", {"mask": "mask.png"}, 1, "--mask needs --image"),
        ("diffusion", {"strength": 0.5}, 1, "--strength goes with --image"),
        ("diffusion", {"image": "picture.png", "strength": 1.5}, 1, "--strength is 1.5"),
        ("diffusion", {"image": "text.png"}, 1, r"cannot read .*text\.png"),
        ("diffusion", {"image": "absent.png"}, 1, r"cannot read .*absent\.png"),
        ("diffusion", {"image": "picture.png", "mask": "text.png"}, 1, r"cannot read .*text\.png"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_drawn(make, files, family, changes, num, message):
    paths = {key: str(files / changes[key]) for key in ("image", "mask") if key in changes}
    with pytest.raises(UserError, match=message) as error:
        draw(make(family), request_of(family, **{**changes, **paths}), num=num, seed=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": False}, "--guidance 2 needs a model with classes; .* without labels"),
        ({"label_dropout": 0.0}, r"--guidance 2 needs .*\(--model.label_dropout above 0\)"),
    ],
)
def test_guidance_of_a_model_that_has_none(make, changes, message):
    with pytest.raises(UserError, match=message):
        draw(make("diffusion", **changes), Denoising(**solving(guidance=2.0)), num=1, seed=0)


def test_seeds_out_of_range(make):
    for seed in (-1, 2**31 - 1):
        with pytest.raises(UserError, match="--seed"):
            draw(make("gan"), Drawing(), num=2, seed=seed)
