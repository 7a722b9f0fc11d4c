import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creagen_jax.data import tokenizers
from creagen_jax.data.tokenizers import END, UNKNOWN
from creagen_jax.types import UserError

KINDS = ["byte", "char", "bpe"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # surrogates are not text
TRAINING = "The cat sat on the mat.\nThe cat sat.\n\n床前明月光。疑是地上霜。\n" * 20


@functools.cache
def train(kind, text=TRAINING):
    return tokenizers.train(kind, [text], vocab=300)


TRAINED = {kind: train(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXT)
def test_round_trip_is_exact_for_any_text(kind, text):
    tokenizer = train("char", text) if kind == "char" else TRAINED[kind]
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32 and (ids > UNKNOWN).all() and (ids < tokenizer.vocab).all()
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXT)
def test_tables_count_characters_and_bytes(kind, text):
    tokenizer = train("char", text) if kind == "char" else TRAINED[kind]
    ids = tokenizer.encode(text)
    assert tokenizer.chars_V[ids].sum() == len(text)
    assert tokenizer.bytes_V[ids].sum() == len(text.encode())
    assert tokenizer.chars_V[END] == tokenizer.bytes_V[END] == 1  # it stands for a newline
    assert len(tokenizer.chars_V) == len(tokenizer.bytes_V) == tokenizer.vocab


@pytest.mark.parametrize("kind", [*KINDS, "word"])
@given(texts=st.lists(TEXT, max_size=5))
def test_many_texts_at_once_are_each_text(kind, texts):
    tokenizer = train(kind)
    ids, sizes = tokenizer.encode_all(texts, unknown=True)
    each = [tokenizer.encode(text, unknown=True) for text in texts]
    assert sizes.tolist() == list(map(len, each)) and ids.dtype == np.int32
    assert ids.tolist() == [id_ for one in each for id_ in one]


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_encodes_alike(kind, tmp_path):
    tokenizers.save(TRAINED[kind], tmp_path / "tokenizer.json")
    loaded = tokenizers.load(tmp_path / "tokenizer.json")
    assert loaded.pieces == TRAINED[kind].pieces
    np.testing.assert_array_equal(loaded.encode(TRAINING), TRAINED[kind].encode(TRAINING))


def test_special_ids_decode_to_no_text_and_to_the_replacement_character():
    for tokenizer in TRAINED.values():
        assert tokenizer.decode([END, *tokenizer.encode("cat"), UNKNOWN, END]) == "cat\ufffd"


@given(text=TEXT.filter(bool))
def test_char_ids_are_the_sorted_characters_however_the_text_is_cut(text):
    tokenizer = tokenizers.train("char", [text[:1], text[1:]])
    assert tokenizer.characters == "".join(sorted(set(text)))
    assert tokenizer.vocab == 2 + len(set(text))


def test_unseen_character_is_named_or_mapped():
    tokenizer = TRAINED["char"]
    with pytest.raises(UserError, match=r"'ß' \(U\+00DF\).*this text: 3, distinct: 2"):
        tokenizer.encode("The ßßZ")
    np.testing.assert_array_equal(tokenizer.encode("\U0010ffffZ", unknown=True), UNKNOWN)


@pytest.mark.parametrize("kind", KINDS)
def test_half_a_surrogate_pair_is_a_clear_error(kind):
    with pytest.raises(UserError, match=r"character 2 .* U\+D800"):
        TRAINED[kind].encode("a\ud800")


def test_bpe_is_deterministic_and_compresses():
    again = train("bpe")
    assert again.pieces == TRAINED["bpe"].pieces
    assert again.vocab == 300
    assert len(again.encode(TRAINING)) < len(TRAINING) / 2


def test_bpe_may_find_fewer_merges_than_asked():
    assert train("bpe", "ab").vocab == 2 + 256 + 1


@pytest.mark.parametrize(
    "kind, vocab, message",
    [("bpe", 257, "choose 258 or more"), ("words", 0, "byte, char, bpe, word")],
)
def test_bad_settings_are_one_line(kind, vocab, message):
    with pytest.raises(UserError, match=message):
        tokenizers.train(kind, ["text"], vocab)


@settings(max_examples=50)
@given(text=st.text("ab\n"), size=st.integers(1, 9))
def test_pieces_join_to_the_text_and_end_after_newlines(text, size):
    pieces = list(tokenizers.split_at_newlines(text, size))
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= size for piece in pieces)
    assert all(piece.endswith("\n") for piece in pieces[:-1] if "\n" in piece)
