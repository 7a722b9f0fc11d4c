"""What a model tells of its training data: more the better it knows them; nothing of padding."""

import helpers
import jax
import numpy as np
import optax
import pytest

from creagen_jax import data, models, probing, scoring
from creagen_jax.data import text
from creagen_jax.data.tokenizers import END
from creagen_jax.generation import Model

NAMES = {"loss_gap", "membership_auc", "extraction_rate"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Texts of which the training split repeats itself, and has nothing in common with the rest.

    Without repetition the discounts of Kneser and Ney leave next to nothing of long n-grams.
    """
    folder = tmp_path_factory.mktemp("probing")
    rng = np.random.default_rng(0)
    made = ["".join(rng.choice(list("abcdefgh"), rng.integers(6, 20))) for _ in range(60)]
    (folder / "lines.txt").write_text("\n".join(made * 3))
    (folder / "stream.txt").write_text("".join(made[:40]) * 3 + "".join(made[:10:-1]))
    return folder


def load(path, **changes):
    return text.load(text.Config(path=str(path), length=20, validation=0.3, **changes))


def chain(dataset, order=6):
    cfg, state = scoring.chain(data.get("text"), dataset, order)
    return Model("markov", cfg, state.params, dataset.codec, dataset.length, step=1)


def random_lstm(dataset):
    module, cfg = models.get("lstm"), models.get("lstm").Config(**helpers.MODELS["lstm"])
    state = module.init(jax.random.key(0), cfg, dataset.spec(8), optax.identity())
    return Model("lstm", cfg, state.params, dataset.codec, dataset.length, step=1)


@pytest.mark.parametrize("name", ["lines.txt", "stream.txt"])
def test_a_model_that_learned_by_heart_is_found_out(folder, name):
    dataset = load(folder / name, unit="line" if name == "lines.txt" else "stream")
    found = probing.probe(chain(dataset), "text", dataset, "validation")
    assert found["model"].keys() == NAMES and found["held-out"].keys() == {"extraction_rate"}
    gap, auc, rate = (found["model"][n] for n in ("loss_gap", "membership_auc", "extraction_rate"))
    assert gap.low > 0 and auc.low > 0.9
    assert rate.value > 0.85
    assert found["held-out"]["extraction_rate"].high < rate.low


def test_a_model_that_learned_nothing_tells_nothing(folder):
    dataset = load(folder / "lines.txt", unit="line")
    found = probing.probe(random_lstm(dataset), "text", dataset, "validation")["model"]
    assert found["loss_gap"].low < 0 < found["loss_gap"].high
    assert found["membership_auc"].low < 0.5 < found["membership_auc"].high
    assert found["extraction_rate"].value == 0


@pytest.mark.parametrize("family", [chain, random_lstm])
def test_padding_counts_nothing(folder, monkeypatch, family):
    dataset = load(folder / "lines.txt", unit="line")
    model, counts, results = family(dataset), {}, []
    for name in ("train", "validation"):
        counts[name] = len(data.get("text").texts(dataset, name))
    for size in (5, 64):
        monkeypatch.setattr(probing, "BATCH", size)
        results.append(probing.probe(model, "text", dataset, "validation"))
    for one, other in zip(*(each.values() for each in results), strict=True):
        for name in one:
            assert one[name].value == pytest.approx(other[name].value, abs=1e-5)
            assert one[name].n == other[name].n
    assert results[0]["model"]["extraction_rate"].n == counts["train"]
    assert results[0]["held-out"]["extraction_rate"].n == counts["validation"]


def test_windows_that_overlap_are_completed_too(folder):
    plain, overlapping = (
        load(folder / "stream.txt", unit="stream", order="sequential", overlap=overlap)
        for overlap in (0, 9)
    )
    model = chain(plain)
    rates = [
        probing.probe(model, "text", dataset, "validation")["model"]["extraction_rate"].value
        for dataset in (plain, overlapping)
    ]
    assert rates[0] == rates[1] > 0.85


def test_halves_of_windows():
    x_BT = np.array([[END, 5, 6, 7, END, END], [END, 5, 6, 7, 8, 9], [END, 5, END, END, END, END]])
    mask_BT = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    prompt_BP, length_B, rest_BS = probing._halves({"x": x_BT, "mask": mask_BT})
    given = [row[:n].tolist() for row, n in zip(prompt_BP, length_B, strict=True)]
    assert given == [[END, 5, 6], [END, 5, 6], [END, 5]]
    assert rest_BS.tolist() == [[7, END, END], [7, 8, 9], [END, END, END]]
