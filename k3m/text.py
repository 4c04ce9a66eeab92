"""WordPiece learnt from the training catalogue (paper.md 2.2.1), Chinese included, and the tokenisation of titles,
properties and values."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

PAD, UNK, CLS, SEP, MASK = range(5)
OF = "\x1f"
"""Stands between a property and its value in a string whose value is read in the property's light: "size" OF "one"."""
REMEMBERED = 2**17
"""Strings whose tokens are kept."""
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class TextTokenizer:
    """Strings to padded token ids. A catalogue repeats its properties and values, so these are remembered, up to
    `REMEMBERED` of them; titles are not."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.tokenizer.encode_special_tokens = True  # a title that says "[MASK]" is text
        self._cache: dict[str, list[int]] = {}

    @classmethod
    def learn(cls, texts: Iterable[str], vocabulary: int) -> "TextTokenizer":
        """A lower-case WordPiece vocabulary of about `vocabulary` pieces; every character that occurs is kept."""
        learner = _tokenizer(WordPiece(unk_token=SPECIAL[UNK]))
        with _distinct(texts) as distinct:
            # The trainer numbers the continuing characters as a hash map yields them, and breaks ties by number: named
            # beforehand, they make the vocabulary a function of the texts.
            reserved = [*SPECIAL, *_continuing_characters(learner, distinct())]
            learner.train_from_iterator(
                distinct(), WordPieceTrainer(vocab_size=vocabulary, special_tokens=reserved, show_progress=False)
            )
        tokenizer = _tokenizer(WordPiece(vocab=learner.get_vocab(), unk_token=SPECIAL[UNK]))
        tokenizer.add_special_tokens(list(SPECIAL))
        return cls(tokenizer)

    @classmethod
    def load(cls, path: Path) -> "TextTokenizer":
        return cls(Tokenizer.from_file(str(path)))

    def save(self, path: Path) -> None:
        self.tokenizer.save(str(path))

    @property
    def size(self) -> int:
        return self.tokenizer.get_vocab_size()

    def pieces(self, text: str) -> list[int]:
        """The token ids of one string; one [UNK] for a string that has none, so that no string is empty."""
        known = self._cache.get(text)
        if known is None:
            if len(self._cache) == REMEMBERED:
                self._cache.clear()
            known = self._cache[text] = self._encoded(text)
        return known

    def _encoded(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids or [UNK]

    def strings(self, texts: Sequence[str], longest: int) -> NDArray[np.int64]:
        """Properties, or values behind their property and a [SEP], [n, W], padded with [PAD]; long ones are cut."""
        return _padded([self._string(text, longest) for text in texts])

    def _string(self, text: str, longest: int) -> list[int]:
        property, _, own = text.rpartition(OF)
        context = [*self.pieces(property)[: longest // 2 - 1], SEP] if property else []
        return [*context, *self.pieces(own)[: longest - len(context)]]

    def titles(self, titles: Sequence[str | None], longest: int) -> NDArray[np.int64]:
        """Titles, [n, L], each behind a [CLS]; a missing title is the [CLS] alone."""
        return _padded([[CLS, *(self._encoded(title)[: longest - 1] if title else [])] for title in titles])


@contextmanager
def _distinct(texts: Iterable[str]) -> Iterator[Callable[[], Iterator[str]]]:
    """Gives each of the texts once, in code-point order, as often as it is called. They are sorted on the disk: titles
    are as many as items."""
    # The trainer draws the texts from a thread of its own.
    with closing(sqlite3.connect("", check_same_thread=False)) as database:
        database.execute("CREATE TABLE texts (text TEXT)")
        database.executemany("INSERT INTO texts VALUES (?)", ((text,) for text in texts))
        database.execute("CREATE INDEX by_text ON texts (text)")
        yield lambda: (text for (text,) in database.execute("SELECT DISTINCT text FROM texts ORDER BY text"))


def _tokenizer(model: WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, handle_chinese_chars=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def _continuing_characters(tokenizer: Tokenizer, texts: Iterable[str]) -> list[str]:
    """`##c` for each character that occurs inside a word."""
    inside: set[str] = set()
    for text in texts:
        for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text)):
            inside.update(word[1:])
    return [f"##{character}" for character in sorted(inside)]


def _padded(rows: Sequence[list[int]]) -> NDArray[np.int64]:
    width = max((len(row) for row in rows), default=1)
    return np.array([row + [PAD] * (width - len(row)) for row in rows], dtype=np.int64).reshape(len(rows), width)
