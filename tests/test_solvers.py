"""Solvers against distributions whose denoiser is known, and against their papers step by step."""

import dataclasses
import functools
import itertools
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax.sampling import solvers
from creagen_jax.sampling.solvers import Solving, guided, initial, levels, solve, start, validate
from creagen_jax.types import UserError

SOLVERS, SCHEDULES = get_args(solvers.Solver), get_args(solvers.Schedule)
STOCHASTIC = Solving("ddim", eta=0.5), Solving("ancestral"), Solving("churn")
CENTER = np.array([[-0.5, 0.3], [0.6, -0.2]])  # of the two Gaussians of a mixture in the plane
DEVIATION = np.array([0.1, 0.2])
WEIGHT = np.array([0.3, 0.7])
fast = settings(max_examples=20, deadline=None)


def denoise(x, sigma_B, np=jnp):
    """The mean of what is clean, given x: of each Gaussian, weighted by how likely it is."""
    variance_BK = DEVIATION**2 + sigma_B[:, None] ** 2
    offset_BK2 = x[:, None] - CENTER
    log_BK = np.log(WEIGHT) - (offset_BK2**2).sum(-1) / 2 / variance_BK - np.log(variance_BK)
    likely_BK = np.exp(log_BK - log_BK.max(1)[:, None])
    likely_BK = likely_BK / likely_BK.sum(1)[:, None]
    mean_BK2 = CENTER + (DEVIATION**2 / variance_BK)[..., None] * offset_BK2
    return (likely_BK[..., None] * mean_BK2).sum(1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


noise = jax.jit(initial, static_argnums=(1, 2))


def draw_plainly(how, n=4, model=denoise, known=None, trajectory=0):
    """n samples of [2] from the top."""
    x = initial(keys(n), (2,), how.sigma_max)
    return solve(model, x, levels(how), keys(n), how, known=known, trajectory=trajectory)


draw = jax.jit(draw_plainly, static_argnames=("how", "n", "model", "trajectory"))


@functools.partial(jax.jit, static_argnames=("how", "steps", "model"))
def go_on(how, x, keys_B, steps=None, model=denoise):
    """From x on, with the last `steps` steps."""
    steps = how.steps if steps is None else steps
    return solve(model, x, levels(how)[how.steps - steps :], keys_B, how)


# --- the denoiser of the tests -------------------------------------------------------------------


def test_the_denoiser_is_the_posterior_mean():
    rng = np.random.default_rng(0)
    clean = CENTER[rng.choice(2, 200_000, p=WEIGHT)]
    clean = clean + rng.normal(size=clean.shape) * DEVIATION[(clean == CENTER[1]).all(1) * 1, None]
    x = np.array([[0.0, 0.1], [0.5, -0.4]])
    for sigma in (0.2, 1.0):
        weight = np.exp(-((x[:, None] - clean) ** 2).sum(-1) / 2 / sigma**2)
        expected = weight @ clean / weight.sum(1)[:, None]
        np.testing.assert_allclose(denoise(x, np.full(2, sigma), np), expected, atol=0.01)


# --- noise levels --------------------------------------------------------------------------------


@fast
@given(
    st.sampled_from(SCHEDULES), st.integers(2, 300), st.floats(1e-3, 0.5), st.floats(1.5, 1000.0)
)
def test_levels_descend_from_end_to_end(schedule, steps, low, ratio):
    how = Solving(schedule=schedule, steps=steps, sigma_min=low, sigma_max=low * ratio)
    validate(how)
    sigmas = levels(how)
    assert sigmas.shape == (steps + 1,) and sigmas.dtype == np.float32
    assert (np.diff(sigmas) < 0).all() and sigmas[-1] == 0
    np.testing.assert_allclose(sigmas[[0, -2]], [low * ratio, low], rtol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_one_step_goes_from_the_highest_level_to_zero(schedule):
    np.testing.assert_allclose(levels(Solving(schedule=schedule, steps=1)), [80, 0], rtol=1e-5)


def test_levels_are_those_of_the_papers():
    def made(schedule):
        how = Solving(schedule=schedule, steps=9, sigma_min=0.02, sigma_max=20.0)
        return levels(how)[:-1].astype(np.float64)

    i = np.arange(9)
    karras = (20 ** (1 / 7) + i / 8 * (0.02 ** (1 / 7) - 20 ** (1 / 7))) ** 7
    np.testing.assert_allclose(made("karras"), karras, rtol=1e-5)
    np.testing.assert_allclose(made("exponential"), 20 * 1e-3 ** (i / 8), rtol=1e-5)
    # alpha_bar = 1 / (1 + sigma^2) is cos^2 of even angles, and t = sigma / (1 + sigma) is even.
    angle = np.arccos(1 / np.sqrt(1 + made("cosine") ** 2))
    np.testing.assert_allclose(np.diff(angle), np.diff(angle).mean(), rtol=1e-4)
    time = made("flow") / (1 + made("flow"))
    np.testing.assert_allclose(np.diff(time), np.diff(time).mean(), rtol=1e-4)
    # The 1000 betas of Ho et al. 2020: even steps between two of them.
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    sigma = np.sqrt(1 / alpha_bar - 1)
    how = Solving(schedule="vp", steps=10, sigma_min=float(sigma[99]), sigma_max=float(sigma[999]))
    np.testing.assert_allclose(levels(how)[:-1], sigma[999:98:-100], rtol=0.01)


# --- solvers: what the papers say, in NumPy ------------------------------------------------------


def paper_euler(x, sigma, noise, how):
    for a, b in itertools.pairwise(sigma):
        x = x + (b - a) * (x - D(x, a)) / a
    return x


def paper_heun(x, t, noise, how):  # algorithm 2, which is algorithm 1 without churn
    N = len(t) - 1
    for i in range(N):
        gamma = 0.0
        if how.solver == "churn" and how.churn_low <= t[i] <= how.churn_high:
            gamma = min(how.churn / N, np.sqrt(2) - 1)
        t_hat = t[i] + gamma * t[i]
        x_hat = x + np.sqrt(t_hat**2 - t[i] ** 2) * how.churn_noise * noise[i]
        d = (x_hat - D(x_hat, t_hat)) / t_hat
        x = x_hat + (t[i + 1] - t_hat) * d
        if t[i + 1] != 0:
            d_next = (x - D(x, t[i + 1])) / t[i + 1]
            x = x_hat + (t[i + 1] - t_hat) * (d / 2 + d_next / 2)
    return x


def paper_ddim(x, sigma, noise, how):  # eqs. 12 and 16, of x * sqrt(alpha_bar)
    eta = 1.0 if how.solver == "ancestral" else how.eta
    alpha = 1 / (1 + sigma**2)
    x = x * np.sqrt(alpha[0])
    for i, (a, b) in enumerate(itertools.pairwise(alpha)):
        clean = D(x / np.sqrt(a), sigma[i])
        eps = (x - np.sqrt(a) * clean) / np.sqrt(1 - a)
        fresh = eta * np.sqrt((1 - b) / (1 - a)) * np.sqrt(1 - a / b)
        x = np.sqrt(b) * clean + np.sqrt(1 - b - fresh**2) * eps + fresh * noise[i]
    return x


def paper_ddpm(x, sigma, noise, how):  # eqs. 6 and 7
    alpha_bar = 1 / (1 + sigma**2)
    x = x * np.sqrt(alpha_bar[0])
    for i, (a, b) in enumerate(itertools.pairwise(alpha_bar)):
        clean, alpha = D(x / np.sqrt(a), sigma[i]), a / b
        mean = np.sqrt(b) * (1 - alpha) / (1 - a) * clean + np.sqrt(alpha) * (1 - b) / (1 - a) * x
        x = mean + np.sqrt((1 - b) / (1 - a) * (1 - alpha)) * noise[i]
    return x


def paper_dpmpp_2m(x, ratio, noise, how):  # algorithm 2, of x * sqrt(alpha_bar)
    alpha = 1 / np.sqrt(1 + ratio**2)
    sigma = ratio * alpha
    with np.errstate(divide="ignore"):
        lambda_ = np.log(alpha / sigma)
    x, before = x * alpha[0], None
    for i in range(1, len(ratio)):
        clean = D(x / alpha[i - 1], ratio[i - 1])
        h, target = lambda_[i] - lambda_[i - 1], clean
        if 1 < i < len(ratio) - 1:
            r = (lambda_[i - 1] - lambda_[i - 2]) / h
            target = (1 + 1 / (2 * r)) * clean - 1 / (2 * r) * before
        x = sigma[i] / sigma[i - 1] * x - alpha[i] * np.expm1(-h) * target
        before = clean
    return x


def D(x, sigma):
    return denoise(x, np.full(len(x), sigma), np)


@pytest.mark.parametrize(
    "how, papers",
    [
        (Solving("euler"), [paper_euler]),
        (Solving("heun"), [paper_heun]),
        (Solving("churn", churn=3.0, churn_high=2.0), [paper_heun]),
        (Solving("ddim"), [paper_ddim, paper_euler]),  # without fresh noise the two are one
        (Solving("ddim", eta=0.5), [paper_ddim]),
        (Solving("ancestral"), [paper_ddim, paper_ddpm]),
        (Solving("dpmpp_2m"), [paper_dpmpp_2m]),
        (Solving("dpmpp_2m", steps=2), [paper_dpmpp_2m, paper_euler]),
    ],
)
def test_solvers_do_what_their_papers_say(how, papers):
    how = dataclasses.replace(how, steps=min(how.steps, 12), sigma_min=0.05, sigma_max=5.0)
    result = draw(how)
    number = jnp.arange(how.steps + 1)
    keys_IB = jax.vmap(lambda i: jax.vmap(lambda key: jax.random.fold_in(key, i))(keys(4)))(number)
    noise = jax.vmap(jax.vmap(lambda key: jax.random.normal(key, (2,))))(keys_IB)
    noise = np.asarray(noise, np.float64)
    for paper in papers:
        expected = paper(5 * noise[0], levels(how).astype(np.float64), noise[1:], how)
        np.testing.assert_allclose(result, expected, atol=2e-4)


@pytest.mark.parametrize("solver", ["heun", "dpmpp_2m", "ancestral", "churn"])
def test_one_step_is_the_estimate(solver):
    how = Solving(solver, steps=1)
    x = np.asarray(noise(keys(4), (2,), 80.0))
    np.testing.assert_allclose(draw(how), D(x, 80.0), rtol=1e-4)


# --- solvers: accuracy ---------------------------------------------------------------------------


def start_and_exact(how, n=64):
    """Noise, and where the ODE takes it, by another library."""
    x = 3 * np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)

    def slope(sigma, flat):
        x = flat.reshape(n, 2)
        return ((x - D(x, sigma)) / sigma).ravel()

    ends = how.sigma_max, how.sigma_min
    path = scipy.integrate.solve_ivp(slope, ends, x.ravel(), rtol=1e-8, atol=1e-8)
    return jnp.asarray(x), D(path.y[:, -1].reshape(n, 2), how.sigma_min)


def error(how, x, exact):
    return np.sqrt(((go_on(how, x, keys(len(x))) - exact) ** 2).mean())


@pytest.mark.parametrize("solver, order", [("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_the_order_of_convergence(solver, order):
    how = Solving(solver, sigma_min=0.1, sigma_max=3.0)
    x, exact = start_and_exact(how)
    errors = [error(dataclasses.replace(how, steps=steps), x, exact) for steps in (32, 128)]
    assert abs(np.log2(errors[0] / errors[1]) / 2 - order) < 0.25 * order, errors


def test_second_order_wins_at_equal_cost():
    def at(solver, steps):
        how = Solving(solver, steps, sigma_min=0.02, sigma_max=3.0)
        return error(how, *start_and_exact(how))

    assert at("heun", 18) < 0.5 * at("euler", 36)  # 35 evaluations against 36
    assert at("dpmpp_2m", 36) < 0.5 * at("euler", 36)


@pytest.mark.parametrize("solver", ["heun", "euler", "dpmpp_2m", "ancestral", "churn"])
def test_samples_have_the_moments_of_the_data(solver):
    n = 8000
    how = Solving(solver, steps=300, sigma_max=20.0)
    if solver == "churn":
        how = dataclasses.replace(how, churn_noise=1.0)
    x = np.asarray(draw(how, n))
    member = (((x[:, None] - CENTER) / DEVIATION[:, None]) ** 2).sum(-1).argmin(1)
    assert abs(member.mean() - WEIGHT[1]) < 4 * np.sqrt(WEIGHT.prod() / n) + 0.005
    for k in (0, 1):
        part = x[member == k]
        np.testing.assert_allclose(part.mean(0), CENTER[k], atol=0.015)
        np.testing.assert_allclose(part.std(0), DEVIATION[k], rtol=0.05)


@pytest.mark.parametrize("solver", ["heun", "dpmpp_2m", "ancestral", "churn"])
def test_evaluations(solver):
    seen = []

    def counted(x, sigma_B):
        jax.debug.callback(lambda sigma_B: seen.append(sigma_B), sigma_B)
        return denoise(x, sigma_B)

    draw(Solving(solver, steps=7), model=counted)
    jax.effects_barrier()
    assert len(seen) == (13 if solver in ("heun", "churn") else 7)
    assert min(sigma_B.min() for sigma_B in seen) > 0


def test_steps_are_not_unrolled():
    traced = []

    def model(x, sigma_B):
        traced.append(x.shape)
        return denoise(x, sigma_B)

    draw(Solving("euler", steps=50), model=model)
    few = len(traced)
    draw(Solving("euler", steps=200), model=model)
    assert len(traced) == 2 * few < 10


# --- solvers: samples and their keys -------------------------------------------------------------


def unit(x, sigma_B):
    """The denoiser of independent Gaussians of deviation 1."""
    return x / (1 + sigma_B[:, None, None] ** 2)


@pytest.mark.parametrize("how", [Solving(), *STOCHASTIC], ids=lambda how: how.solver)
def test_a_sample_depends_on_its_own_key_only(how):
    keys_B = keys(8)
    x = noise(keys_B, (3, 2), how.sigma_max)
    together = go_on(how, x, keys_B, model=unit)
    alone = go_on(how, x[5:7], keys_B[5:7], model=unit)
    np.testing.assert_allclose(together[5:7], alone, rtol=1e-6)
    np.testing.assert_allclose(noise(keys_B[5:7], (3, 2), how.sigma_max), x[5:7], rtol=1e-6)
    assert len(np.unique(np.asarray(together))) == together.size
    other = go_on(how, x, keys(8, 1), model=unit)
    assert np.allclose(together, other) == (how not in STOCHASTIC)


@pytest.mark.parametrize("how", [Solving(), Solving("ancestral")])
def test_jit_changes_nothing(how):
    np.testing.assert_allclose(draw(how), draw_plainly(how), atol=1e-5)


@pytest.mark.parametrize("frames, last", [(1, [9]), (3, [3, 6, 9]), (4, [2, 4, 7, 9]), (40, None)])
def test_frames_are_evenly_spaced_estimates(frames, last):
    how = Solving(steps=10)

    def model(x, sigma_B):
        return jnp.broadcast_to(sigma_B[:, None], x.shape)

    x, frames_BF = draw(how, trajectory=frames, model=model)
    expected = levels(how)[last if last else np.arange(10)]
    assert frames_BF.shape == (4, len(expected), 2)
    np.testing.assert_allclose(frames_BF[1, :, 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(frames_BF[:, -1], x)
    np.testing.assert_array_equal(x, draw(how, model=model))


# --- guidance ------------------------------------------------------------------------------------


def conditional(calls):
    """Gaussians about -1 (label 0), 1 (label 1) and 0 (label 2: none), all of deviation 0.5."""

    def model(x, sigma_B, label_B):
        calls.append(len(x))
        mean_B1 = jnp.array([-1.0, 1.0, 0.0])[label_B][:, None]
        return mean_B1 + 0.25 / (0.25 + sigma_B[:, None] ** 2) * (x - mean_B1)

    return model


LABEL, NULL = jnp.array([0, 1, 1, 0]), jnp.full(4, 2)


@pytest.mark.parametrize("guidance, label_B", [(0.0, NULL), (1.0, LABEL)])
def test_guidance_0_and_1_are_one_of_the_two_models(guidance, label_B):
    calls = []
    model = conditional(calls)
    x, sigma_B = 3 * jax.random.normal(jax.random.key(0), (4, 2)), jnp.full(4, 3.0)
    result = guided(model, LABEL, NULL, Solving(guidance=guidance))(x, sigma_B)
    assert calls == [4]
    np.testing.assert_array_equal(result, model(x, sigma_B, label_B))


def test_guidance_extrapolates_in_one_evaluation():
    calls = []
    model = conditional(calls)
    x, sigma_B = 3 * jax.random.normal(jax.random.key(0), (4, 2)), jnp.full(4, 3.0)
    result = guided(model, LABEL, NULL, Solving(guidance=2.5))(x, sigma_B)
    assert calls == [8]
    D, D_null = model(x, sigma_B, LABEL), model(x, sigma_B, NULL)
    np.testing.assert_allclose(result, D_null + 2.5 * (D - D_null), atol=1e-5)


@pytest.mark.parametrize("sigma, acts", [(0.5, False), (0.6, True), (2.0, True), (2.1, False)])
def test_guidance_acts_in_its_interval(sigma, acts):
    how = Solving(guidance=3.0, guidance_low=0.5, guidance_high=2.0)
    x, sigma_B = jnp.ones((4, 2)), jnp.full(4, sigma)
    result = guided(conditional([]), LABEL, NULL, how)(x, sigma_B)
    expected = guided(conditional([]), LABEL, NULL, Solving(guidance=3.0 if acts else 1.0))
    np.testing.assert_array_equal(result, expected(x, sigma_B))


@pytest.mark.parametrize("guidance", [0.0, 1.0, 3.0])
def test_guidance_of_equal_gaussians_moves_the_mean(guidance):
    # D is linear in the mean, so guidance draws from the Gaussian about guidance * mean.
    how, n = Solving(steps=40, guidance=guidance), 4000
    label_B = jnp.arange(n) % 2
    x = draw(how, n, model=guided(conditional([]), label_B, jnp.full(n, 2), how))
    for label, mean in ((0, -guidance), (1, guidance)):
        np.testing.assert_allclose(x[label::2].mean(0), mean, atol=0.05)
        np.testing.assert_allclose(x[label::2].std(0), 0.5, atol=0.03)


def test_a_model_without_condition():
    x, sigma_B = jnp.ones((4, 2)), jnp.ones(4)

    def model(x, sigma_B, condition_B):
        assert condition_B is None
        return denoise(x, sigma_B)

    result = guided(model, None, None, Solving())(x, sigma_B)
    np.testing.assert_array_equal(result, denoise(x, sigma_B))
    with pytest.raises(UserError, match="no condition"):
        guided(model, None, None, Solving(guidance=2.0))


# --- in-painting and image-to-image --------------------------------------------------------------

COVARIANCE = 0.25 * np.array([[1.0, 0.8], [0.8, 1.0]])


def correlated(x, sigma_B):
    """The denoiser of a Gaussian whose two entries go together."""
    noisy_B22 = COVARIANCE + sigma_B[:, None, None] ** 2 * jnp.eye(2)
    return jnp.linalg.solve(noisy_B22, x[..., None])[..., 0] @ COVARIANCE


@pytest.mark.parametrize("solver", ["heun", "dpmpp_2m", "churn"])
def test_painting_keeps_what_is_known_and_follows_it(solver):
    n = 2000
    image = jnp.stack([jnp.where(jnp.arange(n) % 2, 0.7, -0.7), jnp.full(n, 9.0)], 1)
    mask = jnp.tile(jnp.array([0.0, 1.0]), (n, 1))
    x = draw(Solving(solver), n, model=correlated, known=(image, mask))
    np.testing.assert_array_equal(x[:, 0], image[:, 0])
    above, below = x[1::2, 1].mean(), x[::2, 1].mean()
    # Exact would be 0.56: the known part pulls less than it should, but it pulls.
    assert 0.15 < above < 0.6 and -0.6 < below < -0.15
    assert 0.2 < x[1::2, 1].std() < 0.5


def test_the_model_sees_what_is_known_at_the_noise_level():
    seen, image = [], jnp.full((500, 2), 0.5)

    def model(x, sigma_B):
        jax.debug.callback(lambda *args: seen.append(args), x, sigma_B)
        return correlated(x, sigma_B)

    draw(Solving("euler"), 500, model=model, known=(image, jnp.array([[0.0, 1.0]] * 500)))
    jax.effects_barrier()
    noise = np.array([(x[:, 0] - 0.5) / sigma_B for x, sigma_B in seen])
    assert noise.shape == (18, 500)
    np.testing.assert_allclose(noise.std(1), 1, atol=0.15)
    np.testing.assert_allclose(np.corrcoef(noise), np.eye(18), atol=0.2)  # fresh in each step


def test_painting_all_or_nothing():
    how, image = Solving("euler"), jnp.ones((4, 2))
    everything = draw(how, known=(image, jnp.ones((4, 1))))
    np.testing.assert_array_equal(everything, draw(how))
    nothing, frames = draw(how, known=(image, jnp.zeros((4, 1))), trajectory=3)
    np.testing.assert_array_equal(nothing, image)
    np.testing.assert_array_equal(frames, jnp.ones((4, 3, 2)))


@pytest.mark.parametrize("strength, steps", [(0.0, 0), (0.5, 5), (0.74, 7), (1.0, 10)])
def test_strength_is_the_share_of_the_steps(strength, steps):
    sigmas = levels(Solving(steps=10))
    image = jnp.full((500, 2), 0.5)
    x, rest = start(image, strength, sigmas, keys(500))
    np.testing.assert_array_equal(rest, sigmas[10 - steps :])
    np.testing.assert_allclose((x - image).std(), rest[0], rtol=0.1)


def test_strength_0_is_the_image_and_1_is_all_noise():
    how, image = Solving("euler"), jnp.tile(CENTER.astype(np.float32), (2, 1))
    x, rest = start(image, 0.0, levels(how), keys(4))
    np.testing.assert_array_equal(go_on(how, x, keys(4), len(rest) - 1), image)
    x, rest = start(image, 1.0, levels(how), keys(4))
    np.testing.assert_allclose(go_on(how, x, keys(4), len(rest) - 1), draw(how), atol=1e-5)


def test_less_strength_stays_nearer():
    how, image = Solving("euler"), jnp.tile(CENTER[:1].astype(np.float32), (500, 1))

    def distance(strength):
        x, rest = start(image, strength, levels(how), keys(500))
        x = go_on(how, x, keys(500), len(rest) - 1)
        return jnp.linalg.norm(x - image, axis=1).mean()

    distances = [distance(strength) for strength in (0.1, 0.5, 1.0)]
    assert (np.diff(distances) > 0).all(), distances


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_a_strength_out_of_range(strength):
    with pytest.raises(UserError, match="strength"):
        start(jnp.ones((2, 2)), strength, levels(Solving()), keys(2))


# --- settings ------------------------------------------------------------------------------------


def test_sound_settings():
    for solver in SOLVERS:
        for schedule in SCHEDULES:
            validate(Solving(solver, schedule=schedule))
    validate(Solving(guidance=2.0, guidance_low=0.3, guidance_high=5.0))
    assert hash(Solving()) == hash(Solving())  # static in jit


@pytest.mark.parametrize(
    "change, word",
    [
        ({"steps": 0}, "steps"),
        ({"steps": 1000, "sigma_min": 1.0, "sigma_max": 1.00001}, "steps"),
        ({"sigma_min": 0.0}, "sigma_min"),
        ({"sigma_max": 0.001}, "sigma_max"),
        ({"sigma_max": float("nan")}, "sigma_max"),
        ({"rho": 0.5}, "rho"),
        ({"rho": 5.0, "schedule": "vp"}, "ignores rho"),
        ({"guidance": -1.0}, "guidance"),
        ({"guidance": float("inf")}, "guidance"),
        ({"guidance": 2.0, "guidance_low": 3.0, "guidance_high": 2.0}, "guidance_high"),
        ({"guidance_low": 0.5}, "interval"),
        ({"eta": 0.5}, "solver heun ignores eta"),
        ({"eta": 1.5, "solver": "ddim"}, "eta"),
        ({"churn": 10.0}, "ignores churn"),
        ({"churn": -1.0, "solver": "churn"}, "churn"),
        ({"churn_low": 60.0, "solver": "churn"}, "churn_high"),
        ({"churn_noise": 0.0, "solver": "churn"}, "churn_noise"),
    ],
)
def test_unsound_settings(change, word):
    with pytest.raises(UserError, match=word):
        validate(Solving(**change))


@pytest.mark.parametrize("name, choice", [("solver", "dpmpp_2m"), ("schedule", "karras")])
def test_unknown_names(name, choice):
    how = Solving()
    object.__setattr__(how, name, "hein")  # past the type checks of the tests
    with pytest.raises(UserError, match=f"{name} is hein; choose .*{choice}"):
        validate(how)
