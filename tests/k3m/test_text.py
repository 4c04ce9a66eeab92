from pathlib import Path

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


def test_a_value_stands_behind_its_property() -> None:
    tokenizer = TextTokenizer.learn(TEXTS, 200)
    row = tokenizer.strings([f"hat{OF}red wool", "hat"], 16)
    assert row[0].tolist() == [*tokenizer.pieces("hat"), SEP, *tokenizer.pieces("red wool")]
    assert row[1, 1] == PAD
    long = tokenizer.strings([f"{'hat ' * 30}{OF}{'red ' * 30}"], 16)
    assert long.shape == (1, 16)
    assert long[0, 7] == SEP
