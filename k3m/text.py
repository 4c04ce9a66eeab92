"""The tokenisation of titles, properties and values: a WordPiece learnt from the training catalogue (paper.md 2.2.1),
Chinese included, or a pretrained encoder's own."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

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
OTHER_NAMES = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
"""RoBERTa's and its kin's."""


@dataclass(frozen=True)
class Vocabulary:
    """How many tokens there are, and the ids of the special ones."""

    size: int
    pad: int = PAD
    unk: int = UNK
    cls: int = CLS
    sep: int = SEP
    mask: int = MASK

    @property
    def special(self) -> tuple[int, ...]:
        return self.pad, self.unk, self.cls, self.sep, self.mask


class TextTokenizer:
    """Strings to padded token ids. A catalogue repeats its properties and values, so these are remembered, up to
    `REMEMBERED` of them; titles are not.

    Raises:
        ValueError: for a tokenizer without one of the special tokens.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.tokenizer.encode_special_tokens = True  # a title that says "[MASK]" is text
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.vocabulary = Vocabulary(tokenizer.get_vocab_size(), *map(self._special, SPECIAL, OTHER_NAMES))
        self._cache: dict[str, list[int]] = {}

    def _special(self, name: str, other_name: str) -> int:
        for token in (name, other_name):
            if (found := self.tokenizer.token_to_id(token)) is not None:
                return int(found)
        raise ValueError(f"the tokenizer has no token {name} or {other_name}")

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
    def load(cls, path: Path) -> Self:
        return cls(Tokenizer.from_file(str(path)))

    def save(self, path: Path) -> None:
        self.tokenizer.save(str(path))

    def pieces(self, text: str) -> list[int]:
        """The token ids of one string; one [UNK] for a string that has none, so that no string is empty."""
        known = self._cache.get(text)
        if known is None:
            if len(self._cache) == REMEMBERED:
                self._cache.clear()
            known = self._cache[text] = self._encoded(text)
        return known

    def _encoded(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False).ids or [self.vocabulary.unk]

    def strings(self, texts: Sequence[str], longest: int) -> NDArray[np.int64]:
        """Properties, or values behind their property and a [SEP], [n, W], padded with [PAD]; long ones are cut."""
        return self.padded([self.string(text, longest) for text in texts])

    def string(self, text: str, longest: int) -> list[int]:
        property, _, own = text.rpartition(OF)
        context = [*self.pieces(property)[: longest // 2 - 1], self.vocabulary.sep] if property else []
        return [*context, *self.pieces(own)[: longest - len(context)]]

    def titles(self, titles: Sequence[str | None], longest: int) -> NDArray[np.int64]:
        """Titles, [n, L], each behind a [CLS]; a missing title is the [CLS] alone."""
        first = self.vocabulary.cls
        return self.padded([[first, *(self._encoded(title)[: longest - 1] if title else [])] for title in titles])

    def padded(self, rows: Sequence[list[int]]) -> NDArray[np.int64]:
        """[n, longest row]."""
        width, pad = max((len(row) for row in rows), default=1), self.vocabulary.pad
        return np.array([row + [pad] * (width - len(row)) for row in rows], dtype=np.int64).reshape(len(rows), width)


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
