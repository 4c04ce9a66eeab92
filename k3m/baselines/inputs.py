"""A batch as the baselines read it: one sequence of words an item, `[CLS] title [SEP] p1 v1 p2 v2 ...`, the pairs with
+PKG only; or one an item pair, the second item behind the first.

Legend: B items, R rows (items, or pairs), L tokens, F tokens of all items.
"""

import warnings
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from k3m.batch import ProductBatch
from k3m.masking import IGNORED
from k3m.tasks.encoders import by_item
from k3m.text import Vocabulary

LONGEST = 1024
"""Tokens of a sequence at most: that of an item with 64 triples is shorter."""
MASKED = 0.15
TITLE, KNOWLEDGE = 0, 1


@dataclass(frozen=True)
class Words:
    """Sequences, padded."""

    tokens: Int[Tensor, "R L"]
    mask: Bool[Tensor, "R L"]
    """Where there is a token."""
    kind: Int[Tensor, "R L"]
    """TITLE (and a question), or KNOWLEDGE."""
    side: Int[Tensor, "R L"]
    """0, or 1 of a pair's second item."""
    triple: Int[Tensor, "R L"]
    """Of KNOWLEDGE the triple as `ProductBatch.segments` numbers it, properties even and values odd; else -1."""
    labels: Int[Tensor, "R L"]
    """Token that MLM asks for, else IGNORED."""


def words_of(batch: ProductBatch, vocabulary: Vocabulary, pairs: bool = False, longest: int = LONGEST) -> Words:
    """The sequences of a batch. Of one made for training, title tokens are masked already; those of knowledge are
    masked here, by torch's generator, which training seeds for each step.

    Args:
        pairs: items 2k and 2k + 1 make one sequence.
        longest: what is longer is cut, with a warning.
    """
    items, device = len(batch.item), batch.title.device
    there = batch.title[:items] != vocabulary.pad
    every = torch.arange(items, device=device)
    item = [every[:, None].expand_as(there)[there], every]
    tokens = [batch.title[:items][there], torch.full_like(every, vocabulary.sep)]
    labels = [_labels(batch, there), torch.full_like(every, IGNORED)]
    triple = [torch.full_like(tokens[0], -1), torch.full_like(every, -1)]
    if batch.sequences is not None:
        assert batch.segments is not None
        own = batch.segments >= 0
        segment, known = batch.segments[own], batch.sequences[own]
        if batch.title_labels is not None:
            known, asked = masked(known, vocabulary)
        else:
            asked = torch.full_like(known, IGNORED)
        item.append(batch.triple_item[segment // 2])
        tokens.append(known)
        labels.append(asked)
        triple.append(segment)
    order = torch.argsort(torch.cat(item), stable=True)
    flat = torch.stack([torch.cat(part)[order] for part in (tokens, labels, triple, item)], dim=1)
    return _padded(flat, items // 2 if pairs else items, pairs, vocabulary, longest)


def _labels(batch: ProductBatch, there: Bool[Tensor, "B L"]) -> Int[Tensor, " F"]:
    if batch.title_labels is None:
        return torch.full_like(batch.title[: len(there)][there], IGNORED)
    return batch.title_labels[: len(there)][there]


def _padded(flat: Int[Tensor, "F 4"], rows: int, pairs: bool, vocabulary: Vocabulary, longest: int) -> Words:
    """Of tokens, labels, triples and items, by item."""
    item = flat[:, 3]
    side, row = (item % 2, item // 2) if pairs else (torch.zeros_like(item), item)
    columns, mask = by_item(torch.cat([flat[:, :3], side[:, None]], dim=1), row, rows)
    if columns.shape[1] > longest:
        warnings.warn(f"sequences of {columns.shape[1]} tokens are cut to {longest}", stacklevel=3)
        columns, mask = columns[:, :longest], mask[:, :longest]
    tokens, labels, triple, side = columns.unbind(-1)
    return Words(
        tokens=torch.where(mask, tokens, vocabulary.pad),
        mask=mask,
        kind=torch.where(mask & (triple >= 0), KNOWLEDGE, TITLE),
        side=side,
        triple=torch.where(mask, triple, -1),
        labels=torch.where(mask, labels, IGNORED),
    )


def masked(tokens: Int[Tensor, " F"], vocabulary: Vocabulary) -> tuple[Int[Tensor, " F"], Int[Tensor, " F"]]:
    """BERT's masking, tokens and labels: 15 %, of those 80 % [MASK], 10 % a random token, 10 % kept."""
    draw, kind = torch.rand(tokens.shape, device=tokens.device), torch.rand(tokens.shape, device=tokens.device)
    random = torch.randint(vocabulary.size, tokens.shape, device=tokens.device)
    changed = torch.where(kind < 0.8, vocabulary.mask, torch.where(kind < 0.9, random, tokens))
    asked = draw < MASKED
    return torch.where(asked, changed, tokens), torch.where(asked, tokens, IGNORED)


def soft_positions(words: Words) -> Int[Tensor, "R L"]:
    """K-BERT's (Liu et al., AAAI 2020, section 3.3): the sentence is counted without its branches, and every branch
    goes on from what it hangs on, here [CLS], the item."""
    place = torch.arange(words.tokens.shape[1], device=words.tokens.device).expand_as(words.tokens)
    branch = words.triple // 2
    begins = branch != torch.cat([torch.full_like(branch[:, :1], -1), branch[:, :-1]], dim=1)
    first = torch.where(begins, place, 0).cummax(1).values
    sentence = (words.kind == TITLE).cumsum(1) - 1
    return torch.where(words.kind == TITLE, sentence, 1 + place - first)


def visible_matrix(words: Words, vocabulary: Vocabulary) -> Bool[Tensor, "R L L"]:
    """K-BERT's (section 3.4): a word sees those of its own branch and what that hangs on; the sentence sees itself; a
    triple changes no word but through [CLS]. A token sees itself in any case: padding has something to look at."""
    branch, sentence = words.triple // 2, (words.kind == TITLE) & words.mask
    root = sentence & (words.tokens == vocabulary.cls)
    same_branch = (branch[:, :, None] == branch[:, None]) & (branch >= 0)[:, :, None]
    same_side = words.side[:, :, None] == words.side[:, None]
    hangs = same_side & (branch >= 0)[:, :, None] & root[:, None]
    seen = (sentence[:, :, None] & sentence[:, None]) | same_branch | hangs | hangs.transpose(1, 2)
    return seen & words.mask[:, None] | torch.eye(seen.shape[1], dtype=torch.bool, device=seen.device)
