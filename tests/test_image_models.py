"""The two families of pictures: what their contract promises, and what holds while they train."""

from functools import cache

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_same, experiment
from scipy.spatial.distance import cdist

from creagen_jax import checkpoint, config, generation, models, scoring, training
from creagen_jax.functional import diffusion as mathematics
from creagen_jax.models import diffusion, gan
from creagen_jax.types import Spec, UserError

B, CLASSES, AUGMENT = 4, 3, 2
SPEC = Spec(shape=(8, 8, 1), classes=CLASSES, augment=AUGMENT)
NETWORKS = {  # the family and its tiny configuration
    "gan": ("gan", {"levels": (1, 2), "blocks": 1}),
    "unet": ("diffusion", {"network": "unet", "patch": 1}),
    "dit": ("diffusion", {"objective": "flow"}),
}
TX, ADAM = optax.sgd(0.01), optax.adam(0.005, b1=0.5)
SIGMA = [0.1, 0.5, 2.0, 9.0]
SMALLEST = {
    "gan": {"levels": (1,), "blocks": 0},
    "unet": {"levels": (1,)},
    "dit": {"depth": 0},
}
every = pytest.mark.parametrize("name", NETWORKS)
denoisers = pytest.mark.parametrize("name", ["unet", "dit"])
families = pytest.mark.parametrize("family", helpers.PICTURES)


def network(name, **changes):
    """A family's module and its configuration."""
    family, own = NETWORKS[name]
    module = models.get(family)
    return module, module.Config(**{**helpers.PICTURES[family], **own, **changes})


def make_batch(spec=SPEC):
    rng = np.random.default_rng(0)
    batch = {"x": rng.uniform(-1, 1, (B, *spec.shape)).astype(np.float32)}
    if spec.classes:
        batch["condition"] = np.arange(B, dtype=np.int32) % spec.classes
    if spec.augment:
        batch["augment"] = rng.uniform(-1, 1, (B, spec.augment)).astype(np.float32)
    return batch


@cache
def begun(name, spec=SPEC, tx=TX, **changes):
    """A state whose parameters are not special: several start at zero, which would hide mistakes.
    To compile the true beginning would take longer than the rest."""
    module, cfg = network(name, **changes)
    like = jax.eval_shape(lambda: module.init(jax.random.key(0), cfg, spec, tx))
    rng = np.random.default_rng(0)

    def noise(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 10
        return jnp.asarray(rng.normal(0, fan_in**-0.5, leaf.shape), jnp.float32)

    zeros = jax.tree.map(lambda leaf: jnp.asarray(np.zeros(leaf.shape, leaf.dtype)), like)
    return zeros.replace(params=jax.tree.map(noise, like.params))


def trained(name):
    return begun(name).params


@cache
def compiled_step(name, spec=SPEC, tx=TX, **changes):
    module, cfg = network(name, **changes)
    return jax.jit(module.make_step(cfg, spec, tx))


def as_numpy(tree):
    return jax.tree.map(np.asarray, tree)


@cache
def drawer(name, **changes):
    """(params, x, label_B) -> pictures [B, H, W, C], compiled, of what `source` gives as x."""
    module, cfg = network(name, **changes)

    def draw(params, x, label_B):
        if module is gan:
            return gan.generate(params, cfg, x, label_B)
        return diffusion.denoise(params, cfg, x, jnp.array(SIGMA), label_B)

    draw = jax.jit(draw)
    return lambda *args: np.asarray(draw(*args))


def source(name, shape=SPEC.shape):
    """What a network starts from: latents, or noisy pictures."""
    shape = (network(name)[1].latent,) if name == "gan" else shape
    return np.random.default_rng(1).normal(size=(B, *shape)).astype(np.float32)


LABELS = make_batch()["condition"]


@cache
def evaluator(name):
    return scoring.evaluator(*network(name))


def change(a, b):
    """The largest difference within each row [B]."""
    return np.abs(a - b).reshape(len(a), -1).max(1)


# --- the contract --------------------------------------------------------------------------------


@every
def test_a_step_and_an_evaluation_keep_shapes_and_types(name):
    state = begun(name, tx=ADAM)
    new, metrics = as_numpy(compiled_step(name, tx=ADAM)(state, make_batch(), jax.random.key(0)))
    assert jax.tree.map(np.shape, new) == jax.tree.map(np.shape, state)
    for leaf in jax.tree.leaves(new.params):
        assert leaf.dtype == np.float32 and np.isfinite(leaf).all()
    assert {"loss", "grad_norm"} <= metrics.keys()
    assert all(value.shape == () and np.isfinite(value) for value in metrics.values())
    for key, leaf in helpers.arrays(new.params).items():
        assert (leaf != helpers.arrays(state.params)[key]).any(), key
    scores = as_numpy(evaluator(name)(new.params, {**make_batch(), "mask": np.ones(B)}))
    assert ("loss" in scores) == (name != "gan")
    for value in scores.values():
        assert value.shape == (B,) and value.dtype == np.float32 and np.isfinite(value).all()
    np.testing.assert_array_equal(scores["weight"], 1)


@every
def test_the_first_parameters_follow_from_the_key(name):
    module, cfg = network(name, **SMALLEST[name])
    init = jax.jit(lambda seed: module.init(jax.random.key(seed), cfg, SPEC, TX).params)
    first, same, other = (helpers.arrays(init(seed)) for seed in (0, 0, 1))
    assert_same(first, same)
    for key, leaf in first.items():
        assert np.isfinite(leaf).all() and leaf.dtype == np.float32
        assert (leaf != other[key]).any() or not leaf.any(), key
    if name != "gan":  # before training, the estimate is the best linear one
        y, p = source(name), mathematics.PRECONDITIONS[cfg.objective](jnp.array(SIGMA), 0.5)
        D = drawer(name, **SMALLEST[name])(init(0), y, LABELS)
        np.testing.assert_allclose(D, p.c_skip[:, None, None, None] * y, rtol=1e-5)


def test_a_compiled_step_is_the_plain_step():
    spec, changes = Spec(shape=(4, 4, 1)), {**SMALLEST["gan"], "r1": 0.0, "r2": 0.0}
    args = begun("gan", spec, **changes), make_batch(spec), jax.random.key(0)
    module, cfg = network("gan", **changes)
    plain = module.make_step(cfg, spec, TX)(*jax.tree.map(jnp.asarray, args))
    compiled = compiled_step("gan", spec, **changes)(*args)
    ours, theirs = (helpers.arrays(each) for each in (compiled, plain))
    for key, value in theirs.items():
        np.testing.assert_allclose(ours[key], value, rtol=1e-3, atol=1e-5, err_msg=key)


@every
def test_a_row_does_not_depend_on_the_others(name):
    draw, x = drawer(name), source(name)
    before = draw(trained(name), x, LABELS)
    other, labels = x[::-1].copy(), (LABELS + 1) % CLASSES
    other[0], labels[0] = x[0], LABELS[0]
    after = draw(trained(name), other, labels)
    np.testing.assert_allclose(after[0], before[0], rtol=1e-5, atol=1e-6)
    assert (change(after, before)[1:] > 0.1).all()
    assert before.shape == (B, *SPEC.shape) and before.dtype == np.float32


def test_a_logit_does_not_depend_on_the_other_rows():
    """Or else R1 and R2 would not be the slopes of each example."""
    _, cfg = network("gan")
    batch = make_batch()

    @jax.jit
    @jax.jacrev
    def slopes(x):
        told = (jnp.asarray(batch[key]) for key in ("condition", "augment"))
        return gan._critic(trained("gan"), cfg, *told)(x)

    reach_BB = np.abs(slopes(batch["x"])).sum((2, 3, 4))
    assert ((reach_BB > 0) == np.eye(B, dtype=bool)).all()


@every
def test_a_label_changes_the_picture(name):
    draw, x = drawer(name), source(name)
    pictures = [draw(trained(name), x, labels) for labels in (LABELS, (LABELS + 1) % CLASSES)]
    assert (change(*pictures) > 1e-3).all()


@denoisers
def test_no_condition_is_a_class_of_its_own(name):
    draw, x = drawer(name), source(name)
    *of_class, of_none = (
        draw(trained(name), x, np.full(B, label, np.int32)) for label in range(CLASSES + 1)
    )
    np.testing.assert_array_equal(draw(trained(name), x, None), of_none)
    assert all((change(of_none, other) > 1e-3).all() for other in of_class)


@every
def test_augmentation_is_told_to_the_network_and_samples_are_told_of_none(name):
    module, cfg = network(name)
    x, params = source(name), trained(name)

    @jax.jit
    def told(x, label_B, augment_BA):
        if module is gan:
            return gan._generate(params, cfg, x, label_B, augment_BA)
        p = mathematics.PRECONDITIONS[cfg.objective](jnp.array(SIGMA), cfg.sigma_data)
        return diffusion._denoise(params, cfg, p, x, label_B, augment_BA, None)

    drawn = drawer(name)(params, x, LABELS)
    none = np.zeros((B, AUGMENT), np.float32)
    np.testing.assert_allclose(told(x, LABELS, none), drawn, rtol=1e-5, atol=1e-6)
    for row in np.eye(AUGMENT, dtype=np.float32):
        assert (change(told(x, LABELS, none + row), drawn) > 1e-3).all()


@every
def test_rows_that_only_pad_do_not_count(name):
    batch = {**make_batch(), "mask": np.array([1, 1, 0, 0], np.float32)}
    other = {key: np.concatenate([value[:2], 0 * value[2:]]) for key, value in batch.items()}
    ours, theirs = (as_numpy(evaluator(name)(trained(name), each)) for each in (batch, other))
    for key in ours:
        np.testing.assert_allclose(theirs[key], ours[key], rtol=1e-4, atol=1e-5, err_msg=key)
        assert not ours[key][2:].any() and ours[key][:2].all()


@every
def test_bfloat16_is_close(name):
    exact = drawer(name)(trained(name), source(name), LABELS)
    low = drawer(name, dtype="bfloat16")(trained(name), source(name), LABELS)
    assert low.dtype == np.float32
    assert np.abs(low - exact).mean() < 0.03 * np.abs(exact).mean()


# --- pictures of other sizes ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, shape, classes, changes",
    [
        ("unet", (9, 12, 3), 1, {"levels": (1, 2, 2)}),  # sides of 9, 5 and 3
        ("unet", (6, 4, 2), 0, {"patch": 2, "blocks": 2}),
        ("dit", (9, 12, 3), 1, {"patch": 3}),
        ("dit", (2, 4, 1), 0, {}),
        ("gan", (8, 12, 3), 1, {"patch": 2}),
        ("gan", (5, 3, 1), 0, {"levels": (1,)}),
    ],
)
def test_odd_and_oblong_pictures_and_one_class_or_none(name, shape, classes, changes):
    spec = Spec(shape=shape, classes=classes)
    state, batch = begun(name, spec, **changes), make_batch(spec)
    x = drawer(name, **changes)(state.params, source(name, shape), batch.get("condition"))
    assert x.shape == (B, *shape) and np.isfinite(x).all()
    new, _ = jax.eval_shape(compiled_step(name, spec, **changes), state, batch, jax.random.key(0))
    assert jax.tree.map(np.shape, new) == jax.tree.map(np.shape, state)


@pytest.mark.parametrize(
    "name, shape, changes, message",
    [
        ("unet", (9, 8, 1), {"patch": 2}, "--model.patch 2 does not divide pictures of 9 x 8"),
        ("dit", (8, 8, 1), {"patch": 0}, "--model.patch 0 does not divide"),
        ("unet", (8, 8, 1), {"heads": 3}, "--model.heads 3 does not divide a width of 16"),
        ("dit", (8, 8, 1), {"heads": 3}, "--model.heads 3 does not divide a width of 8"),
        ("unet", (8, 8, 1), {"label_dropout": 1.5}, "--model.label_dropout is 1.5; choose 0 to 1"),
        ("gan", (10, 8, 1), {"levels": (1, 1, 1)}, "10 x 8 cannot be halved 2 times .* of 4"),
        ("gan", (8, 8, 1), {"patch": 3}, "in patches of 3"),
        ("gan", (8, 8, 1), {"patch": 0}, "in patches of 0"),
        ("gan", (8, 8, 1), {"penalised": 0.0}, "--model.penalised is 0.0; choose above 0, to 1"),
        ("gan", (8, 8, 1), {"penalised": 1.5}, "--model.penalised is 1.5"),
        ("gan", (8, 8, 1), {"discriminator_steps": 0}, "--model.discriminator_steps is 0"),
        ("gan", (8, 8, 1), {"augment": ("colour",)}, "no augmentation 'colour'; choose from color"),
    ],
)
def test_networks_that_cannot_be(name, shape, changes, message):
    module, cfg = network(name, **changes)
    with pytest.raises(UserError, match=message) as error:
        module.init(jax.random.key(0), cfg, Spec(shape=shape), TX)
    assert "\n" not in str(error.value)


# --- the game of a GAN ---------------------------------------------------------------------------

COUNTED = optax.scale_by_schedule(lambda count: -0.01)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "minimax", "discriminator_rate": 0.0},
        {"loss": "non_saturating", "augment": ("color", "translation", "cutout")},
        {"loss": "hinge", "r1": 4.0, "r2": 0.0, "penalised": 0.5},
        {"loss": "wasserstein", "gradient_penalty": 10.0, "discriminator_steps": 2},
        {"loss": "relativistic", "r1": 0.0, "r2": 0.0},
    ],
    ids=lambda changes: changes["loss"],
)
def test_every_game(changes):
    _, cfg = network("gan", **SMALLEST["gan"], **changes)
    state = begun("gan", tx=COUNTED, **SMALLEST["gan"])
    step, batch = compiled_step("gan", tx=COUNTED, **SMALLEST["gan"], **changes), make_batch()
    new, metrics = as_numpy(step(state, batch, jax.random.key(0)))
    finite = jax.tree.map(lambda leaf: np.isfinite(leaf).all(), (new, metrics))
    assert all(jax.tree.leaves(finite))
    updates = {part: int(new.opt_state[part].count) for part in new.params}
    assert updates == {"generator": 1, "discriminator": cfg.discriminator_steps}
    for part in new.params:
        before, after = (helpers.arrays(each.params[part]) for each in (state, new))
        still = part == "discriminator" and not cfg.discriminator_rate
        assert still == all(np.array_equal(after[key], before[key]) for key in before)
    if cfg.loss == "hinge":  # R1 at half of the batch
        told = (jnp.asarray(batch[key][:2]) for key in ("condition", "augment"))
        critic = gan._critic(state.params, cfg, *told)
        slope = jax.jit(jax.grad(lambda x: critic(x).sum()))(jnp.asarray(batch["x"][:2]))
        r1 = cfg.r1 / 2 * np.square(slope).sum((1, 2, 3)).mean()
        np.testing.assert_allclose(metrics["penalty"], r1, rtol=1e-4)
    assert (metrics["penalty"] > 0) == (cfg.loss != "relativistic")


def test_a_batch_that_does_not_divide():
    step = compiled_step("gan", discriminator_steps=3)
    message = "a batch of 4 does not divide into 3 --model.discriminator_steps; choose a multiple"
    with pytest.raises(UserError, match=message):
        jax.eval_shape(step, begun("gan"), make_batch(), jax.random.key(0))


def distances_of(monkeypatch, x, fake, mask):
    """The means that `eval_metrics` gives, if the generator draws `fake`."""
    monkeypatch.setattr(gan, "generate", lambda *_: jnp.asarray(fake))
    batch = {"x": jnp.asarray(x), "mask": jnp.asarray(mask, jnp.float32)}
    sums = gan.eval_metrics(None, network("gan")[1], batch, jax.random.key(0))
    totals = {key: float(value.sum()) for key, value in sums.items()}
    return {key: total / totals["weight"] for key, total in totals.items()}


def test_distances_are_those_of_all_pairs_of_rows_that_count(monkeypatch):
    x, fake = np.random.default_rng(0).normal(size=(2, 6, 3, 2, 1)).astype(np.float32)
    found = distances_of(monkeypatch, x, fake, [1, 1, 0, 1, 1, 0])
    kept = [x[[0, 1, 3, 4]].reshape(4, -1), fake[[0, 1, 3, 4]].reshape(4, -1)]
    others = ~np.eye(4, dtype=bool)

    def mean(a, b):
        return (cdist(a, b) / np.sqrt(6))[others].mean()

    expected = {
        "energy_distance": 2 * mean(*kept) - mean(kept[0], kept[0]) - mean(kept[1], kept[1]),
        "variety": mean(kept[1], kept[1]),
        "variety_of_data": mean(kept[0], kept[0]),
        "weight": 1,
    }
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_energy_distance_is_0_for_samples_like_the_data_and_large_for_others(monkeypatch):
    rng = np.random.default_rng(0)
    x, alike = rng.uniform(-1, 1, (2, 512, 8)).astype(np.float32)
    same, noise, few = x.copy(), 3 * alike, np.tile(x[:1], (512, 1))
    found = [
        distances_of(monkeypatch, x, fake, np.ones(512))["energy_distance"]
        for fake in (same, alike, noise, few)
    ]
    assert abs(found[0]) < 1e-5 and abs(found[1]) < 0.01
    assert found[2] > 0.3 and found[3] > 0.3


# --- learning ------------------------------------------------------------------------------------


def two_pictures():
    """The batch of two constant pictures, one of each of two classes."""
    batch = make_batch()
    batch["condition"] = np.arange(B, dtype=np.int32) % 2
    batch["x"] = np.broadcast_to(batch["condition"].reshape(B, 1, 1, 1) - 0.5, batch["x"].shape)
    return {**batch, "augment": 0 * batch["augment"]}


@every
def test_training_lowers_what_it_should(name):
    """The loss of a denoiser, and how far the samples of a GAN are from the data: by the average of
    the parameters, around which those of a GAN go in circles."""
    batch, state, step = two_pictures(), begun(name, tx=ADAM), compiled_step(name, tx=ADAM)
    batch = {key: jnp.asarray(value) for key, value in batch.items()}
    what = "energy_distance" if name == "gan" else "loss"

    def score(params):
        return float(evaluator(name)(params, {**batch, "mask": jnp.ones(B)})[what].mean())

    before, average = score(state.params), state.params
    for number in range(240):
        state, _ = step(state, batch, jax.random.key(number))
        average = optax.incremental_update(state.params, average, 0.05)
    assert score(average) < 0.5 * before


# --- the loop ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """made(family) -> the experiment: two classes, augmentation, an average."""
    path = helpers.write_pictures(tmp_path_factory.mktemp("data"))
    return lambda family: experiment(family, path, optim={"ema": 0.9, "clip": 0.0})


@pytest.fixture(scope="module")
def job(made):
    """job(family) -> a Job, its first state, and its step."""

    @cache
    def job(family):
        job = training.prepare(made(family))
        return job, *training._build(job)

    return job


@families
def test_a_run_stopped_and_resumed_is_the_run_without_a_stop(family, job, tmp_path, capsys):
    (job, like, _), one, two = job(family), tmp_path / "one", tmp_path / "two"
    exp = job.experiment
    assert helpers.train(exp, one) == 0
    assert helpers.train(exp, two, stop_at=3) == 0
    assert helpers.train(exp, two) == 0
    assert "resuming at step 3 of 8" in capsys.readouterr().out
    states = [
        helpers.arrays(checkpoint.restore(run / "checkpoints" / "8", like)[0]) for run in (one, two)
    ]
    assert_same(*states)
    assert all(key.replace(".params", ".ema") in states[0] for key in states[0])
    lines = [helpers.metrics(run) for run in (one, two)]
    assert helpers.without_seconds(lines[0]) == helpers.without_seconds(lines[1])
    held_out = [line for line in lines[0] if line["split"] != "train"]
    score = "energy_distance" if family == "gan" else "loss"
    assert len(held_out) == 4 and all(np.isfinite(line[score]) for line in held_out)
    if family == "gan":
        parts = {key.split("'")[1] for key in states[0] if key.startswith(".opt_state")}
        assert parts == {"generator", "discriminator"}
        assert generation.load(one).step == 8  # there is no loss to say which is best


def test_a_nan_of_the_discriminator_alone_leaves_the_generator_too(job):
    """A moment of its optimizer is poisoned, of a class that is not in the batch: the generator
    never meets what comes of it."""
    job, state, step = job("gan")
    batch = job.modality.train_batch(job.dataset, seed=0, step=0, size=8)
    batch["condition"] = np.zeros(8, np.int32)

    def poisoned(path, leaf):
        leaf = np.array(leaf)
        name = jax.tree_util.keystr(path)
        if "['discriminator']" in name and ".mu['embed_label']" in name:
            leaf[1] = np.nan
        return jnp.asarray(leaf)

    state = jax.tree_util.tree_map_with_path(poisoned, state)
    before = helpers.arrays(state)
    new, metrics = step(state, batch)
    assert np.isfinite([float(metrics[key]) for key in ("loss", "grad_norm", "penalty")]).all()
    assert sum(np.isnan(leaf).any() for leaf in before.values()) == 1
    assert_skipped(before, helpers.arrays(new))


@families
def test_a_picture_that_is_not_finite_is_skipped(family, job):
    job, state, step = job(family)
    state = jax.tree.map(jnp.copy, state)
    batch = job.modality.train_batch(job.dataset, seed=0, step=0, size=8)
    batch["x"][3, 2, 1] = np.nan
    before = helpers.arrays(state)
    new, _ = step(state, batch)
    assert_skipped(before, helpers.arrays(new))


def assert_skipped(before, after):
    same = {key for key in before if np.array_equal(before[key], after[key], equal_nan=True)}
    assert set(before) - same == {".step", ".skipped", ".skipped_in_row"}


@families
def test_a_batch_larger_than_the_data(family, job, tmp_path):
    path = helpers.write_pictures(tmp_path, 5)
    few = training.prepare(
        config.replace(
            job(family)[0].experiment,
            data={"path": str(path), "validation": 0.0, "test": 0.0, "probe": 0.0},
        )
    )
    assert few.modality.windows(few.dataset, "train") == 5
    state, step = training._build(few)
    for number in range(2):
        batch = few.modality.train_batch(few.dataset, seed=0, step=number, size=8)
        assert len(np.unique(batch["x"], axis=0)) >= 5
        state, metrics = step(state, batch)
    assert np.isfinite(float(metrics["loss"])) and int(state.skipped) == 0


def test_a_collapse_is_warned_of(made, tmp_path, monkeypatch, capsys):
    scores = {"energy_distance": 0.3, "variety": 0.1, "variety_of_data": 0.5}
    monkeypatch.setattr(training, "_evaluator", lambda job: lambda *_, **__: scores)
    assert helpers.train(made("gan"), tmp_path / "run", stop_at=4) == 0
    warning = "warning: samples vary 20% as much as the data: the generator collapses"
    assert capsys.readouterr().out.count(warning) == 1
    scores["variety"] = 0.3
    assert helpers.train(made("gan"), tmp_path / "run") == 0
    assert "collapses" not in capsys.readouterr().out
