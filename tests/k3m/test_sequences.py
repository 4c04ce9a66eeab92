import numpy as np

from k3m.sequences import LONGEST, pair_sequences
from k3m.text import PAD, TextTokenizer


def _tokenizer() -> TextTokenizer:
    return TextTokenizer.learn(["colour", "red", "blue", "size", "one size", "neck", "round"], vocabulary=100)


def _array(*texts: str) -> np.ndarray:
    return np.array(texts, dtype=object)


def test_an_item_s_pairs_stand_in_one_sequence() -> None:
    tokenizer = _tokenizer()
    item, prop, value = np.array([0, 0, 2]), _array("colour", "size", "neck"), _array("red", "one size", "round")
    tokens, segments = pair_sequences(tokenizer, item, prop, value, longest=16)
    assert len(tokens) == 2
    for text, segment in (("colour", 0), ("red", 1), ("size", 2), ("one size", 3), ("neck", 4), ("round", 5)):
        assert tokens[segments == segment].tolist() == tokenizer.pieces(text)
    assert (np.diff(segments[0][segments[0] >= 0]) >= 0).all()
    assert (tokens[segments == -1] == PAD).all()


def test_no_pair_is_cut_off_where_an_item_has_many() -> None:
    tokenizer, many = _tokenizer(), 90
    prop, value = _array(*["size"] * many), _array(*["one size"] * many)
    tokens, segments = pair_sequences(tokenizer, np.zeros(many, dtype=np.int64), prop, value, longest=16)
    assert len(tokens) > 1
    assert tokens.shape[1] <= LONGEST
    assert set(segments[segments >= 0].tolist()) == set(range(2 * many))


def test_no_triple_gives_no_sequence() -> None:
    tokens, segments = pair_sequences(_tokenizer(), np.empty(0, dtype=np.int64), _array(), _array(), longest=16)
    assert tokens.shape[0] == segments.shape[0] == 0
