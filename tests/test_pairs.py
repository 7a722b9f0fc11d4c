"""Pairs of a source and a target: read, split by the source, and batched side by side."""

import gzip
import json
import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax import data, generation, material, scoring
from creagen_jax.data import pair_sources, pairs, text, tokenizers
from creagen_jax.data.tokenizers import END, UNKNOWN
from creagen_jax.types import Spec, UserError

REAL = Path(__file__).parents[2] / "shared" / "data" / "text"
SIDE = st.text("abé好 ", min_size=1, max_size=9).filter(str.strip)
LISTS = st.lists(st.tuples(SIDE, SIDE), min_size=20, max_size=50)
few = settings(max_examples=20, deadline=None)
# Enough for every split to have some, and for the training split to have every character.
OTHERS = [(f"{i} xabé好", f"{i} yabé好!") for i in range(60)]


def table(rows, *, columns=("source", "target")):
    return "\n".join(json.dumps(dict(zip(columns, row, strict=False))) for row in rows)


def load(content, suffix=".jsonl", **fields):
    """The dataset of one file with the given content."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"pairs{suffix}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return pairs.load(pairs.Config(path=str(path), **fields))


def together(dataset, *names):
    """The pairs of some splits, or of all, as text."""
    return [
        pair
        for name in names or dataset.splits
        for pair in zip(pairs.sources(dataset, name), pairs.texts(dataset, name), strict=True)
    ]


def read(dataset, batch):
    """The pairs of a batch without its padding, and nothing but END behind them."""
    codec, found = dataset.codec, []
    for x, mask, source in zip(batch["x"], batch["mask"], batch["source"], strict=True):
        ends = np.flatnonzero(source == END)
        assert len(ends) and not source[ends[0] :].any()
        if mask.any():
            assert x[0] == END and not x[1:][mask == 0].any()
            found.append((codec.decode_source(source), codec.decode(x[1:])))
    return found


@pytest.fixture(scope="module")
def sums():
    """The embedded addition, by split."""
    return pair_sources.embedded("addition").splits


# --- batches -----------------------------------------------------------------------------------


@few
@given(rows=LISTS, size=st.integers(2, 7), seed=st.integers(0, 9))
def test_rows_of_both_sides_belong_together_and_an_epoch_has_each_once(rows, size, seed):
    dataset = load(table(rows + OTHERS), validation=0.3)
    train = together(dataset, "train")
    steps = -(-len(train) // size)
    seen = []
    for step in range(steps):
        batch = pairs.train_batch(dataset, seed=seed, step=step, size=size)
        again = pairs.train_batch(dataset, seed=seed, step=step, size=size)
        for name in batch:
            np.testing.assert_array_equal(batch[name], again[name])
        seen += read(dataset, batch)
    assert sorted(seen[: len(train)]) == sorted(train)
    assert pairs.windows(dataset, "train") == len(train)
    assert {*rows, *OTHERS} == set(together(dataset))


@few
@given(rows=LISTS, size=st.integers(2, 9))
def test_evaluation_holds_every_pair_once_and_counts_the_targets(rows, size):
    dataset = load(table(rows + OTHERS), validation=0.3)
    batches = list(pairs.eval_batches(dataset, "validation", size=size))
    found = [pair for batch in batches for pair in read(dataset, batch)]
    assert found == together(dataset, "validation")
    assert all(len(batch["x"]) == len(batch["source"]) == size for batch in batches)
    targets = pairs.texts(dataset, "validation")
    assert sum(b["chars"].sum() for b in batches) == sum(len(t) + 1 for t in targets)
    (some,) = pairs.eval_batches(dataset, "validation", size=5, limit=5)
    assert set(read(dataset, some)) <= set(found)


def test_batches_are_what_the_spec_says(monkeypatch):
    monkeypatch.setattr(pair_sources, "SUMS", 3000)
    addition = pairs.load(pairs.Config())
    spec = addition.spec(4)
    assert spec == Spec(vocab=12, length=6, source=10, source_vocab=13)
    batch = pairs.train_batch(addition, seed=0, step=7, size=4)
    assert {name: (a.shape, a.dtype.name) for name, a in batch.items()} == {
        "x": ((4, 7), "int32"),
        "mask": ((4, 6), "float32"),
        "source": ((4, 10), "int32"),
    }
    assert batch["x"].max() < spec.vocab and batch["source"].max() < spec.source_vocab
    with pytest.raises(UserError, match="no best split; choose one of train, validation, test"):
        next(pairs.eval_batches(addition, "best", size=2))


def test_labels_condition_and_may_be_left_out():
    rows = [(f"{i}a", f"{i}b", "xy"[i % 2]) for i in range(60)]
    content = table(rows, columns=("source", "target", "label"))
    dataset = load(content, validation=0.3)
    assert dataset.codec.labels == ("x", "y") and dataset.spec(2).classes == 2
    batch = pairs.train_batch(dataset, seed=0, step=0, size=8)
    for (source, _), label in zip(read(dataset, batch), batch["condition"], strict=True):
        assert int(source[:-1]) % 2 == label
    assert "condition" not in pairs.train_batch(load(content, labels=False), seed=0, step=0, size=2)
    with pytest.raises(UserError, match="1 of 61 examples have no label"):
        load(f'{content}\n{{"source": "q", "target": "r"}}')


# --- splits ------------------------------------------------------------------------------------


@few
@given(rows=LISTS, reverse=st.booleans(), seed=st.integers(0, 9))
def test_no_source_is_in_two_splits_whatever_the_order(rows, reverse, seed):
    rows = [*rows, *((source, f"{target}!") for source, target in rows), *OTHERS]
    dataset = load(table(rows), reverse=reverse, validation=0.2, test=0.2)
    parts = [set(pairs.sources(dataset, name)) for name in ("train", "validation", "test")]
    assert len(set.union(*parts)) == sum(map(len, parts))
    turned = [row[::-1] for row in rows] if reverse else rows
    assert sorted(together(dataset)) == sorted(turned)
    random.Random(seed).shuffle(rows)
    other = load(table(rows), reverse=reverse, validation=0.2, test=0.2)
    for name in dataset.splits:
        assert sorted(together(other, name)) == sorted(together(dataset, name))


def test_references_are_all_targets_of_a_source_each_once():
    rows = [(source, target) for source, _ in OTHERS for target in ("u", "v", "u")]
    dataset = load(table(rows), validation=0.3)
    found = pairs.references(dataset, "validation")
    assert found == [(source, ["u", "v"]) for source in dict(together(dataset, "validation"))]
    for name, split in dataset.fingerprint["splits"].items():
        assert split["duplicates"] == split["examples"] // 3
        assert name == "train" or split["also_in_train"] == split["examples"]


# --- what a source and a target may be ---------------------------------------------------------


@pytest.mark.parametrize("kind", ["char", "byte", "bpe", "word"])
def test_each_tokenizer_on_both_sides_and_one_for_both(kind):
    rows = [(f"the {i} cats", f"die {i} Katzen") for i in range(80)]
    dataset = load(table(rows), tokenizer=kind, vocab=300, validation=0.2)
    assert sorted(together(dataset, "train")) == sorted(
        row for row in rows if row in together(dataset, "train")
    )
    codec = dataset.codec
    assert codec.source_tokenizer.kind == codec.tokenizer.kind == kind
    one = load(table(rows), tokenizer=kind, vocab=300, validation=0.2, shared=True).codec
    assert one.tokenizer is one.source_tokenizer
    assert one.tokenizer.decode(one.tokenizer.encode("cats Katzen", unknown=True)) == "cats Katzen"
    other = load(table(rows), tokenizer="char", target_tokenizer=kind, vocab=300).codec
    assert (other.source_tokenizer.kind, other.tokenizer.kind) == ("char", kind)


@few
@given(rows=LISTS, source_length=st.integers(2, 6), length=st.integers(2, 6))
def test_longer_ones_are_cut_and_counted_or_refused(rows, source_length, length):
    limits = {"source_length": source_length, "length": length, "validation": 0.3}
    content = table(rows + OTHERS)
    dataset, whole = load(content, **limits), load(content, validation=0.3)
    assert (dataset.spec(2).source, dataset.spec(2).length) == (source_length, length)
    for name in dataset.splits:
        true = together(whole, name)
        counts = dataset.fingerprint["splits"][name]
        assert counts["truncated"] == sum(len(target) >= length for _, target in true)
        assert counts["source_truncated"] == sum(len(source) >= source_length for source, _ in true)
        batches = pairs.eval_batches(dataset, name, size=16)
        cut = [(source[: source_length - 1], target[:length]) for source, target in true]
        assert [pair for batch in batches for pair in read(dataset, batch)] == cut
        assert [source for source, _ in cut] == pairs.sources(dataset, name)
        assert [target for _, target in true] == pairs.texts(dataset, name)
    with pytest.raises(UserError, match=r"(source|target) '.*' has \d+ tokens with its END; raise"):
        load(content, long="refuse", **limits)
    free = load(content, long="refuse", validation=0.3)
    assert free.fingerprint["splits"] == whole.fingerprint["splits"]


@few
@given(rows=LISTS, kind=st.sampled_from(["char", "byte", "bpe", "word"]))
def test_a_source_that_was_read_can_be_asked_for(rows, kind):
    rows = [*rows, *OTHERS, *((chr(0x4E00 + i) * 9, "a") for i in range(20))]  # some are unseen
    dataset = load(table(rows), tokenizer=kind, vocab=258, source_length=7, validation=0.3)
    codec = dataset.codec
    for name in dataset.splits:
        for batch in pairs.eval_batches(dataset, name, size=16):
            for ids in batch["source"][batch["mask"].any(1)]:
                source = codec.decode_source(ids)
                if pairs.UNSEEN not in source or kind in ("char", "word"):
                    np.testing.assert_array_equal(codec.encode_source(source), ids)
        for source in pairs.sources(dataset, name):
            assert codec.encode_source(source).shape == (7,)


def test_a_source_that_the_model_cannot_read_is_refused():
    codec = load(table(OTHERS)).codec
    np.testing.assert_array_equal(codec.encode_source(""), END)
    with pytest.raises(UserError, match=r"'q' \(U\+0071\) is not in the training text"):
        codec.encode_source("xq")
    marked = codec.encode_source("x\ufffd")
    assert marked[1] == UNKNOWN and marked[2] == END
    assert codec.encode_source("x" * 8)[-1] == END
    with pytest.raises(UserError, match="'xxxxxxxxx' has 9 tokens; this model reads at most 8"):
        codec.encode_source("x" * 9)


def test_what_is_saved_is_what_sampling_needs(tmp_path):
    rows = [(f"{i} cats", f"K AE T {i}") for i in range(60)]
    dataset = load(table(rows), target_tokenizer="word")
    pairs.save(dataset, tmp_path)
    old, new = dataset.codec, pairs.load_codec(tmp_path)
    for name in ("labels", "label_shares", "line", "start", "forbidden", "examples"):
        assert getattr(new, name) == getattr(old, name)
    for source in old.examples:
        np.testing.assert_array_equal(new.encode_source(source), old.encode_source(source))
    np.testing.assert_array_equal(new.encode_prompt("K AE T"), old.encode_prompt("K AE T"))
    np.testing.assert_array_equal(new.train_hashes, old.train_hashes)
    for name in ("source_tokenizer.json", "source.json", "codec.json"):
        (tmp_path / name).unlink()
        with pytest.raises(UserError, match=f"no {name} in"):
            pairs.load_codec(tmp_path)


def test_examples_are_held_out_sources_that_can_be_read():
    rows = [(f"{i}{chr(0x4E00 + i)}" if i % 2 else f"{i}", "t!") for i in range(100)]
    dataset = load(table(rows), validation=0.2, test=0.3)
    examples = dataset.codec.examples
    assert len(set(examples)) == 8 and set(examples) <= set(pairs.sources(dataset, "test"))
    assert not any(pairs.UNSEEN in example for example in examples)
    assert len(load(table(OTHERS[:3]), validation=0.0).codec.examples) == 3


# --- embedded ----------------------------------------------------------------------------------


def test_sums_are_right_and_of_all_lengths(sums):
    every = [pair for part in sums.values() for pair in part]
    numbers = np.array([list(map(int, pair.source.split("+"))) for pair in every])
    np.testing.assert_array_equal(numbers.sum(1), [int(pair.target) for pair in every])
    digits = [tuple(map(len, pair.source.split("+"))) for pair in sums["train"]]
    counts = np.zeros((4, 4))
    np.add.at(counts, tuple(np.array(digits).T - 1), 1)
    np.testing.assert_allclose(counts / counts.sum(), 1 / 16, rtol=0.06)


def test_held_out_sums_are_new_however_they_are_written_and_about_two_thousand(sums):
    unordered = {
        split: {tuple(sorted(pair.source.split("+"))) for pair in part}
        for split, part in sums.items()
    }
    assert sum(map(len, unordered.values())) == len(set.union(*unordered.values()))
    for split in ("validation", "test"):
        assert len(sums[split]) == len(set(sums[split])) and abs(len(sums[split]) - 2000) < 150


def test_sums_of_fewer_digits_and_turned_round(monkeypatch):
    monkeypatch.setattr(pair_sources, "SUMS", 5000)
    turned = pair_sources.embedded("addition", digits=2, reverse=True).splits
    assert {len(pair.target) for pair in turned["train"]} == {3, 4, 5}
    answers = [{pair.source for pair in part} for part in turned.values()]
    assert sum(map(len, answers)) == len(set.union(*answers))


def test_pronunciations_are_phonemes_and_stay_with_their_word():
    splits = pair_sources.embedded("pronunciations").splits
    every = [pair for part in splits.values() for pair in part]
    assert len({phoneme for pair in every for phoneme in pair.target.split()}) == 39  # CMUdict's
    assert {letter for pair in every for letter in pair.source} == {*"abcdefghijklmnopqrstuvwxyz'"}
    heard = [pair.target for pair in every if pair.source == "tomato"]
    assert heard == ["T AH M EY T OW", "T AH M AA T OW"]
    words = [{pair.source for pair in part} for part in splits.values()]
    assert sum(map(len, words)) == len(set.union(*words))  # no word in two splits
    shares = np.array(list(map(len, words))) / sum(map(len, words))
    np.testing.assert_allclose(shares, [0.9, 0.05, 0.05], atol=0.003)
    assert ("cat", "K AE1 T", None) in pair_sources._pronunciations(True)


# --- files -------------------------------------------------------------------------------------

FORMATS = {
    ".tsv": "\ufeffsource\ttarget\n\na b\tc\r\nd\te f\n",
    ".csv": 'target,other,source\n"c",1,a b\n\n"e f",2,d\n',
    ".jsonl": '{"source": "a b", "target": "c"}\n\n{"target": "e f", "source": "d", "n": 1}\n',
    ".json": '[{"source": "a b", "target": "c"}, {"source": "d", "target": "e f"}]',
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_holds_the_same(tmp_path, suffix, packed):
    content = FORMATS[suffix].encode()
    path = tmp_path / f"pairs{suffix}{'.gz' * packed}"
    path.write_bytes(gzip.compress(content) if packed else content)
    found = pair_sources.files(str(path), shares={})
    assert found.splits == {"train": [("a b", "c", None), ("d", "e f", None)]}


def test_tsv_without_header_and_columns_by_name(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("Hi.\t嗨。\tby A\nRun.\t跑。\tby B\n")
    read = pair_sources.files(str(path), shares={}).splits["train"]
    assert read == [("Hi.", "嗨。", None), ("Run.", "跑。", None)]
    path.write_text("label\ten\tzh\nshort\tHi.\t嗨。\n")
    read = pair_sources.files(str(path), shares={}, columns=("zh", "en"), reverse=True).splits
    assert read == {"train": [("Hi.", "嗨。", "short")]}


@pytest.mark.parametrize(
    "suffix, content, message",
    [
        (".tsv", "source\ttarget\na\tb\nc\n", "line 3: 1 columns instead of 2"),
        (".tsv", "a\tb\n\nc\td\te\n", "line 3: 3 columns instead of 2"),
        (".tsv", "one column\n", "line 1: 1 columns instead of 2"),
        (".tsv", "a\tb\nc\t \n", "line 2: `target` is empty"),
        (".csv", "source,target\na,b\n,d\n", "line 3: `source` is empty"),
        (".csv", "source,goal\na,b\n", "line 2 has no text in `target`; it has source, goal"),
        (".csv", 'source,target\na,"b\n', "line 2 is not CSV"),
        (".jsonl", '{"source": "a"}\n', "line 1 has no text in `target`; it has source"),
        (".jsonl", '{"source": "a", "target": 3}\n', "line 1 has no text in `target`"),
        (".jsonl", '\n{"source": "a",\n', "line 2 is not JSON"),
        (".jsonl", '{"source": "\\ud800", "target": "b"}', "line 1: .* half a surrogate pair"),
        (".jsonl", "[1]\n", "line 1 is no object with columns"),
        (".json", '{"source": "a"}', "is no list of objects"),
        (".json", '[{"source": "a", "target": ""}]', "item 1: `target` is empty"),
        (".json", "[", "is not JSON"),
        (".tsv", b"a\tb\nc\t\xff\n", "line 2 is not UTF-8"),
        (".tsv", "", "holds no pair"),
        (".csv", "source,target\n", "holds no pair"),
        (".tsv.gz", b"not packed", "is not gzip, or damaged"),
        (".tsv.gz", gzip.compress(b"a\tb\n" * 99, mtime=0)[:-9], "is not gzip, or damaged"),
        (".xml", "<a/>", "is no file of pairs; give one of .tsv, .csv, .jsonl, .json"),
    ],
)
def test_bad_pairs_are_one_line_with_their_place(suffix, content, message):
    with pytest.raises(UserError, match=message):
        load(content, suffix)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"source": "names"}, "no embedded set 'names'"),
        ({"path": "/nowhere/pairs.tsv"}, "no such file"),
        ({"path": "/"}, "is no file of pairs"),
        ({"validation": 0.6, "test": 0.4}, "leave something for training"),
        ({"length": 1}, "--data.length is 1; choose 2 or more, or 0"),
        ({"source_length": -1}, "--data.source_length is -1"),
        ({"lines": 4}, "use it with --data.poems"),
        ({"digits": 0}, "choose 1 to 18"),
        ({"shared": True, "target_tokenizer": "word"}, "one tokenizer: char or word"),
    ],
)
def test_bad_settings_are_one_line(fields, message):
    with pytest.raises(UserError, match=message):
        pairs.load(pairs.Config(**fields))


# --- poems -------------------------------------------------------------------------------------

COMMA = "\N{FULLWIDTH COMMA}"
QUATRAIN = f"床前明月光{COMMA}疑是地上霜。\n舉頭望明月{COMMA}低頭思故鄉。"
COUPLET = "Two lines,\nof a poem"


@pytest.mark.parametrize("lines, kept, left_out", [(0, 2, 1), (4, 1, 2), (2, 1, 2)])
@pytest.mark.parametrize("suffix", [".txt", ".jsonl", ".json"])
def test_poems_give_their_first_line_and_the_rest(tmp_path, suffix, lines, kept, left_out):
    path = tmp_path / f"poems{suffix}"
    rows = [{"paragraphs": QUATRAIN.split("\n")}, {"text": COUPLET}, {"lines": ["one line"]}]
    contents = {
        ".txt": f"{QUATRAIN}\n \n{COUPLET}\n\n\none line\n",
        ".jsonl": "\n".join(map(json.dumps, rows)),
        ".json": json.dumps(rows),
    }
    path.write_text(contents[suffix])
    found = pair_sources.files(str(path), shares={}, poems=True, lines=lines)
    quatrain = (f"床前明月光{COMMA}", f"疑是地上霜。\n舉頭望明月{COMMA}\n低頭思故鄉。", None)
    couplet = ("Two lines,", "of a poem", None)
    wanted = {0: [quatrain, couplet], 4: [quatrain], 2: [couplet]}
    assert found.splits["train"] == wanted[lines]
    assert (len(found.splits["train"]), found.left_out) == (kept, left_out)
    with pytest.raises(UserError, match="no poem of 3 lines"):
        pair_sources.files(str(path), shares={}, poems=True, lines=3)


@given(st.text(f"好。{COMMA}」 \nab", max_size=30))
def test_verses_lose_nothing_but_the_space_around_them(poem):
    verses = pair_sources._verses(poem)
    assert "".join("".join(verses).split()) == "".join(poem.split())
    assert all(verse.strip() for verse in verses)


# --- words -------------------------------------------------------------------------------------


@given(st.lists(st.text("abé好", min_size=1, max_size=4), min_size=1, max_size=9))
def test_words_join_with_spaces_and_count_as_they_are_written(words):
    written = " ".join(words)
    tokenizer = tokenizers.train("word", [written])
    ids = tokenizer.encode(written.replace(" ", " \n "))
    assert len(ids) == len(words) and tokenizer.vocab == tokenizers.SPECIAL + len(set(words))
    assert tokenizer.decode([*ids, END]) == written
    line = [*ids, END]
    assert tokenizer.chars_V[line].sum() == len(written) + 1
    assert tokenizer.bytes_V[line].sum() == len(written.encode()) + 1


def test_words_are_kept_and_unseen_ones_named(tmp_path):
    tokenizer = tokenizers.train("word", ["b a", "c\ufffd"])
    tokenizers.save(tokenizer, tmp_path / "words.json")
    assert tokenizers.load(tmp_path / "words.json").pieces == tokenizer.pieces
    assert tokenizer.decode([END, *tokenizer.encode("a z b", unknown=True)]) == "a \ufffd b"
    with pytest.raises(UserError, match=r"'z' is not in .* this text: 3, distinct: 2"):
        tokenizer.encode("a z z y")
    with pytest.raises(UserError, match="half a surrogate pair"):
        tokenizer.encode("\ud800")
    assert tokenizers.train(tokenizer, ["other words"]) is tokenizer


# --- the targets alone -------------------------------------------------------------------------


def test_the_reference_line_is_that_of_the_targets_as_lines_of_text(tmp_path):
    rng = np.random.default_rng(0)
    rows = [(f"{i}", "".join(rng.choice(list("abcd"), 5))) for i in range(300)]
    dataset = load(table(rows), validation=0.3)
    module, targets = pairs.targets(dataset)
    assert module is text and data.targets(text, targets) == (text, targets)
    assert data.targets(pairs, dataset) == (text, targets)
    assert scoring.reference(pairs, dataset) == scoring.reference(text, targets)
    _, state = scoring.chain(pairs, dataset, 2)
    lines = targets.splits["train"]
    assert int(state.opt_state[1].sum()) == len(lines.tokens) - pairs.windows(dataset, "train")
    found = material._of_dataset("run", "pairs", dataset, generation.Request())
    assert found.documents == pairs.texts(dataset, "train")
    assert found.heldout == pairs.texts(dataset, "validation")
    assert found.protocol["sha256"] == dataset.fingerprint["sha256"]
    drawn = found.chains([2], 3, 0)[2]
    assert len(drawn) == 3 and set("".join(drawn)) <= set("abcd")


def test_the_fingerprint_is_of_both_sides():
    base = load(table(OTHERS)).fingerprint
    other = load(table([*OTHERS[:-1], (OTHERS[-1][0], "else")])).fingerprint
    swapped = load(table(OTHERS), reverse=True).fingerprint
    assert len({each["sha256"] for each in (base, other, swapped)}) == 3
    again = load(table(OTHERS)).fingerprint
    assert {**again, "source": ""} == {**base, "source": ""}
    json.dumps(base)


@pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real data is not there")
def test_real_tables_and_poems():
    tatoeba = pairs.load(pairs.Config(path=str(REAL / "tatoeba_eng_cmn.tsv")))
    assert len(together(tatoeba)) == 29_155 and ("Hi.", "嗨。") in together(tatoeba)
    tang = pairs.load(pairs.Config(path=str(REAL / "tang300.json"), poems=True, lines=4))
    assert all(target.count("\n") == 2 for _, target in together(tang))
