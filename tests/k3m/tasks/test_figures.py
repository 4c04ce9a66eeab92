"""Figures and heads, by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from k3m.tasks import answer, classify
from k3m.tasks.align import PairHead, best_threshold
from k3m.tasks.answer import AnswerHead
from k3m.tasks.config import TaskConfig
from k3m.tasks.data import Examples, TaskData
from k3m.tasks.schedule import rate_at
from k3m.tasks.tune import judged
from tests.k3m.tasks.conftest import catalogue, store_of


def task(kind: str, table: pd.DataFrame, **more: object) -> TaskData:
    part = Examples(kind, table)  # type: ignore[arg-type]
    return TaskData(kind, part, part, part, **more)  # type: ignore[arg-type]


def test_accuracy_and_macro_f1() -> None:
    table = pd.DataFrame({"item": list("abcd"), "label": [0, 0, 0, 1], "group": list("abcd")})
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    found = judged(scores, Examples("classify", table), task("classify", table, classes=("x", "y")))
    assert found.metrics == pytest.approx({"accuracy": 0.75, "macro_f1": (0.8 + 2 / 3) / 2, "n": 4})
    assert found.outcomes["outcome"].tolist() == [1.0, 1.0, 0.0, 1.0]


def test_a_constant_predictor_of_balanced_pairs_has_a_macro_f1_of_a_third() -> None:
    table = pd.DataFrame({"item": list("abcd"), "other": list("efgh"), "label": [0, 1, 0, 1], "group": list("abcd")})
    found = judged(np.ones(4), Examples("align", table), task("align", table), threshold=0.5)
    assert found.metrics["macro_f1"] == pytest.approx(1 / 3)
    assert found.metrics["f1"] == pytest.approx(2 / 3)
    assert found.metrics["auc"] == 0.5


def test_the_threshold_with_the_best_f1() -> None:
    scores, labels = np.array([0.9, 0.8, 0.7, 0.2, 0.1]), np.array([1, 0, 1, 0, 0])
    assert best_threshold(scores, labels) == pytest.approx(0.45)  # F1 .8 from .7 on; 2/3 from .9 on
    assert best_threshold(np.array([0.5, 0.5, 0.1]), np.array([1, 0, 0])) == pytest.approx(0.3)  # equal scores together
    assert best_threshold(np.array([0.3, 0.2]), np.array([1, 1])) < 0.2


def questions() -> tuple[TaskData, pd.DataFrame]:
    """Answers: blue, large, red, small."""
    table = pd.DataFrame(
        {
            "item": ["a", "a", "b"],
            "property": ["colour", "size", "colour"],
            "value": ["red", "small", "pink"],
            "group": ["a", "a", "b"],
        }
    )
    candidates = pd.DataFrame(
        [("colour", "red"), ("colour", "blue"), ("size", "small"), ("size", "large")], columns=["property", "value"]
    )
    known = pd.DataFrame(
        [("a", "colour", "red"), ("a", "colour", "blue"), ("a", "size", "small")], columns=["item", "property", "value"]
    )
    return task("answer", table, candidates=candidates, known=known), table


def test_ranks_among_all_values_and_the_property_s_own() -> None:
    data, _ = questions()
    assert data.answers.tolist() == ["blue", "large", "red", "small"]
    scores = np.array([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
    found = judged(scores, data.test, data).outcomes
    # red: large is before it, blue is true as well. small: red is, large ties. pink: past the last of four.
    assert found["outcome"].tolist() == pytest.approx([1 / 2, 1 / 2.5, 1 / 5])
    # Its own: blue is true as well. large ties. Past the last of two.
    assert found["own"].tolist() == pytest.approx([1.0, 1 / 1.5, 1 / 3])


def test_a_batch_s_answers_hold_its_true_ones_and_its_loss_is_their_cross_entropy() -> None:
    true = np.array([5, 2, 5])
    columns = answer.drawn_answers(true, 9, 4, 0)
    assert len(set(columns)) == len(columns) >= 4
    assert {2, 5} <= set(columns)
    scores = torch.randn(3, len(columns), generator=torch.Generator().manual_seed(0))
    place = torch.tensor([columns.tolist().index(column) for column in true])
    also = torch.zeros(3, len(columns), dtype=torch.bool)
    expected = torch.nn.functional.cross_entropy(scores, place)
    assert torch.allclose(answer.answer_loss(scores, columns, true, also), expected)
    rival = next(column for column in range(len(columns)) if column not in place[:1])
    also[0, rival] = True  # another true value is no rival
    assert answer.answer_loss(scores, columns, true, also) < expected


def test_an_answer_s_score_is_that_of_the_two_vectors_together() -> None:
    torch.manual_seed(0)
    head = AnswerHead(4, TaskConfig()).eval()
    items, answers = torch.randn(2, 4), torch.randn(3, 4)
    both = torch.cat([head.norm_item(items[1]), head.norm_answer(answers[2])])
    hidden = torch.cat([head.item.weight, head.answer.weight], dim=1) @ both + head.item.bias
    expected = head.out(torch.nn.functional.gelu(hidden))
    assert torch.allclose(head(items, answers)[1, 2], expected[0], atol=1e-6)


@pytest.mark.parametrize("pairs", ["concatenated", "compared"])
def test_a_pair_head_scores_each_pair(pairs: str) -> None:
    head = PairHead(4, TaskConfig(pairs=pairs)).eval()  # type: ignore[arg-type]
    vectors = torch.randn(5, 2, 4)
    assert torch.allclose(head(vectors)[3], head(vectors[3:4])[0], atol=1e-6)


def test_the_rate_rises_and_falls() -> None:
    assert [rate_at(share, 0.01, 0.1) for share in (0.0, 0.05, 0.55, 1.0)] == pytest.approx([0.1, 0.6, 0.5, 0.0])


def test_few_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="fewer than two classes of 20 items"):
        classify.from_store(store_of(catalogue()), "fabric")
