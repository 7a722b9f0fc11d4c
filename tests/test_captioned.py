"""Pictures with captions: read, held out by pairs of words, batched, looked at and retrieved."""

import dataclasses
import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from creagen_jax import retrieving
from creagen_jax.creativity import retrieval
from creagen_jax.data import caption_tokens, captioned, image_store
from creagen_jax.data.tokenizers import END
from creagen_jax.models import _captions, diffusion
from creagen_jax.models._dit import DiT
from creagen_jax.models._unet import UNet
from creagen_jax.types import UserError

few = settings(max_examples=20, deadline=None)
COLORS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250), "grey": (120, 120, 120)}
SIDES = ("left", "right", "top", "bottom", "middle")
ALL = [f"{color} {side} square" for color in COLORS for side in SIDES]
SHARES = {"validation": 0.1, "test": 0.1}
WORDS = st.sampled_from(["red", "blue", "big", "small", "cat", "dog", "sits", "红", "狗"])
CAPTIONS = st.lists(st.lists(WORDS, min_size=1, max_size=4).map(" ".join), min_size=1, max_size=60)


def picture(caption, size=8, shade=0):
    """A square of the caption's colour at its side of a white picture."""
    color, side, _ = caption.split()
    pixels = np.full((size, size, 3), 255, np.uint8)
    half, quarter = size // 2, size // 4
    rows, columns = {
        "left": (slice(None), slice(0, half)),
        "right": (slice(None), slice(half, None)),
        "top": (slice(0, half), slice(None)),
        "bottom": (slice(half, None), slice(None)),
        "middle": (slice(quarter, -quarter), slice(quarter, -quarter)),
    }[side]
    pixels[rows, columns] = COLORS[color]
    return pixels.clip(5, 250) - np.uint8(shade)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three shades of each caption's picture, and a table."""
    place = tmp_path_factory.mktemp("squares")
    rows = [(caption, shade) for caption in ALL for shade in (0, 1, 2)]
    for i, (caption, shade) in enumerate(rows):
        Image.fromarray(picture(caption, shade=shade)).save(place / f"{i:03d}.png")
    lines = [f"{i:03d}.png\t{caption.title()}" for i, (caption, _) in enumerate(rows)]
    (place / "captions.tsv").write_text("\n".join(["file\tcaption", *lines]))
    return place


def load(folder, **fields):
    fields = {"length": 8, "vocab": 300, "validation": 0.1, "test": 0.1, "probe": 0.0, **fields}
    return captioned.load(captioned.Config(path=str(folder), **fields))


@pytest.fixture(scope="module")
def squares(folder):
    return load(folder)


def shown(x):
    """The caption that a picture without augmentation shows, and its pixels' distance from it."""
    pixels = np.round((x + 1) * 127.5)
    distances = {caption: np.abs(pixels - picture(caption)).max() for caption in ALL}
    best = min(distances, key=distances.get)
    return best, distances[best]


# --- what is held out ----------------------------------------------------------------------------


@few
@given(CAPTIONS, st.integers(0, 5))
def test_held_out_are_combinations_and_no_words(captions, seed):
    try:
        held = caption_tokens.hold_out(captions, SHARES, seed)
    except UserError:
        return
    train = [set(each.split()) for each in captions if each not in held]
    known = set().union(*train)
    for caption in held:
        words = set(caption.split())
        assert words <= known
        assert any(
            not any({a, b} <= each for each in train) for a, b in itertools.combinations(words, 2)
        )
    for name, share in SHARES.items():
        count = sum(held.get(caption) == name for caption in captions)
        assert 1 <= count <= max(round(share * len(captions)), *map(captions.count, captions))


@few
@given(CAPTIONS, st.randoms())
def test_the_order_of_captions_does_not_matter(captions, random):
    def held(of):
        try:
            return caption_tokens.hold_out(of, SHARES, 0)
        except UserError:
            return None

    mixed = list(captions)
    random.shuffle(mixed)
    assert held(mixed) == held(captions)


def test_the_seed_decides():
    found = [caption_tokens.hold_out(ALL, SHARES, seed) for seed in range(4)]
    assert all(found) and len({tuple(sorted(each)) for each in found}) > 1


@pytest.mark.parametrize("captions", [["one"], ["red cat", "blue dog"], ["red cat"] * 9, []])
def test_nothing_can_be_held_out(captions):
    with pytest.raises(UserError, match=r"--data\.validation 0"):
        caption_tokens.hold_out(captions, SHARES, 0)
    assert caption_tokens.hold_out(captions, {}, 0) == {}


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("couple: man, man", {"couple", "man"}),
        ("红苹果 pie", {"红", "苹", "果", "pie"}),
        ("o'clock é", {"o", "clock", "é"}),
        ("... !", set()),
    ],
)
def test_words(caption, words):
    assert caption_tokens.words(caption) == words


def test_held_out_pictures(squares):
    parts = {name: set(captioned.captions(squares, name)) for name in squares.splits}
    assert set(parts) == {"train", "validation", "test"} and set().union(*parts.values()) == set(
        ALL
    )
    assert sum(map(len, parts.values())) == len(ALL)  # no caption in two of them
    assert sum(len(split.images) for split in squares.splits.values()) == 3 * len(ALL)
    known = {word for caption in parts["train"] for word in caption.split()}
    assert {word for caption in ALL for word in caption.split()} == known


def test_a_picture_of_two_captions_is_in_one_split(tmp_path):
    rows = []
    for i, caption in enumerate([*ALL, *ALL]):
        alike = caption.replace("blue", "red")  # blue ones look like red ones
        Image.fromarray(picture(alike, shade=i // len(ALL))).save(tmp_path / f"{i}.png")
        rows.append(json.dumps({"file_name": f"{i}.png", "text": caption}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(rows))
    left_out = 0
    for seed in range(4):
        found = load(tmp_path, split_seed=seed)
        seen = [{each.tobytes() for each in split.images} for split in found.splits.values()]
        assert not any(a & b for a, b in itertools.combinations(seen, 2))
        total = sum(len(split.images) for split in found.splits.values())
        assert total + found.fingerprint["left_out"] == 2 * len(ALL)
        left_out += found.fingerprint["left_out"]
    assert left_out


def test_large_sets_are_cached_by_what_is_held_out(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(image_store, "MEMORY_BYTES", 0)
    found = {}
    for seed in (0, 1, 0):
        cfg = captioned.Config(
            path=str(folder), length=8, vocab=300, probe=0.0, split_seed=seed, test=0.15
        )
        data = captioned.load(cfg, cache=tmp_path)
        held = caption_tokens.hold_out(
            [row.caption for row in caption_tokens.read(str(folder))],
            {"validation": 0.1, "test": 0.15},
            seed,
        )
        for name in data.splits:
            assert all(
                held.get(caption, "train") == name for caption in captioned.captions(data, name)
            )
        found.setdefault(seed, data.fingerprint)
        assert found[seed] == data.fingerprint
    assert found[0]["sha256"] != found[1]["sha256"]


# --- where captions come from --------------------------------------------------------------------


def write(place, names):
    for name in names:
        (place / name).parent.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (4, 4)).save(place / name)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("captions.tsv", "caption\tfile\nA  Red Cat\ta.png\n一只狗\tsub/b.png"),
        ("captions.csv", 'file,caption,label\na.png,"a red cat",x\nsub/b.png,一只狗,y\n'),
        (
            "captions.jsonl",
            '{"file":"a.png","caption":"A red\\tcat"}\n{"file":"sub/b.png","caption":"一只狗"}',
        ),
        (
            "metadata.jsonl",
            '\ufeff{"file_name":"a.png","text":"a red cat"}\n'
            '{"file_name":"sub/b.png","text":"一只狗"}',
        ),
        ("metadata.csv", "file_name,text\r\na.png,a red cat\r\nsub/b.png,一只狗\r\n"),
    ],
)
def test_tables(tmp_path, table, text):
    write(tmp_path, ["a.png", "sub/b.png", "c.png"])
    (tmp_path / table).write_text(text)
    found = caption_tokens.read(str(tmp_path))
    assert found == [(tmp_path / "a.png", "a red cat"), (tmp_path / "sub/b.png", "一只狗")]


def test_file_names_are_captions(tmp_path):
    names = ["red_apple.png", "red_apple_2.png", "Blue-Pear 03.JPG", "红苹果.png", "7up.png"]
    write(tmp_path, names)
    found = {row.file.name: row.caption for row in caption_tokens.read(str(tmp_path))}
    assert [found[name] for name in names] == ["red apple"] * 2 + ["blue pear", "红苹果", "7up"]


@pytest.mark.parametrize(
    ("names", "table", "says"),
    [
        ([], None, "holds no"),
        (["1.png", "2.png"], None, "2 of 2 pictures have no word.*captions.tsv"),
        (["1.png"], "file\tcaption\n1.png\t!?", "1 of 1 pictures have no word"),
        (["1.png"], "file\tcaption\n1.png\ta\n1.png\tb", "names 1.png more than once"),
        (["1.png"], "file\ttext\n1.png\ta", "no text in `caption`"),
        (["1.png"], "file\tcaption\n1.png\ta b\tc", "3 columns instead of 2"),
        (["1.png"], "file\tcaption\n1.png\t ", "is empty"),
    ],
)
def test_captions_that_cannot_be_read(tmp_path, names, table, says):
    write(tmp_path, names)
    if table:
        (tmp_path / "captions.tsv").write_text(table)
    with pytest.raises(UserError, match=says):
        caption_tokens.read(str(tmp_path))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"path": ""}, "--data.path"),
        ({"path": "nowhere"}, "no such file or folder"),
        ({"validation": 0.9, "test": 0.2}, "leave something for training"),
        ({"probe": -0.1}, "at least 0"),
        ({"length": 1}, "--data.length"),
        ({"height": -1}, "--data.height"),
        ({"shift": 8}, "out of the frame"),
        ({"background": "nice"}, "no color"),
        ({"vocab": 10}, "too small"),
    ],
)
def test_settings_that_do_not_fit(folder, fields, says):
    with pytest.raises(UserError, match=says) as caught:
        load(fields.pop("path", folder), **fields)
    assert "\n" not in str(caught.value)


def test_damaged_pictures_are_refused(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "001.png").write_bytes(b"no picture")
    (tmp_path / "002.png").unlink()
    with pytest.raises(UserError, match="2 of 60 pictures are damaged"):
        load(tmp_path, height=8)


# --- batches -------------------------------------------------------------------------------------


def test_spec(squares):
    spec = squares.spec(4)
    assert spec.shape == (8, 8, 3) and spec.source == 8 and spec.classes == 0
    assert spec.source_vocab == squares.codec.source_tokenizer.vocab


def check_rows(dataset, batch, rows):
    """That each row's picture shows its caption, and that only END stands behind that."""
    for x, source in itertools.islice(zip(batch["x"], batch["source"], strict=True), rows):
        ends = np.flatnonzero(source == END)
        assert len(ends) and not source[ends[0] :].any()
        assert shown(x) == (dataset.codec.decode_source(source), pytest.approx(0, abs=2.1))


def test_training_batches(squares):
    seen = []
    for step in range(12):
        batch = captioned.train_batch(squares, seed=3, step=step, size=4)
        again = captioned.train_batch(squares, seed=3, step=step, size=4)
        assert batch.keys() == again.keys() == {"x", "source"}
        assert all(np.array_equal(batch[key], again[key]) for key in batch)
        assert batch["source"].dtype == np.int32 and batch["source"].shape == (4, 8)
        check_rows(squares, batch, 4)
        seen += [each.tobytes() for each in batch["x"]]
    train = len(squares.splits["train"].images)
    assert len(set(seen[:train])) == train  # an epoch has each once
    other = captioned.train_batch(squares, seed=4, step=0, size=4)
    assert not np.array_equal(
        other["x"], captioned.train_batch(squares, seed=3, step=0, size=4)["x"]
    )


def test_augmented_batches_keep_their_captions(folder, squares):
    mirrored = load(folder, flip=True)
    for step in range(3):
        batch = captioned.train_batch(mirrored, seed=0, step=step, size=8)
        plain = np.where(
            batch["augment"][:, :1, None, None] > 0, batch["x"][:, :, ::-1], batch["x"]
        )
        check_rows(mirrored, {**batch, "x": plain}, 8)


def test_evaluation_batches_cover_a_split_once(squares):
    for split, size in itertools.product(squares.splits, (4, 7)):
        seen = []
        for batch in captioned.eval_batches(squares, split, size=size):
            rows = int(batch["mask"].sum())
            assert all(len(array) == size for array in batch.values())
            assert not batch["source"][rows:].any() and not batch["mask"][rows:].any()
            check_rows(squares, batch, rows)
            seen += [each.tobytes() for each in batch["x"][:rows]]
        assert len(set(seen)) == len(seen) == captioned.windows(squares, split)
    with pytest.raises(UserError, match="no probe split"):
        next(captioned.eval_batches(squares, "probe", size=4))


# --- the codec -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", ["bpe", "char", "word", "byte"])
def test_codec_survives_a_run(folder, tmp_path, tokenizer):
    dataset = load(folder, tokenizer=tokenizer, length=32)
    captioned.save(dataset, tmp_path)
    codec = captioned.load_codec(tmp_path)
    for caption in ALL:
        ids = codec.encode_source(caption.upper().replace(" ", "  "))
        np.testing.assert_array_equal(ids, dataset.codec.encode_source(caption))
        assert ids.shape == (32,) and codec.decode_source(ids) == caption
    assert codec.examples == dataset.codec.examples
    assert set(codec.examples) == set(captioned.captions(dataset, "test"))
    x = codec.encode(dataset.splits["train"].images[:2])
    np.testing.assert_array_equal(codec.decode(x), dataset.splits["train"].images[:2])
    (tmp_path / "source.json").unlink()
    with pytest.raises(UserError, match=r"no source\.json"):
        captioned.load_codec(tmp_path)


@few
@given(st.text(max_size=12))
def test_any_language_is_pieces(squares, text):
    codec = dataclasses.replace(squares.codec, source_length=200)
    wanted = caption_tokens.normal(text)
    assert codec.decode_source(codec.encode_source(text)) == wanted
    assert caption_tokens.normal(wanted) == wanted


def test_captions_that_are_too_long_or_unknown(folder, squares):
    with pytest.raises(UserError, match="this model reads at most 7"):
        squares.codec.encode_source("überraschung " * 9)
    with pytest.raises(UserError, match="'purple' is not in the training"):
        load(folder, tokenizer="word").codec.encode_source("purple square")
    short = load(folder, length=3)
    assert short.fingerprint["truncated"] == len(ALL) and "20 cut" in captioned.describe(short)
    assert (short.source_KS[:, -1] == END).all() and (short.source_KS[:, 0] != END).all()


def test_description(squares):
    said = captioned.describe(squares)
    assert "pictures of 8x8, rgb" in said and "8 bpe tokens" in said
    json.dumps(squares.fingerprint)


# --- what reads captions -------------------------------------------------------------------------

SIZE, VOCAB = _captions.Size(width=8, depth=2, heads=2), 12
SOURCE = np.array([[3, 4, 5, 0, 0, 0], [5, 4, 3, 0, 0, 0], [0, 0, 0, 0, 0, 0]], np.int32)


def noisy(params):
    """Not special ones: several start at zero, which would hide mistakes."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), leaf.dtype), params
    )


@pytest.fixture(scope="module")
def encoder():
    module = _captions.Encoder(SIZE, VOCAB)
    params = noisy(jax.eval_shape(module.init, jax.random.key(0), SOURCE))
    return jax.jit(lambda source: module.apply(params, source))


def test_encoder_reads_up_to_the_first_end(encoder):
    context, mask = encoder(SOURCE)
    assert mask.sum(1).tolist() == [4, 4, 1]
    behind = SOURCE.copy()
    behind[0, 4:] = 7
    other, _ = encoder(behind)
    np.testing.assert_array_equal(context[0, :4], other[0, :4])
    shorter, _ = encoder(SOURCE[:, :4])
    np.testing.assert_allclose(context[:2, :4], shorter[:2], atol=1e-5)


def test_encoder_knows_the_order_of_words(encoder):
    told = _captions.summary(*encoder(SOURCE))
    assert np.abs(told[0] - told[1]).max() > 1e-3
    assert np.isfinite(told).all()
    context, _ = encoder(SOURCE)
    np.testing.assert_allclose(told[0], context[0, :4].mean(0), atol=1e-6)
    np.testing.assert_allclose(told[2], context[2, 0], atol=1e-6)


def test_cross_attention_is_attention():
    rng = np.random.default_rng(0)
    x, context = (jnp.array(rng.normal(size=size)) for size in ((2, 3, 2, 8), (2, 4, 5)))
    mask = jnp.array([[1, 1, 0, 0], [1, 1, 1, 1]], bool)
    module = _captions.CrossAttention(heads=2)
    like = jax.eval_shape(module.init, jax.random.key(0), x, context, mask)
    params = noisy(like)
    found = module.apply(params, x, context, mask)
    x, context, mask = map(np.asarray, (x, context, mask))
    W = {name: np.asarray(layer["kernel"]) for name, layer in params["params"].items()}

    def norm(a):
        return a / np.sqrt((a**2).mean(-1, keepdims=True) + 1e-6)

    for b, i, j in itertools.product(range(2), range(3), range(2)):
        q = (norm(x[b, i, j]) @ W["query"]).reshape(2, 4)
        k, v = np.split(context[b] @ W["memory"], 2, axis=-1)
        heads = []
        for n in range(2):
            part = slice(4 * n, 4 * n + 4)
            scores = norm(k[:, part]) @ norm(q[n]) / 2
            weights = np.exp(scores) * mask[b]
            heads.append(weights / weights.sum() @ v[:, part])
        wanted = x[b, i, j] + np.concatenate(heads) @ W["out"]
        np.testing.assert_allclose(found[b, i, j], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["unet", "dit"])
def test_networks_look_at_a_context(name):
    cfg = diffusion.Config(network=name, width=8, levels=(1, 2), depth=1, heads=2, patch=2)
    module = {"unet": UNet, "dit": DiT}[name](cfg)
    rng = np.random.default_rng(0)
    x, told, context = (
        jnp.array(rng.normal(size=size), jnp.float32) for size in ((2, 8, 8, 1), (2, 8), (2, 3, 6))
    )
    mask = jnp.array([[1, 1, 0], [1, 1, 1]], bool)
    key = jax.random.key(0)
    without = jax.eval_shape(lambda: module.init(key, x, told, None))["params"]
    params = jax.eval_shape(lambda: module.init(key, x, told, None, (context, mask)))["params"]
    paths = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    before = {
        jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(without)
    }
    assert before < paths and all("look" in path for path in paths - before)

    params = noisy(params)
    apply = jax.jit(lambda c: module.apply({"params": params}, x, told, None, (c, mask)))
    found = apply(context)
    assert found.shape == x.shape and np.isfinite(found).all()
    hidden, seen = context.at[0, 2].add(9), context.at[0, 1].add(9)
    np.testing.assert_array_equal(found, apply(hidden))
    assert np.abs(found - apply(seen))[0].max() > 1e-4
    np.testing.assert_allclose(found[1], apply(seen)[1], atol=1e-5)


def test_cross_attention_starts_by_changing_nothing():
    x, context = jnp.ones((1, 2, 8)), jnp.ones((1, 3, 4))
    found, _ = _captions.CrossAttention(heads=2).init_with_output(
        jax.random.key(0), x, context, jnp.ones((1, 3), bool)
    )
    np.testing.assert_array_equal(found, x)


# --- retrieval -----------------------------------------------------------------------------------

VECTORS = st.integers(2, 30).flatmap(
    lambda n: st.tuples(*[st.integers(0, 2**32 - 1)] * 2, st.just(n))
)


def brute_force(text, pictures, k):
    found = []
    for i, each in enumerate(text):
        cosine = [each @ p / np.linalg.norm(each) / np.linalg.norm(p) for p in pictures]
        found.append(i in np.argsort(cosine)[::-1][:k])
    return np.array(found, float)


@few
@given(VECTORS, st.integers(1, 12))
def test_hits_by_brute_force(drawn, k):
    a, b, n = drawn
    text = np.random.default_rng(a).normal(size=(n, 5))
    pictures = text + np.random.default_rng(b).normal(size=(n, 5))
    found = retrieval.hits(text, pictures, k)
    np.testing.assert_array_equal(found, brute_force(text, pictures, k))
    scale = np.random.default_rng(a).uniform(0.1, 9, (n, 1))
    np.testing.assert_array_equal(found, retrieval.hits(scale * text, 3 * pictures, k))
    order = np.random.default_rng(b).permutation(n)
    np.testing.assert_array_equal(found[order], retrieval.hits(text[order], pictures[order], k))


def test_recall_of_known_cases():
    text = np.random.default_rng(0).normal(size=(50, 4))
    assert retrieval.recall(text, text, 1).value == 1
    same = np.ones((50, 4))
    for pair in ((text, same), (same, text), (text, 0 * text)):
        assert retrieval.recall(*pair, 10).value == pytest.approx(retrieval.chance(50, 10))
    assert retrieval.chance(4, 10) == 1
    twice = np.repeat(text[:25], 2, axis=0)  # each picture is there twice
    assert retrieval.recall(twice, twice, 1).value == pytest.approx(0.5)


def test_measure_beside_its_anchors():
    rng = np.random.default_rng(0)
    text = rng.normal(size=(400, 16))
    real, drawn = text + 0.5 * rng.normal(size=text.shape), text + 2 * rng.normal(size=text.shape)
    found = retrieval.measure(text, drawn, real, k=10)
    value = {name: each.value for name, each in found.items()}
    assert value["chance"] == 10 / 400
    assert value["shuffled"] < 0.06 < value["generated"] < value["real"]
    assert value["times_chance"] == pytest.approx(value["generated"] * 40)
    assert value["of_real"] == pytest.approx(value["generated"] / value["real"])
    assert all(each.low <= each.value <= each.high for each in found.values())
    few_ = retrieval.measure(text[:5], drawn[:5], real[:5])
    assert few_.keys() == found.keys() and all(each.value is None for each in few_.values())


@few
@given(st.integers(2, 40), st.integers(0, 9))
def test_shuffled_pictures_are_of_other_captions(n, seed):
    order = retrieval._elsewhere(n, seed)
    assert sorted(order) == list(range(n)) and (order != np.arange(n)).all()


def test_vectors_that_do_not_pair():
    text = np.ones((3, 2))
    for pictures in (np.ones((2, 2)), np.ones((3, 1)), np.full((3, 2), np.nan)):
        with pytest.raises(ValueError):
            retrieval.hits(text, pictures)


@pytest.fixture
def quick(monkeypatch):
    """A small judge, but trained."""
    monkeypatch.setattr(retrieving, "STEPS", 60)
    monkeypatch.setattr(retrieving, "CHECK", 20)
    monkeypatch.setattr(retrieving, "BATCH", 32)
    monkeypatch.setattr(retrieving, "SIZE", _captions.Size(width=32, depth=1, heads=2))


def test_the_judge_finds_held_out_combinations(squares, quick):
    train, vocab = squares.pictures.splits["train"], squares.codec.source_tokenizer.vocab
    source = squares.source_KS[train.labels]
    judge = retrieving.fit(train.images, source, vocab=vocab)
    again = retrieving.fit(train.images, source, vocab=vocab)
    assert jax.tree.all(jax.tree.map(np.array_equal, judge.params, again.params))

    text = retrieving.read(judge, squares.source_KS)  # of all 20 captions
    real = retrieving.look(judge, np.stack([picture(each) for each in squares.captions]))
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, rtol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(real, axis=1), 1, rtol=1e-3)
    found = retrieval.hits(text, real, 3)
    held = [i for i, each in enumerate(squares.captions) if each in _held(squares)]
    assert found.mean() > 0.8 and found[held].mean() >= 0.5  # by chance: 0.15
    assert retrieval.recall(text, np.roll(real, 1, axis=0), 3).value < 0.6


def test_pictures_drawn_from_held_out_captions(squares, quick, monkeypatch):
    monkeypatch.setattr(retrieval, "measure", functools.partial(retrieval.measure, k=1))
    texts, _, images = captioned.one_each(squares, "test")
    assert retrieving.questions(squares) == tuple(texts)
    cut = dataclasses.replace(squares, source_KS=squares.source_KS * 0)
    assert retrieving.questions(cut) == ()  # no caption can be told as it is
    prompts = ["something else", *texts, *texts]  # the first of each counts
    right = np.concatenate([images[:1], images, np.zeros_like(images)])
    found = retrieving.scores(squares, right, prompts)
    real = found["held-out"]["recall_at_10"].value
    assert found["model"]["recall_at_10"].value == real > 0
    assert found["model"]["recall_at_10_of_real"].value == 1
    wrong = np.concatenate([images[:1], np.roll(images, 1, axis=0), images])
    assert retrieving.scores(squares, wrong, prompts)["model"]["recall_at_10"].value < real
    assert retrieving.scores(squares, right[:1], prompts[:1]) == {"model": {}, "held-out": {}}


def test_each_caption_once_with_its_picture(squares):
    captions, source, images = captioned.one_each(squares, "train")
    assert sorted(set(captions)) == sorted(captions)
    assert set(captions) == set(captioned.captions(squares, "train"))
    check_rows(squares, {"x": squares.codec.encode(images), "source": source}, len(captions))
    assert [squares.codec.decode_source(each) for each in source] == captions


def _held(squares):
    return set(captioned.captions(squares, "validation") + captioned.captions(squares, "test"))


def test_too_few_captions_to_learn_from():
    images, source = np.zeros((90, 8, 8, 3), np.uint8), np.tile(SOURCE[:1], (90, 1))
    with pytest.raises(UserError, match="too few"):
        retrieving.fit(images, source, vocab=VOCAB)
