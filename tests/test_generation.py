"""Samples are reproducible one by one, under control, and honest about what is new."""

import dataclasses
import json
import shutil
from functools import cache

import helpers
import jax
import numpy as np
import optax
import pytest

from creagen_jax import data, generation, models, output, probing, rundir
from creagen_jax.data import pairs, text
from creagen_jax.data.tokenizers import END
from creagen_jax.generation import (
    Model,
    Request,
    Sample,
    draw,
    load,
    load_guard,
    stream,
    training_data,
)
from creagen_jax.sampling import copying
from creagen_jax.sampling.filters import Sampling
from creagen_jax.types import UserError

FAMILIES = tuple(helpers.MODELS)
every = pytest.mark.parametrize("name", FAMILIES)
WORDS = {"low": ["abba", "baba", "aabb", "bab"], "high": ["xyz", "zyxzy", "yyzx", "zzy"]}


def load_text(path, order="random"):
    return text.load(text.Config(path=str(path), validation=0, length=12, order=order))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Labelled words, `words.jsonl`, and two texts, `words.txt` and `pairs.txt`."""
    folder = tmp_path_factory.mktemp("data")
    rows = [{"text": w, "label": label} for label, words in WORDS.items() for w in words]
    (folder / "words.jsonl").write_text("\n".join(map(json.dumps, rows * 3)))
    helpers.write_text(folder)
    (folder / "pairs.txt").write_text("aabb" * 20)
    return folder


@pytest.fixture(scope="module")
def make(folder):
    """make(family, file): a model with noisy parameters, or counts of the whole text."""

    @cache
    def make(name, file="words.jsonl"):
        module, cfg = models.get(name), models.get(name).Config(**helpers.MODELS[name])
        dataset = load_text(folder / file, "sequential" if module.HOST else "random")
        spec = dataset.spec(24)
        state = module.init(jax.random.key(0), cfg, spec, optax.identity())
        if module.HOST:
            batch = data.get("text").train_batch(dataset, seed=0, step=0, size=500)
            params = module.make_step(cfg, spec, None)(state, batch, None)[0].params
        else:
            params = jax.tree.map(
                lambda p: p + jax.random.normal(jax.random.key(p.size), p.shape), state.params
            )
        return Model(name, cfg, params, dataset.codec, spec.length, step=1)

    return make


@pytest.fixture(scope="module")
def run(folder):
    """A run of eight steps, with checkpoints at 4 and 8, of which one is the best."""
    run = folder / "run"
    assert helpers.train(helpers.experiment("gru", folder / "words.txt"), run) == 0
    return run


# --- reproducible --------------------------------------------------------------------------------


@every
@pytest.mark.parametrize("file", ["words.jsonl", "words.txt"])
def test_a_sample_depends_on_its_own_seed_alone(make, name, file):
    model, request = make(name, file), Request(length=20)
    many = draw(model, request, num=8, seed=10)
    assert [sample.seed for sample in many] == list(range(10, 18))
    assert draw(model, request, num=1, seed=13) == many[3:4]
    assert len({sample.text for sample in many}) > 2


def test_more_samples_than_fit_in_a_batch(make, monkeypatch):
    whole = draw(make("markov"), Request(), num=7, seed=0)
    monkeypatch.setattr(generation, "BATCH", 3)
    assert draw(make("markov"), Request(), num=7, seed=0) == whole


@every
def test_a_json_line_draws_its_sample_again(make, name):
    model = make(name)
    sampling = Sampling(temperature=0.8, top_k=6, repetition_penalty=1.1, no_repeat_ngram=3)
    request = Request(prompt="a", length=11, sampling=sampling, avoid=("zz",), must=("ab",))
    lines = generation.render(draw(model, request, num=4, seed=5), "out.jsonl").splitlines()
    fields = json.loads(lines[2])
    assert fields.keys() == {f.name for f in dataclasses.fields(Sample)}
    settings = fields["settings"]
    assert settings.pop("checkpoint") == model.step and settings.pop("max_copy") == 0
    again = Request(
        label=fields["label"],
        prompt=settings.pop("prompt"),
        length=settings.pop("length"),
        avoid=tuple(settings.pop("avoid")),
        must=tuple(settings.pop("must")),
        sampling=Sampling(**settings),
    )
    (sample,) = draw(model, again, num=1, seed=fields["seed"])
    assert dataclasses.asdict(sample) == json.loads(lines[2])


@pytest.mark.parametrize("name", ["markov", "transformer"])
@pytest.mark.parametrize("file", ["words.jsonl", "words.txt"])
def test_streaming_shows_what_draw_returns(make, name, file):
    shown = []
    request = Request(prompt="" if file == "words.jsonl" else "one ", length=21)
    sample = stream(make(name, file), request, seed=3, show=shown.append)
    assert "".join(shown) == sample.text
    assert [sample] == draw(make(name, file), request, num=1, seed=3)


# --- under control -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("markov", "words.txt"),
        ("lstm", "words.jsonl"),
        ("gru", "words.txt"),
        ("transformer", "words.jsonl"),
    ],
)
def test_texts_to_avoid_and_texts_required(make, name, file):
    """More samples than one batch, whose last rows are not asked for."""
    avoid, must = (("B", "yz"), ("zx", "a")) if file == "words.jsonl" else (("re",), ("two", "one"))
    model, request = make(name, file), Request(length=20, avoid=avoid, must=must)
    samples = draw(model, request, num=70, seed=3)
    for sample in samples:
        assert all(text in sample.text for text in must)
        assert not any(text.lower() in sample.text.lower() for text in avoid)
    assert [sample.seed for sample in samples] == list(range(3, 73))
    (alone,) = draw(model, request, num=1, seed=72)
    assert alone.text == samples[-1].text
    if file == "words.txt":
        best = draw(
            model, Request(length=9, avoid=avoid, sampling=Sampling(beams=4)), num=4, seed=0
        )
        assert not any("re" in sample.text for sample in best)


def test_words_are_avoided_and_required_as_they_are_written(make, folder):
    """Of tokens that are words, with any space between them."""
    how = {"path": str(folder / "words.txt"), "tokenizer": "word", "unit": "line"}
    dataset = text.load(text.Config(**how, validation=0))
    module, cfg = models.get("gru"), models.get("gru").Config(width=8, depth=1)
    state = module.init(jax.random.key(0), cfg, dataset.spec(8), optax.identity())
    model = Model("gru", cfg, state.params, dataset.codec, dataset.length, step=1)
    request = Request(avoid=("two  THREE", "ne tw"), must=("one  one", "four,"))
    for sample in draw(model, request, num=20, seed=0):
        assert "two three" not in sample.text and "one two" not in sample.text
        assert "one one" in sample.text and "four," in sample.text


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (Request(avoid=("",)), "a text to avoid is empty"),
        (Request(must=(" ",)), "a required text is empty"),
        (Request(must=("é",)), "not in the training text"),
        (Request(must=("xyz",), avoid=("Y",)), "'xyz' is required and contains 'Y'"),
        (Request(must=("xyz", "ab"), length=4), "need 5 tokens, and a sample has 4"),
        (
            Request(must=("ab",), label="low", sampling=Sampling(beams=2)),
            "beam search ignores must",
        ),
    ],
)
def test_constraints_that_cannot_be_kept_are_one_line(make, request_, says):
    with pytest.raises(UserError, match=says):
        draw(make("markov"), request_, num=2, seed=0)


def test_a_required_text_without_a_place_is_reported(make, monkeypatch):
    model = make("lstm")
    never_z = model.codec.tokenizer.encode("z")[0]
    plain = models.get("lstm").next_logits

    def next_logits(params, cfg, carry, token_B):
        logits_BV, carry = plain(params, cfg, carry, token_B)
        return logits_BV.at[:, never_z].set(-np.inf), carry

    monkeypatch.setattr(models.get("lstm"), "next_logits", next_logits)
    jax.clear_caches()
    with pytest.raises(UserError, match=r"--must 'z' finds no place in the sample of seed 5"):
        draw(model, Request(must=("a", "z"), length=7), num=2, seed=5)
    jax.clear_caches()


@every
@pytest.mark.parametrize("length", [1, 37])
def test_prompt_and_length_are_respected(make, name, length):
    request = Request(prompt="one t", length=length)
    for sample in draw(make(name, "words.txt"), request, num=2, seed=0):
        assert sample.text.startswith("one t")
        assert len(sample.text) == len("one t") + length  # a stream does not end


def test_chunks_do_not_change_a_sample(make, monkeypatch):
    long = draw(make("lstm", "words.txt"), Request(length=37), num=2, seed=0)
    monkeypatch.setattr(generation, "CHUNK", 5)
    assert draw(make("lstm", "words.txt"), Request(length=37), num=2, seed=0) == long


def test_default_lengths(make):
    assert len(draw(make("markov", "words.txt"), Request(), num=1, seed=0)[0].text) == 500
    assert all(len(s.text) <= 12 for s in draw(make("lstm"), Request(), num=20, seed=0))


def test_labels(make):
    model = make("markov")
    for label, other in (("low", "high"), ("high", "low")):
        samples = draw(model, Request(label=label), num=40, seed=0)
        assert {sample.label for sample in samples} == {label}
        letters = "".join(sample.text for sample in samples)
        of = {key: sum(letters.count(c) for c in set("".join(WORDS[key]))) for key in WORDS}
        assert of[label] > 2 * of[other]
    drawn = [sample.label for sample in draw(model, Request(), num=200, seed=0)]
    assert 60 < drawn.count("low") < 140
    assert draw(make("markov", "words.txt"), Request(), num=1, seed=0)[0].label is None


def test_unknown_is_never_drawn_and_a_stream_never_ends(make):
    for file in ("words.jsonl", "words.txt"):
        samples = draw(
            make("lstm", file), Request(sampling=Sampling(temperature=9.0)), num=8, seed=0
        )
        assert all("\ufffd" not in sample.text for sample in samples)


def test_beams(make):
    model = make("markov")

    def search(num, **changes):
        request = Request(label="low", length=6, sampling=Sampling(beams=5), **changes)
        return draw(model, request, num=num, seed=0)

    best = search(5)
    assert search(2) == best[:2]
    assert len({sample.text for sample in best}) == 5
    assert all(sample.text.startswith("ab") for sample in search(3, prompt="ab"))
    greedy = Request(label="low", length=6, sampling=Sampling(temperature=0.0))
    one = Request(label="low", length=6, sampling=Sampling(beams=1))
    assert draw(model, greedy, num=1, seed=0)[0].text == draw(model, one, num=1, seed=0)[0].text


def test_new_and_known_samples_are_told_apart(make):
    known = {word for words in WORDS.values() for word in words}
    samples = draw(make("markov"), Request(), num=60, seed=0)
    assert all(sample.new == (sample.text not in known) for sample in samples)
    assert {sample.new for sample in samples} == {True, False}
    assert draw(make("markov", "words.txt"), Request(), num=1, seed=0)[0].new is None
    share = sum(sample.new for sample in samples)
    assert f"60 samples, {share} new ({share / 60:.0%})" in generation.summary(
        samples, generation.Speed()
    )


def test_speed_counts_what_is_drawn_after_compilation(make):
    speed = generation.Speed()
    draw(make("markov", "words.txt"), Request(length=64), num=2, seed=0, speed=speed)
    assert speed.tokens == 2 * (64 - 16) and speed.seconds > 0


# --- without copying -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guard(folder):
    """guard(file, N) of the training data in a file."""
    return lambda file, longest: copying.build(
        load_text(folder / file).splits["train"].tokens, longest, end=END
    )


@pytest.mark.parametrize(
    ("name", "file", "longest"),
    [
        ("markov", "words.jsonl", 2),
        ("lstm", "words.jsonl", 1),
        ("gru", "words.txt", 1),
        ("transformer", "words.txt", 1),
    ],
)
def test_no_sample_copies_more_than_it_may(make, guard, folder, name, file, longest):
    model, how = make(name, file), {"guard": guard(file, longest)}
    request = Request(length=20)
    many = draw(model, request, num=8, seed=10, **how)
    assert draw(model, request, num=1, seed=13, **how) == many[3:4]
    document = "\n".join(word for words in WORDS.values() for word in words)
    if file == "words.txt":
        document = (folder / file).read_text()
    for sample in many:
        pieces = {sample.text[i : i + longest + 1] for i in range(len(sample.text) - longest)}
        assert not [piece for piece in pieces if piece in document]
        assert sample.settings["max_copy"] == longest
    assert sum(sample.refused for sample in many) > 0


def test_what_the_guard_does_is_the_same_in_chunks_and_in_a_stream(make, guard, monkeypatch):
    model, request = make("markov", "words.txt"), Request(prompt="one ", length=37)
    how, shown = {"seed": 0, "guard": guard("words.txt", 4)}, []
    long = draw(model, request, num=3, **how)
    assert stream(model, request, show=shown.append, **how) == long[0]
    assert "".join(shown) == long[0].text
    monkeypatch.setattr(generation, "CHUNK", 5)
    assert draw(model, request, num=3, **how) == long


def test_a_sample_with_no_token_left_is_cut(make, guard):
    how = {"seed": 0, "guard": guard("pairs.txt", 1)}  # a text with every pair of its characters
    samples = draw(make("markov", "pairs.txt"), Request(prompt="ab"), num=3, **how)
    assert {(s.text, s.refused, s.cut) for s in samples} == {("ab", 1, True)}
    line = generation.summary(samples, generation.Speed())
    assert line == "3 samples, copying refused 3 times, 3 ended early"


def test_a_guard_that_never_steps_in_changes_nothing(make, guard):
    model, request = make("lstm", "words.txt"), Request(length=20)
    free = draw(model, request, num=3, seed=0)
    guarded = draw(model, request, num=3, seed=0, guard=guard("words.txt", 50))
    assert [sample.text for sample in guarded] == [sample.text for sample in free]
    assert {(s.refused, s.cut) for s in guarded} == {(0, False)}
    assert {(s.refused, s.cut) for s in free} == {(None, None)}
    assert "copying" not in generation.summary(free, generation.Speed())


def test_the_guard_of_a_run(run, monkeypatch):
    reports = []
    tokens = training_data(run).splits["train"].tokens
    whole = load_guard(run, 3, reports.append)
    np.testing.assert_array_equal(whole.tokens, tokens)
    assert whole.longest == 3 and not reports
    monkeypatch.setattr(generation, "SEARCHED", 100)
    np.testing.assert_array_equal(load_guard(run, 3, reports.append).tokens, tokens[:100])
    assert len(reports) == 1 and "first 100 of" in reports[0]
    with pytest.raises(UserError, match=r"--max_copy is -1; choose 1 or more"):
        load_guard(run, -1)


def test_training_data_that_changed_or_is_gone(run, folder, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text((folder / "words.txt").read_text())
    config = (run / "config.json").read_text().replace(str(folder / "words.txt"), str(path))
    (tmp_path / "config.json").write_text(config)
    assert training_data(tmp_path).splits["train"].tokens.size == 3600
    path.write_text(path.read_text()[:-4] + "two ")
    with pytest.raises(UserError, match=r"training data of .* has changed since .*sha256"):
        training_data(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="no such file or folder"):
        training_data(tmp_path)


def test_beams_and_the_guard_exclude_each_other(make, guard):
    request = Request(label="low", sampling=Sampling(beams=2))
    with pytest.raises(UserError, match="beam search ignores max_copy"):
        draw(make("markov"), request, num=1, seed=0, guard=guard("words.jsonl", 2))


# --- from a source -------------------------------------------------------------------------------

CELLS = {
    "gru": {"cell": "gru", "width": 16},
    "transformer": {"cell": "transformer", "width": 16, "heads": 2, "context": 16},
}
both_cells = pytest.mark.parametrize("cell", list(CELLS))
SOURCES = ("cba", "abc", "aa", "bccb")


@pytest.fixture(scope="module")
def translate(tmp_path_factory):
    """translate(cell): a model with noisy parameters, from labelled words to them spelt twice."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abc"), rng.integers(2, 6))) for _ in range(60)]
    rows = [{"source": w, "target": f"{w} {w}", "label": "ac"["c" in w]} for w in words]
    path = tmp_path_factory.mktemp("pairs") / "twice.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    dataset = pairs.load(pairs.Config(path=str(path), validation=0.3))

    @cache
    def make(cell):
        module = models.get("seq2seq")
        cfg, spec = module.Config(**CELLS[cell], source_dropout=0.1), dataset.spec(8)
        params = module.init(jax.random.key(0), cfg, spec, optax.identity()).params
        noisy = jax.tree.map(
            lambda p: p + 0.2 * jax.random.normal(jax.random.key(p.size + 2), p.shape), params
        )
        return Model("seq2seq", cfg, noisy, dataset.codec, spec.length, step=1)

    make.dataset = dataset
    return make


@both_cells
def test_a_sample_depends_on_its_own_seed_and_source_alone(translate, monkeypatch, cell):
    model = translate(cell)
    many = draw(model, Request(source=SOURCES), num=3, seed=10)
    assert [sample.source for sample in many] == [s for s in SOURCES for _ in range(3)]
    assert [sample.seed for sample in many] == list(range(10, 22))
    assert len({sample.text for sample in many}) > 6
    assert draw(model, Request(source=SOURCES[2:3]), num=2, seed=16) == many[6:8]
    shown = []
    assert stream(model, Request(source=SOURCES[1:2]), seed=13, show=shown.append) == many[3]
    assert "".join(shown) == many[3].text
    monkeypatch.setattr(generation, "BATCH", 5)
    assert draw(model, Request(source=SOURCES), num=3, seed=10) == many


def test_constraints_hold_under_guidance_and_from_a_source(translate):
    model = translate("transformer")
    how = {"avoid": ("BB", "ac"), "must": ("ca", "b"), "sampling": Sampling(guidance=2.0)}
    samples = draw(model, Request(source=SOURCES, **how), num=3, seed=10)
    for sample in samples:
        assert "ca" in sample.text and "b" in sample.text
        assert "bb" not in sample.text and "ac" not in sample.text
    (alone,) = draw(model, Request(source=SOURCES[2:3], **how), num=1, seed=16)
    assert alone.text == samples[6].text


def test_the_source_decides(translate):
    sampling = Sampling(temperature=0.0)
    texts = [
        sample.text
        for sample in draw(
            translate("gru"), Request(source=SOURCES, sampling=sampling, label="a"), num=1, seed=0
        )
    ]
    assert len(set(texts)) > 1


def test_without_a_source_the_codec_has_examples(translate):
    model = translate("gru")
    found = draw(model, Request(), num=2, seed=0)
    assert len(found) == 16
    held_out = pairs.sources(translate.dataset, "validation")
    assert {sample.source for sample in found} <= set(held_out)
    assert found == draw(model, Request(source=model.codec.examples), num=2, seed=0)
    assert {sample.label for sample in found} == {"a", "c"}


def test_a_json_line_of_a_source_draws_its_sample_again(translate):
    model = translate("transformer")
    samples = draw(model, Request(source=SOURCES, prompt="b", length=4), num=2, seed=0)
    fields = json.loads(generation.render(samples, "out.jsonl").splitlines()[5])
    assert fields["source"] == SOURCES[2] and fields["text"].startswith("b")
    assert len(fields["text"]) <= 5
    again = Request(
        source=(fields["source"],), label=fields["label"], prompt="b", length=4
    )  # a label by the seed is the same as one asked for
    assert draw(model, again, num=1, seed=fields["seed"]) == samples[5:6]


@both_cells
def test_guidance_of_0_forgets_the_source(translate, cell):
    def texts(scale, sources=SOURCES[:2]):
        request = Request(source=sources, label="c", sampling=Sampling(guidance=scale))
        return [sample.text for sample in draw(translate(cell), request, num=4, seed=0)]

    plain = draw(translate(cell), Request(source=SOURCES[:2], label="c"), num=4, seed=0)
    assert texts(1.0) == [sample.text for sample in plain] != texts(3.0)
    assert texts(0.0) == texts(0.0, SOURCES[2:]) != texts(1.0)
    assert texts(3.0) != texts(3.0, SOURCES[2:])


@both_cells
def test_the_best_of_each_source(translate, monkeypatch, cell):
    request = Request(source=SOURCES, label="a", sampling=Sampling(beams=3))
    found = draw(translate(cell), request, num=2, seed=0)
    assert [sample.source for sample in found] == [s for s in SOURCES for _ in range(2)]
    assert all(a.score >= b.score for a, b in zip(found[::2], found[1::2], strict=True))
    assert len({(sample.source, sample.text) for sample in found}) == len(found)
    monkeypatch.setattr(generation, "BATCH", 9)  # three sources at once
    again = draw(translate(cell), request, num=2, seed=0)
    assert [sample.text for sample in again] == [sample.text for sample in found]
    np.testing.assert_allclose([s.score for s in again], [s.score for s in found], rtol=1e-4)
    alone = dataclasses.replace(request, source=SOURCES[3:])
    assert draw(translate(cell), alone, num=1, seed=0)[0].text == found[6].text


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(source=("ab", " ")), "source 2 of 2 is empty"),
        (Request(source=("aQ",)), "'Q'"),
        (Request(source=("abcabcabc",)), "9 tokens"),
        (Request(length=13), "--length is 13; choose 1 to 12"),
        (Request(prompt="aa", length=11), "--length is 11; choose 1 to 10"),
        (Request(prompt="aa aa aa aa a"), "--prompt has 13 tokens"),
    ],
)
def test_mistakes_with_sources_are_one_line(translate, request_, message):
    assert translate("gru").length == 12
    with pytest.raises(UserError, match=message) as error:
        draw(translate("gru"), request_, num=1, seed=0)
    assert "\n" not in str(error.value)


def test_a_model_that_reads_no_source_refuses_one(make):
    with pytest.raises(UserError, match=r"--source is for models of pairs.*--prompt"):
        draw(make("lstm"), Request(source=("ab",)), num=1, seed=0)


def sample_of(source, text):
    return Sample(text, 0, source, None, {}, True, None, None)


def test_how_samples_of_sources_are_written():
    samples = [sample_of("one\nline", "a\nb"), sample_of("two", "c"), sample_of("three", "")]
    assert generation.render(samples, "") == "one / line\t-> a / b\ntwo\t-> c\nthree\t-> \n"
    assert generation.render(samples, "x.tsv") == "one / line\ta / b\ntwo\tc\nthree\t\n"
    assert generation.render(samples, "x.txt") == "a\nb\n\nc\n\n\n"
    assert generation.render(samples[1:], "x.txt") == "c\n\n"  # a line for each
    lines = generation.render(samples, "x.jsonl").splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["a\nb", "c", ""]
    assert generation.summary(samples, generation.Speed()) == "3 samples"
    assert generation.brief(sample_of(None, "a\nb")) == "a\nb"


def test_a_file_of_sources_keeps_their_order(translate, tmp_path, capsys):
    model = translate("gru")
    (tmp_path / "sources.txt").write_text("\n".join(SOURCES) + "\n\n")
    sampling = Sampling(temperature=0.5)
    wanted = draw(model, Request(source=(*SOURCES, "cab"), sampling=sampling), num=1, seed=7)

    def run(source, out=""):
        request = Request(source=source, sampling=sampling)
        output.tokens(tmp_path, model, output.Tokens(seed=7, request=request, out=out))
        return (tmp_path / "out.tsv").read_text() if out else capsys.readouterr().out

    asked = (f"@{tmp_path / 'sources.txt'}", "cab")
    pairs_ = "".join(f"{sample.source}\t{sample.text}\n" for sample in wanted)
    assert run(asked, str(tmp_path / "out.tsv")) == pairs_
    assert run(asked) == pairs_.replace("\t", "\t-> ")
    assert run(SOURCES[:1]) == wanted[0].text + "\n"  # one alone is streamed
    (tmp_path / "sources.txt").write_text("abc\n\ncb\n")
    with pytest.raises(UserError, match="source 2 of 3 is empty"):
        run(asked[:1])


def test_a_word_and_what_follows_it_are_two(tmp_path):
    """Tokens that are words: the prompt and the rest are joined by a space."""
    path = tmp_path / "words.jsonl"
    rows = [{"source": w, "target": " ".join(w)} for w in ("ab", "ba", "abb", "bab", "aab")]
    path.write_text("\n".join(map(json.dumps, rows * 3)))
    dataset = pairs.load(pairs.Config(path=str(path), validation=0, target_tokenizer="word"))
    module, spec = models.get("seq2seq"), dataset.spec(4)
    cfg = module.Config(**CELLS["gru"])
    params = module.init(jax.random.key(0), cfg, spec, optax.identity()).params
    model = Model("seq2seq", cfg, params, dataset.codec, spec.length, step=1)
    shown = []
    sample = stream(model, Request(source=("ab",), prompt="b"), seed=1, show=shown.append)
    assert sample.text.split() == list(sample.text.replace(" ", "")) and len(sample.text) > 1
    assert "".join(shown) == sample.text and sample.text.startswith("b ")


@both_cells
def test_completion_by_heart_is_told_the_source(translate, monkeypatch, cell):
    """Probing decodes with the source of each window: from another one other targets come."""
    model, dataset = translate(cell), translate.dataset
    conditions = []
    real = generation.told
    monkeypatch.setattr(generation, "told", lambda *how: conditions.append(how) or real(*how))
    found = probing.probe(model, "pairs", dataset, "validation")
    batches = list(pairs.eval_batches(dataset, "train", size=probing.BATCH))
    np.testing.assert_array_equal(conditions[0][0], batches[0]["condition"])
    np.testing.assert_array_equal(conditions[0][1], batches[0]["source"])
    assert found["model"].keys() == {"loss_gap", "membership_auc", "extraction_rate"}


# --- a user's mistakes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "num", "seed", "message"),
    [
        (Request(label="lowe"), 1, 0, "no label 'lowe'; did you mean 'low'"),
        (Request(prompt="aQ"), 1, 0, "'Q'"),
        (Request(length=-1), 1, 0, "--length is -1"),
        (Request(), 0, 0, "--num is 0"),
        (Request(), 1, -1, "--seed is -1"),
        (Request(), 2, 2**31 - 1, "--seed"),
        (Request(sampling=Sampling(top_p=0.0)), 1, 0, "top_p is 0.0"),
        (Request(sampling=Sampling(beams=2)), 1, 0, "beam search needs --label"),
        (Request(label="low", sampling=Sampling(beams=2)), 3, 0, "--num 3"),
    ],
)
def test_mistakes_are_one_line(make, request_, num, seed, message):
    with pytest.raises(UserError, match=message) as error:
        draw(make("markov"), request_, num=num, seed=seed)
    assert "\n" not in str(error.value)


def test_a_label_needs_a_model_with_labels(make):
    with pytest.raises(UserError, match="trained without labels"):
        draw(make("markov", "words.txt"), Request(label="low"), num=1, seed=0)


# --- checkpoints ---------------------------------------------------------------------------------


def test_a_run_is_loaded_with_the_checkpoint_asked_for(run):
    loaded = {which: load(run, which) for which in ("best", "last", "4", "8")}
    assert loaded["last"].step == loaded["8"].step == 8 and loaded["4"].step == 4
    best = min(
        (line for line in helpers.metrics(run) if line["split"] == "validation"),
        key=lambda line: line["loss"],
    )
    assert loaded["best"].step == best["step"]
    same = jax.tree.map(np.array_equal, loaded["4"].params, loaded["8"].params)
    assert not all(jax.tree.leaves(same))
    texts = {which: draw(model, Request(), num=1, seed=0) for which, model in loaded.items()}
    assert texts["last"] == texts["8"] != texts["4"]
    with pytest.raises(UserError, match=r"no checkpoint '5' in .*; choose best, last, 4, 8"):
        load(run, "5")


def test_best_is_the_last_one_before_any_evaluation(folder, tmp_path):
    experiment = helpers.experiment("gru", folder / "words.txt", train={"save_every": 2})
    helpers.train(experiment, tmp_path / "run", stop_at=2)
    reports = []
    assert load(tmp_path / "run", report=reports.append).step == 2 and not reports


def test_a_run_without_a_checkpoint_and_a_folder_that_is_no_run(run, tmp_path):
    with pytest.raises(UserError, match="not a run directory"):
        load(tmp_path)
    shutil.copy(run / "config.json", tmp_path)
    with pytest.raises(UserError, match="no checkpoint yet"):
        load(tmp_path)
    fields = json.loads((run / "config.json").read_text())
    fields["experiment"]["model"]["family"] = "elman"
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with pytest.raises(UserError, match="unknown model family 'elman'; choose one of"):
        load(tmp_path)


def test_a_damaged_checkpoint_is_passed_over(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    for file in (rundir.checkpoints(tmp_path / "run") / "8").rglob("*"):
        if file.is_file() and file.name != "manifest.json":
            file.write_bytes(b"damaged")
    reports = []
    assert load(tmp_path / "run", "last", reports.append).step == 4
    assert reports and "damaged" in reports[0]
