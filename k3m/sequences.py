"""An item's visible pairs as one sequence "p1 v1 p2 v2 ...", as the paper's figure has it (paper.md 2.2.1): pairs see
each other. Legend: E triples, R sequences, V tokens."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from k3m.text import TextTokenizer

LONGEST = 64
"""Tokens of a sequence; an item with more pairs has several, and none is cut off."""


def pair_sequences(
    tokenizer: TextTokenizer,
    item: NDArray[np.int64],
    prop: NDArray[np.object_],
    value: NDArray[np.object_],
    longest: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Tokens and segments, both [R, V]: 2x where property x stands, 2x + 1 where value x does, -1 for padding.

    Args:
        item, prop, value: the triples, by item.
        longest: tokens of a property or a value at most.
    """
    rows, marks = [], []
    for triples in _packed(tokenizer, item, prop, value, longest):
        rows.append([token for _, tokens in triples for token in tokens])
        marks.append([segment for segment, tokens in triples for _ in tokens])
    tokens = tokenizer.padded(rows)
    segments = np.full_like(tokens, -1)
    for row, mark in enumerate(marks):
        segments[row, : len(mark)] = mark
    return tokens, segments


def _packed(
    tokenizer: TextTokenizer,
    item: NDArray[np.int64],
    prop: NDArray[np.object_],
    value: NDArray[np.object_],
    longest: int,
) -> Iterator[list[tuple[int, list[int]]]]:
    """Sequences as (segment, tokens), each of one item and no longer than `LONGEST`."""
    sequence: list[tuple[int, list[int]]] = []
    room, owner = LONGEST, -1
    for triple in range(len(item)):
        pair = [
            (2 * triple + part, tokenizer.pieces(text[triple])[:longest]) for part, text in enumerate((prop, value))
        ]
        length = sum(len(tokens) for _, tokens in pair)
        if sequence and (item[triple] != owner or length > room):
            yield sequence
            sequence, room = [], LONGEST
        sequence += pair
        room, owner = room - length, int(item[triple])
    if sequence:
        yield sequence
