"""Every config: its SMOKE trains, checkpoints, restores and samples; its CONFIG builds."""

import itertools
from pathlib import Path

import helpers
import jax
import numpy as np
import pytest

from creagen_jax import checkpoint, config, data, generation, models, optim, rundir, synthesis
from creagen_jax.data import audio_files, music_files, music_tokens, pictures, video_files

FOLDER = Path(__file__).parent.parent / "configs"
every = pytest.mark.parametrize("name", sorted(config.available(FOLDER)))


@pytest.fixture(scope="module")
def with_data(tmp_path_factory):
    """An experiment with data at hand, made here instead of a set to be prepared: text, pictures
    grey and coloured, sounds, music, clips, and pairs and poems of random words."""
    folder = tmp_path_factory.mktemp("data")
    words = helpers.write_text(folder, 20_000)
    grey = helpers.write_pictures(folder, shape=(28, 28, 1), classes=10)
    with pictures.folder_writer(folder / "coloured") as file:
        made, _ = helpers.made_pictures(64, (32, 32, 3))
        file.add(made, None, [{}] * len(made))
    words_ = itertools.product(("red", "blue", "old", "new"), ("cat", "dog", "sun", "car"))
    captions = [" ".join(pair) for pair in words_] * 4
    rows = [f"{i:06d}.png\t{caption}" for i, caption in enumerate(captions)]
    (folder / "coloured" / "captions.tsv").write_text("\n".join(["file\tcaption", *rows]))
    rng = np.random.default_rng(0)
    for i in range(60):
        wave = rng.uniform(-1, 1, 6000).astype(np.float32)
        audio_files.write_wav(folder / "sounds" / "ab"[i % 2] / f"{i}.wav", wave, 8000, {})
    for seed in range(40):
        notes = [
            (step, 1, int(rng.integers(50, 80)), part) for step in range(20) for part in range(4)
        ]
        music_files.write(folder / "music" / f"{seed}.mid", music_tokens.piece(notes), 4, {})
    for i in range(60):
        clip = rng.integers(0, 256, (8, 16, 16, 3), np.uint8)
        video_files.write(folder / "clips" / "ab"[i % 2] / f"{i}.gif", clip, 0.1, {})
    lines = words.read_text().splitlines()[:400]
    (folder / "pairs.tsv").write_text("".join(f"{line}.\t{line[::-1]}!\n" for line in lines))
    poems = ("\n".join(lines[i : i + 4]) for i in range(0, len(lines), 4))
    (folder / "poems.txt").write_text("\n\n".join(poems))

    def with_data(experiment):
        own, data, modality = {}, experiment.data, config.modality(experiment)
        if modality == "pairs" and data.path:
            own["path"] = str(folder / ("poems.txt" if data.poems else "pairs.tsv"))
        elif modality == "text" and (data.tfds or data.path):
            own["path"] = str(words)
        elif modality == "image" and data.tfds:
            own["path"] = str(grey)
        elif modality in ("image", "captioned") and data.path:
            own["path"] = str(folder / "coloured")
        elif modality == "music":
            own["path"] = str(folder / "music")
        elif modality == "audio" and data.path:
            own["path"] = str(folder / "sounds")
        elif modality == "video":
            own["path"] = str(folder / "clips")
        # Samples are drawn below; to draw others on the way would compile one more program.
        few = {"sample_every": 0, "final_windows": 256}
        return config.replace(experiment, data=own, train=few)

    return with_data


def test_names_are_data_and_family():
    for name in config.available(FOLDER):
        assert name.endswith(f"_{config.family(config.load(name, FOLDER))}")


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
        if generation.reads_source(model.codec):
            request, length = generation.Request(source=model.codec.examples[:1]), model.length
        else:
            request, length = generation.Request(length=20), 20
        samples = generation.draw(model, request, num=2, seed=0)
        assert [sample.seed for sample in samples] == [0, 1]
        for sample in samples if generation.writes_text(model.codec) else []:
            assert len(model.codec.tokenizer.encode(sample.text)) <= length
    else:
        way = {"sampling": synthesis.QUICK} if family.KIND == "diffusion" else {}
        request = synthesis.REQUESTS[family.KIND](**way)
        (samples,) = synthesis.draw(model, request, num=2, seed=0)
        assert samples.seeds.tolist() == [0, 1]
        seen = model.codec.visible(samples.images)
        assert seen.dtype == np.uint8 and seen.shape[0] == 2 and seen.ndim == 4
        if model.codec.suffix == ".png":
            assert samples.images.shape == (2, *model.codec.shape)
