"""What is promised of unseen questions is fitted on such: a style lies in one fold, and no fold knows its own."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.calibration import Calibration, TooFewQuestions
from analysis.reliability import judged
from analysis.trust import FOLDS, _folds, held_out
from k3m.ranks import Questions

STYLES, SIZE = 30, 10


def _styles(property: str, right: np.ndarray, size: int, seed: int = 0) -> tuple[Questions, pd.Series]:
    """Questions of two candidates, `size` for each style: all of a style have the same score, and all are answered
    right (bool [styles]) or none."""
    style = np.repeat(np.arange(len(right)), size)
    items = pd.Series([f"{property} {number}" for number in range(len(style))])
    margin = 1 + np.random.default_rng(seed).random(len(right))
    scores = np.column_stack([margin[style], np.zeros(len(style))])
    triples = pd.DataFrame({"item": items, "property": property, "value": "v"})
    asked = Questions(property, triples, scores, np.where(right[style], 0, 1), np.zeros(scores.shape, dtype=bool))
    return asked, pd.Series([f"{property} style {number}" for number in style], index=items)


def test_a_style_lies_in_one_fold_and_an_item_without_one_is_its_own() -> None:
    part, groups = _styles("p", np.ones(STYLES, dtype=bool), SIZE)
    items = part.triples["item"]
    folds = pd.Series(_folds(items, groups), index=items)
    assert (folds.groupby(groups).nunique() == 1).all()
    assert set(folds) == set(range(FOLDS))
    alone = pd.Series(_folds(items, groups[SIZE:]), index=items)
    assert alone[:SIZE].nunique() > 1
    assert (alone[SIZE:] == folds[SIZE:]).all()


@pytest.mark.parametrize("style", [0, 7, 29])
def test_what_a_style_answers_is_unknown_to_the_calibration_of_its_fold(style: int) -> None:
    """With all of its answers turned round, its fold's confidences are the same to the last figure; others' are not."""
    part, groups = _styles("p", np.arange(STYLES) % 3 > 0, SIZE)
    own = (groups == f"p style {style}").to_numpy()
    turned = dataclasses.replace(part, true=np.where(own, 1 - part.true, part.true))
    folds = _folds(part.triples["item"], groups)
    fold = np.sort(folds)  # in whose order the rows come
    before, after = (held_out([asked], groups)["confidence"].to_numpy() for asked in (part, turned))
    of_style = fold == folds[own][0]
    assert (before[of_style] == after[of_style]).all()
    assert (before[~of_style] != after[~of_style]).any()


def test_twenty_questions_are_enough_unless_they_are_of_one_style() -> None:
    """Four fifths of twenty are fewer than twenty. Of one style nothing is left outside of its fold."""
    part, groups = _styles("p", np.arange(10) % 2 > 0, 2)
    assert len(held_out([part], groups)) == 20
    one, of_one = _styles("p", np.array([True]), 20)
    with pytest.raises(TooFewQuestions, match=r"expected 10 or more triples .* \(got 0\)"):
        held_out([one], of_one)


def test_a_score_that_knows_its_own_style_is_not_believed() -> None:
    """A property of one style, whose 150 equal answers are all right: a calibration that has seen them promises that.
    Of another style nothing is known but what the other property says, half of whose answers are right."""
    single, own = _styles("single", np.array([True]), 150)
    other, groups = _styles("other", np.arange(STYLES) % 2 > 0, SIZE)
    every = Calibration.of([single, other])
    seen = judged(every.probabilities("single", single.scores, single.known), single.true)["confidence"]
    found = held_out([single, other], pd.concat([own, groups]))
    unseen = found.loc[found["property"] == "single", "confidence"]
    assert seen.nunique() == unseen.nunique() == 1
    assert seen.iloc[0] > 0.8
    assert unseen.iloc[0] < 0.65
    assert len(found) == 150 + STYLES * SIZE
    assert found.loc[found["property"] == "single", "right"].all()
