from pathlib import Path

import pytest

from k3m import text
from k3m.text import CLS, MASK, OF, PAD, SEP, UNK, TextTokenizer

TEXTS = ["red wool scarf", "blue wool hat", "产地 中国大陆", "红色 围巾"]


def test_titles_start_with_cls_and_are_padded() -> None:
    tokens = TextTokenizer.learn(TEXTS, 200).titles(["red wool scarf", None, "hat"], longest=36)
    assert (tokens[:, 0] == CLS).all()
    assert (tokens[1, 1:] == PAD).all()
    assert (tokens[0] != PAD).sum() > (tokens[2] != PAD).sum() == 2


def test_a_long_title_is_cut_and_special_pieces_are_never_made_by_text() -> None:
    tokenizer = TextTokenizer.learn(TEXTS, 200)
    assert tokenizer.titles(["red " * 50], longest=8).shape == (1, 8)
    assert not {CLS, MASK, PAD} & set(tokenizer.pieces("[CLS] [MASK] [PAD] red"))


def test_chinese_is_cut_by_character_and_known() -> None:
    assert len(TextTokenizer.learn(TEXTS, 200).pieces("中国大陆")) == 4
    assert UNK not in TextTokenizer.learn(TEXTS, 200).pieces("中国大陆")


def test_a_string_without_pieces_is_one_unknown() -> None:
    tokenizer = TextTokenizer.learn(TEXTS, 200)
    assert tokenizer.pieces("   ") == [UNK]
    assert tokenizer.strings(["   ", "red"], 4)[0, 0] == UNK


def test_saving_keeps_every_piece(tmp_path: Path) -> None:
    tokenizer = TextTokenizer.learn(TEXTS, 200)
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = TextTokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.vocabulary == tokenizer.vocabulary
    assert [loaded.pieces(text) for text in TEXTS] == [tokenizer.pieces(text) for text in TEXTS]


def test_the_same_texts_give_the_same_vocabulary_in_any_order() -> None:
    texts = [f"item {number:x} {name}" for number in range(300) for name in ("scarf", "scar", "scan", "围巾")]
    vocabularies = [TextTokenizer.learn(order, 120).tokenizer.get_vocab() for order in (texts, texts, texts[::-1])]
    assert vocabularies[0] == vocabularies[1] == vocabularies[2]


def test_texts_are_counted_once_and_may_be_drawn_once() -> None:
    """Of texts that a sort must not change: null characters, quotes, what code points and UTF-16 order differently."""
    texts = ["\x00a", "a\x00", "'", "", "\uff21", "\U0001f600", "a", "A"]
    with text._distinct(iter([*texts, *texts[::-1]])) as distinct:
        assert list(distinct()) == list(distinct()) == sorted(set(texts))
    once = TextTokenizer.learn(iter(TEXTS), 200).tokenizer.to_str()
    assert TextTokenizer.learn(iter(TEXTS * 3), 200).tokenizer.to_str() == once


def test_what_is_remembered_is_bounded_and_titles_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "REMEMBERED", 2)
    tokenizer = TextTokenizer.learn(TEXTS, 200)
    first = [tokenizer.pieces(string) for string in TEXTS]
    assert [tokenizer.pieces(string) for string in TEXTS[::-1]] == first[::-1]
    assert len(tokenizer._cache) <= 2
    held = dict(tokenizer._cache)
    tokenizer.titles(["a red hat", "a blue scarf"], 36)
    assert tokenizer._cache == held


def test_a_value_stands_behind_its_property() -> None:
    tokenizer = TextTokenizer.learn(TEXTS, 200)
    row = tokenizer.strings([f"hat{OF}red wool", "hat"], 16)
    assert row[0].tolist() == [*tokenizer.pieces("hat"), SEP, *tokenizer.pieces("red wool")]
    assert row[1, 1] == PAD
    long = tokenizer.strings([f"{'hat ' * 30}{OF}{'red ' * 30}"], 16)
    assert long.shape == (1, 16)
    assert long[0, 7] == SEP
