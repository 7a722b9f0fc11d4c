import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax.data import corpus, sources, text
from creagen_jax.data.tokenizers import END, UNKNOWN
from creagen_jax.types import UserError

POEM = "床前明月光。疑是地上霜。\n举头望明月。低头思故乡。\n"
PREPARED = Path(__file__).parents[2] / "shared" / "data" / "tfds"
SENTENCES = st.lists(st.text("abc é好", min_size=1, max_size=12), min_size=30, max_size=60)


def load(content, *, suffix=".txt", **fields):
    """The dataset of one file with the given content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{suffix}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return text.load(text.Config(path=str(path), **fields))


def letters(count, seed=0):
    return "".join(np.random.default_rng(seed).choice(list("abcdefg \n"), count))


@pytest.fixture(scope="module")
def names():
    return text.load(text.Config())


def rows_as_text(dataset, batch):
    return [dataset.codec.decode(row[1:]) for row in batch["x"][batch["mask"].sum(1) > 0]]


# --- splits ------------------------------------------------------------------------------------


def test_names_are_split_by_name_and_labelled_by_kind(names):
    seen = {
        split: {
            name
            for batch in text.eval_batches(names, split, size=512)
            for name in rows_as_text(names, batch)
        }
        for split in names.splits
    }
    assert names.codec.labels == ("female", "male", "surname")
    assert {"Mary", "Smith"} <= set.union(*seen.values())
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]
    shares = np.array([len(seen[split]) for split in ("train", "validation", "test")])
    np.testing.assert_allclose(shares / shares.sum(), [0.9, 0.05, 0.05], atol=0.005)
    assert names.spec(8) == text.Spec(vocab=54, length=14, classes=3)


def test_stream_is_cut_by_characters_in_order():
    content = POEM * 50
    dataset = load(content, length=8, test=0.2)
    decoded = {
        name: dataset.codec.tokenizer.decode(split.tokens) for name, split in dataset.splits.items()
    }
    assert list(decoded) == ["train", "validation", "test"]
    assert "".join(decoded.values()) == content
    assert len(decoded["train"]) == int(0.7 * len(content))
    assert abs(len(decoded["test"]) - 0.2 * len(content)) <= 1


def test_the_split_without_test_is_nanogpts():
    content = letters(1003)
    dataset = load(content, length=8)
    assert dataset.codec.tokenizer.decode(dataset.splits["train"].tokens) == content[: int(902.7)]


@settings(max_examples=20)
@given(lines=SENTENCES)
def test_equal_lines_share_a_split(lines):
    splits = sources.split_by_hash([sources.Line(line) for line in lines * 2], {"validation": 0.4})
    train, validation = ({line.text for line in splits[name]} for name in ("train", "validation"))
    assert not train & validation
    assert train | validation == set(lines)
    assert sum(map(len, splits.values())) == 2 * len(lines)


# --- batches -----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 30),
    share=st.floats(0, 0.99),
    size=st.integers(2, 7),
    order=st.sampled_from(["random", "sequential"]),
)
def test_eval_covers_every_position_of_a_stream_once(length, share, size, order):
    overlap = int(share * length)
    dataset = load(letters(800), length=length, validation=0.2, order=order)
    tokens = dataset.splits["validation"].tokens
    predictions, history = [], []
    for batch in text.eval_batches(dataset, "validation", size=size, overlap=overlap):
        assert batch["x"].shape == (size, length + 1)
        counted = batch["mask"] > 0
        predictions += list(batch["x"][:, 1:][counted])
        history += list(np.nonzero(counted)[1] + 1)  # tokens of the window before each prediction
    np.testing.assert_array_equal(predictions, tokens[1:])
    assert min(history[length:], default=overlap + 1) > overlap


@settings(max_examples=20, deadline=None)
@given(lines=SENTENCES, size=st.integers(2, 9))
def test_eval_covers_every_line_once_and_counts_its_characters(lines, size):
    dataset = load("\n".join([*lines, *map(str, range(50))]), unit="line", validation=0.3)
    batches = list(text.eval_batches(dataset, "train", size=size))
    examples = [line for batch in batches for line in rows_as_text(dataset, batch)]
    assert len(examples) == text.windows(dataset, "train")
    size_of = dataset.fingerprint["splits"]["train"]
    assert size_of["chars"] == sum(map(len, examples))
    closing = len(examples)  # each END is the newline that closes a line
    assert sum(batch["chars"].sum() for batch in batches) == size_of["chars"] + closing
    n_bytes = sum(len(line.encode()) for line in examples)
    assert sum(batch["bytes"].sum() for batch in batches) == n_bytes + closing


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe"])
def test_counted_characters_of_a_stream_are_all_but_the_first_token(tokenizer):
    dataset = load(POEM * 40, length=16, tokenizer=tokenizer, vocab=270)
    batches = list(text.eval_batches(dataset, "validation", size=4, overlap=3))
    tables, first = dataset.codec.tokenizer, dataset.splits["validation"].tokens[0]
    chars = dataset.fingerprint["splits"]["validation"]["chars"]
    assert sum(batch["chars"].sum() for batch in batches) == chars - tables.chars_V[first]


def test_limited_evaluation_is_the_same_evenly_spaced_windows():
    dataset = load(letters(4000), length=10, validation=0.5)
    limited = np.concatenate(
        [b["x"] for b in text.eval_batches(dataset, "validation", size=4, limit=8)]
    )
    every = np.concatenate([b["x"] for b in text.eval_batches(dataset, "validation", size=4)])
    np.testing.assert_array_equal(limited, every[np.arange(8) * 25])


@pytest.mark.parametrize("order", ["random", "consecutive", "sequential"])
def test_train_batch_is_pure_in_seed_and_step(order):
    content = letters(3000)
    one, two = (load(content, length=16, order=order) for _ in range(2))
    later = text.train_batch(one, seed=1, step=7, size=4)
    for step in range(8):
        again = text.train_batch(two, seed=1, step=step, size=4)
    for name, array in later.items():
        np.testing.assert_array_equal(array, again[name])
    assert later["x"].dtype == np.int32 and later["mask"].dtype == np.float32
    assert order == "sequential" or not np.array_equal(
        later["x"], text.train_batch(one, seed=2, step=7, size=4)["x"]
    )


def test_an_epoch_of_lines_visits_each_once_with_its_label(names):
    count = text.windows(names, "train")
    order = [text.train_batch(names, seed=0, step=step, size=1000) for step in range(85)]
    x = np.concatenate([batch["x"] for batch in order])[:count]
    label = np.concatenate([batch["condition"] for batch in order])[:count]
    visited = np.column_stack([label, x])
    whole = next(text.eval_batches(names, "train", size=count))
    stored = np.column_stack([whole["condition"], whole["x"]])
    np.testing.assert_array_equal(np.unique(visited, axis=0), np.unique(stored, axis=0))
    assert len(np.unique(visited, axis=0)) == count


def test_lines_are_padded_with_end_and_mask_zero(names):
    batch = text.train_batch(names, seed=0, step=0, size=16)
    for x, mask in zip(batch["x"], batch["mask"], strict=True):
        n = int(mask.sum())
        assert x[0] == END and x[n] == END and (x[1:n] > UNKNOWN).all() and (x[n:] == END).all()
        assert mask[:n].all() and not mask[n:].any()


def test_consecutive_rows_continue_until_they_are_reset():
    dataset = load(letters(5000), length=16, order="consecutive")
    assert dataset.spec(4).streams == 4
    resets, before = 0, None
    for step in range(200):
        batch = text.train_batch(dataset, seed=0, step=step, size=4)
        if batch["reset"].all():
            resets += 1
        else:
            assert not batch["reset"].any()
            np.testing.assert_array_equal(batch["x"][:, 0], before[:, -1])
        before = batch["x"]
    assert resets == 3
    with pytest.raises(UserError, match="too few for 500 consecutive rows"):
        dataset.spec(500)


def test_a_sequential_pass_counts_every_position_once_and_then_repeats():
    dataset = load(letters(1000), length=16, order="sequential", overlap=5)
    tokens = dataset.splits["train"].tokens
    steps = -(-text.windows(dataset, "train", overlap=5) // 8)
    batches = [text.train_batch(dataset, seed=0, step=step, size=8) for step in range(2 * steps)]
    for part in (batches[:steps], batches[steps:]):
        counted = [batch["x"][:, 1:][batch["mask"] > 0] for batch in part]
        np.testing.assert_array_equal(np.concatenate(counted), tokens[1:])


def test_units():
    totals = {"loss": 20.0, "weight": 5.0, "chars": 10.0, "bytes": 20.0}
    assert text.units(totals) == {
        "loss": 4.0,
        "nats_per_char": 2.0,
        "bits_per_byte": pytest.approx(1 / np.log(2)),
    }


# --- files -------------------------------------------------------------------------------------


def test_long_lines_are_cut_and_counted():
    dataset = load("abcdef\nab\nba\ncd\n" * 9, unit="line", length=4, validation=0.0)
    assert dataset.fingerprint["splits"]["train"]["truncated"] == 9
    batch = next(text.eval_batches(dataset, "train", size=2))
    assert rows_as_text(dataset, batch) == ["abcd", "ab"]
    np.testing.assert_array_equal(batch["mask"], [[1, 1, 1, 1], [1, 1, 1, 0]])


def test_fingerprint_tells_duplicates_and_unknown_characters():
    dataset = load("ab\nab\nba\n" * 10 + "".join(f"a{c}\n" for c in "cdefghijklmnop"), unit="line")
    splits = dataset.fingerprint["splits"]
    assert sum(split["duplicates"] for split in splits.values()) == 28
    assert splits["validation"]["also_in_train"] == 0
    assert splits["validation"]["unknown"] > 0
    assert json.loads(json.dumps(dataset.fingerprint)) == dataset.fingerprint


def test_fingerprint_knows_the_content():
    one, two = (load(letters(1000, seed), length=8).fingerprint["sha256"] for seed in (0, 1))
    assert one != two
    assert one == load(letters(1000), length=32, tokenizer="byte").fingerprint["sha256"]


def test_newlines_and_byte_order_mark_are_normalised():
    plain = POEM * 20
    marked = b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode()
    one, two = (load(content, length=8).fingerprint["sha256"] for content in (marked, plain))
    assert one == two


def test_only_a_newline_ends_a_line():
    dataset = load("a\u2028b\nc\x0bd\n\n  \ne\x85f\n" * 9, unit="line", validation=0.0)
    batch = next(text.eval_batches(dataset, "train", size=27))
    assert set(rows_as_text(dataset, batch)) == {"a\u2028b", "c\x0bd", "e\x85f"}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_rows_hold_text_and_label(suffix):
    pairs = [(f'say "{i}",\n床前', "odd" if i % 2 else "even") for i in range(40)]
    if suffix == ".jsonl":
        content = "\n".join(json.dumps({"text": t, "label": label}) for t, label in pairs)
    else:
        quoted = ('"{}",{}'.format(t.replace('"', '""'), label) for t, label in pairs)
        content = "\n".join(["text,label", *quoted])
    dataset = load(content, suffix=suffix)
    read = {
        (line, dataset.codec.labels[label])
        for split in dataset.splits
        for batch in text.eval_batches(dataset, split, size=50)
        for line, label in zip(rows_as_text(dataset, batch), batch["condition"], strict=False)
    }
    assert read == set(pairs)
    assert load(content, suffix=suffix, labels=False).spec(2).classes == 0


def test_documents_of_a_folder_are_joined_by_end(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    for file, content in {"b/2.txt": "def" * 9, "1.txt": "abc" * 9, ".hidden/0.txt": "x"}.items():
        (tmp_path / file).write_text(content)
    dataset = text.load(text.Config(path=str(tmp_path), length=4, validation=0.0))
    tokens = dataset.splits["train"].tokens
    assert list(np.flatnonzero(tokens == END)) == [27]
    assert dataset.codec.decode(tokens) == "abc" * 9
    assert dataset.codec.forbidden == (UNKNOWN,)
    assert list(dataset.codec.encode_prompt("")) == [END]


def test_a_mixed_folder_is_lines(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.jsonl").write_text('{"text": "three"}\n')
    cfg = text.Config(path=str(tmp_path), validation=0.0)
    batch = next(text.eval_batches(dataset := text.load(cfg), "train", size=4))
    assert rows_as_text(dataset, batch) == ["one", "two", "three"]
    stream = text.load(dataclasses.replace(cfg, unit="stream", length=2))
    assert stream.codec.tokenizer.decode(stream.splits["train"].tokens) == "one\ntwo\nthree"


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe"])
def test_a_large_stream_is_mapped_and_equals_a_small_one(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "CHUNK_BYTES", 1000)  # cuts characters apart
    path = tmp_path / "poem.txt"
    path.write_text("é" + POEM * 200)
    cfg = text.Config(path=str(path), length=16, test=0.1, tokenizer=tokenizer, vocab=280)
    small = text.load(cfg)
    monkeypatch.setattr(corpus, "MEMORY_BYTES", 100)
    large, again = (text.load(cfg, cache=tmp_path / "cache") for _ in range(2))
    for dataset in (large, again):
        assert dataset.fingerprint == small.fingerprint
        for name, split in small.splits.items():
            assert isinstance(dataset.splits[name].tokens, np.memmap)
            np.testing.assert_array_equal(dataset.splits[name].tokens, split.tokens)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [""]  # nothing partial
    assert len(list((tmp_path / "cache").iterdir())) == 1


# --- TensorFlow Datasets -----------------------------------------------------------------------


@pytest.mark.skipif(not PREPARED.is_dir(), reason="needs ../shared/data/tfds, prepared sets")
def test_tfds_stream_keeps_its_own_splits():
    dataset = text.load(text.Config(tfds="tiny_shakespeare", tfds_dir=str(PREPARED)))
    sizes = [len(split.tokens) for split in dataset.splits.values()]
    assert list(dataset.splits) == ["train", "validation", "test"]
    assert sizes == [1003854, 55770, 55770]
    assert dataset.spec(2) == text.Spec(vocab=67, length=128)


@pytest.mark.skipif(not PREPARED.is_dir(), reason="needs ../shared/data/tfds, prepared sets")
def test_tfds_set_without_text_is_refused():
    with pytest.raises(UserError, match="no feature `text`; it has image, label"):
        text.load(text.Config(tfds="mnist", tfds_dir=str(PREPARED)))


def test_tfds_lines_with_labels(tmp_path):
    import tensorflow_datasets as tfds

    class Reviews(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = tmp_path  # where it would look for a README

        def _info(self):
            label = tfds.features.ClassLabel(names=["bad", "good"])
            features = tfds.features.FeaturesDict({"text": tfds.features.Text(), "label": label})
            return self.dataset_info_from_configs(features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(), "test": self._generate_examples()}

        def _generate_examples(self):
            for i in range(40):
                yield i, {"text": f"review {i}", "label": i % 2}

    builder = Reviews(data_dir=tmp_path, file_format="array_record")
    builder.download_and_prepare()
    dataset = text.load(text.Config(tfds="reviews", tfds_dir=str(tmp_path)))
    assert dataset.codec.labels == ("bad", "good")
    splits = dataset.fingerprint["splits"]
    assert splits["train"]["examples"] + splits["validation"]["examples"] == 40
    assert splits["test"]["examples"] == 40
    assert splits["test"]["also_in_train"] == splits["train"]["examples"]  # shown, not hidden


def test_unprepared_tfds_set_says_how_to_prepare_it(tmp_path):
    with pytest.raises(UserError, match=r"not prepared.*download_and_prepare") as error:
        text.load(text.Config(tfds="tiny_shakespeare", tfds_dir=str(tmp_path)))
    assert "\n" not in str(error.value)


# --- the codec ---------------------------------------------------------------------------------


def test_codec_survives_saving(names, tmp_path):
    text.save(names, tmp_path)
    codec = text.load_codec(tmp_path)
    for field in ("labels", "line", "start", "forbidden"):
        assert getattr(codec, field) == getattr(names.codec, field)
    np.testing.assert_array_equal(codec.encode_prompt("Ann"), names.codec.encode_prompt("Ann"))
    lines = rows_as_text(names, text.train_batch(names, seed=0, step=0, size=32))
    assert not any(codec.is_new(line) for line in lines)
    held_out = rows_as_text(names, next(text.eval_batches(names, "test", size=32)))
    assert all(codec.is_new(line) for line in held_out)
    assert codec.label_id("male") == 1
    with pytest.raises(UserError, match="no label 'mael'; did you mean 'male'"):
        codec.label_id("mael")


def test_codec_of_a_stream(tmp_path):
    text.save(load(POEM * 50, length=8), tmp_path)
    codec = text.load_codec(tmp_path)
    assert codec.is_new("床") is None and codec.forbidden == (END, UNKNOWN)
    assert codec.tokenizer.decode(codec.encode_prompt("")) == "\n"
    assert codec.decode([*codec.encode_prompt("明月"), END, 3]) == "明月"
    with pytest.raises(UserError, match="'x'"):
        codec.encode_prompt("x")
    with pytest.raises(UserError, match="trained without labels"):
        codec.label_id("female")


def test_a_stream_without_newlines_starts_with_its_most_frequent_token():
    codec = load("banana" * 50, length=8).codec
    assert codec.tokenizer.decode(codec.encode_prompt("")) == "a"


def test_missing_codec_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no codec\.json in"):
        text.load_codec(tmp_path)


# --- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, fields, message",
    [
        ("", {}, "is empty"),
        ("\n\n", {"unit": "line"}, "no example"),
        ("abc", {}, "train text has 2 tokens, too few"),
        (letters(300), {"length": 64}, "validation text has 30 tokens, too few"),
        ("aaaa" * 100, {}, "'a' only; there is nothing to learn"),
        ("aa\n" * 100, {"unit": "line", "validation": 0.0}, "'a' only"),
        ("ab\n" * 100, {"unit": "line"}, "split has no example"),
        (b"abc\xff" * 99, {}, "not UTF-8: invalid start byte at byte 3"),
        (b"abc\xe5\xba", {}, "not UTF-8: unexpected end of data at byte 3"),
        (b'{"text": "a"}\n{"txt": "b"}', {"suffix": ".jsonl"}, "line 2 has no `text`; it has txt"),
        (b'{"text": 3}', {"suffix": ".jsonl"}, "line 1 has no `text`"),
        (b"[1]", {"suffix": ".jsonl"}, "line 1 has no `text`"),
        (b'{"text": "\\ud800"}', {"suffix": ".jsonl"}, r"line 1: .* U\+D800"),
        (b"\n{text}", {"suffix": ".jsonl"}, "line 2 is not JSON"),
        (b"title,body\na,b\n", {"suffix": ".csv"}, "line 2 has no `text`; it has title, body"),
        (b'text\n"a" b\n', {"suffix": ".csv"}, "line 2 is not CSV"),
        (
            b"text,label\na,x\nb,\n",
            {"suffix": ".csv", "validation": 0.0},
            "1 of 2 examples have no label.*'b'",
        ),
        (b"text\na\nb\n", {"suffix": ".csv", "order": "consecutive", "validation": 0.0}, "stream"),
        (letters(300), {"validation": 0.6, "test": 0.4}, "leave something for training"),
        (letters(300), {"length": -1}, "length -1"),
        (letters(300), {"length": 8, "overlap": 8}, "overlap 8"),
    ],
)
def test_bad_data_is_one_clear_line(content, fields, message):
    with pytest.raises(UserError, match=message) as error:
        load(content, **fields)
    assert "\n" not in str(error.value)


def test_missing_file_names_its_neighbours(tmp_path):
    (tmp_path / "shakespeare.txt").write_text("text")
    with pytest.raises(UserError, match=r"shakespear.txt; near it: shakespeare.txt"):
        text.load(text.Config(path=str(tmp_path / "shakespear.txt")))
    with pytest.raises(UserError, match="no such file or folder"):
        text.load(text.Config(path=str(tmp_path / "no" / "where")))


def test_folder_without_text_is_refused(tmp_path):
    (tmp_path / "picture.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds no \.txt"):
        text.load(text.Config(path=str(tmp_path)))


def test_unknown_set_and_split_list_the_choices(names):
    with pytest.raises(UserError, match="no embedded set 'name'; did you mean 'names'"):
        text.load(text.Config(source="name"))
    with pytest.raises(UserError, match="no valid split; choose one of train, validation, test"):
        next(text.eval_batches(names, "valid", size=2))
    with pytest.raises(UserError, match="overlap 14"):
        next(text.eval_batches(names, "test", size=2, overlap=14))
