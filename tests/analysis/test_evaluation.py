"""Figures of ranks: by hand, against PyKEEN's evaluator one by one, by parts of a split."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pykeen.evaluation import RankBasedEvaluator
from pykeen.typing import RankType

from analysis.evaluation import adjusted, described, evaluation, figures, nested
from k3m.candidates import Candidates
from k3m.ranks import UNSEEN, three_ranks

WAYS: tuple[RankType, ...] = ("optimistic", "realistic", "pessimistic")


def _ranks(scores: np.ndarray, true: np.ndarray, known: np.ndarray, property: str) -> pd.DataFrame:
    found = three_ranks(scores, true, known)
    columns = {
        "optimistic": found.optimistic,
        "rank": found.realistic,
        "pessimistic": found.pessimistic,
        "options": found.options,
    }
    return pd.DataFrame(columns).assign(property=property)


def test_three_ranks_by_hand() -> None:
    scores = np.array([[1.0, 1.0, 1.0, 0.0], [3.0, 2.0, 1.0, 0.0]])
    known = np.array([[False] * 4, [True, False, False, False]])
    found = three_ranks(scores, np.array([1, UNSEEN]), known)
    assert [way.tolist() for way in (found.optimistic, found.realistic, found.pessimistic)] == [[1, 4], [2, 4], [3, 4]]
    assert found.options.tolist() == [4, 4]  # four candidates; three that are left, and the one that was never seen


def test_chance_is_0_and_perfect_is_1() -> None:
    """Of 1 to 9 options, the true value on each place as often as on any other; then always on the first."""
    options = np.repeat(np.arange(1, 10), np.arange(1, 10) * 0 + 2520)
    rank = np.concatenate([np.arange(2520) % k + 1 for k in range(1, 10)]).astype(float)
    by_chance = adjusted(pd.DataFrame({"rank": rank, "options": options}))
    assert list(by_chance.values()) == pytest.approx([0, 0, 0], abs=1e-12)
    assert list(adjusted(pd.DataFrame({"rank": 1.0, "options": options})).values()) == pytest.approx([1, 1, 1])
    assert all(np.isnan(list(adjusted(pd.DataFrame({"rank": [1.0, np.inf], "options": [1, 1]})).values())))


def _random_questions(k: int, n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, true values of which some were never seen, known ones of which some are the true ones."""
    draws = np.random.default_rng(seed)
    scores, true, known = (
        draws.integers(0, 4, (n, k)).astype(float),
        draws.integers(-1, k, n),
        draws.random((n, k)) < 0.2,
    )
    known[:, 0] = False  # something always competes
    return scores, true, known


def _evaluated(questions: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> RankBasedEvaluator:
    """PyKEEN's evaluator on our ranks' inputs: the unseen true value has one more column with the lowest score (for
    every row, filtered out where it is not asked for); the filter is what PyKEEN calls NaN."""
    evaluator = RankBasedEvaluator(clear_on_finalize=False)
    for scores, true, known in questions:
        rows = np.arange(len(scores))
        wide = np.column_stack([scores, np.full(len(scores), scores.min() - 1)])
        columns = np.where(true == UNSEEN, scores.shape[1], true)
        target = wide[rows, columns][:, None]
        wide[:, :-1][known] = np.nan
        wide[true != UNSEEN, -1] = np.nan
        wide[rows, columns] = target[:, 0]
        evaluator.process_scores_(
            hrt_batch=torch.zeros(len(scores), 3, dtype=torch.long),
            target="tail",
            scores=torch.from_numpy(wide),
            true_scores=torch.from_numpy(target),
        )
    return evaluator


def test_ranks_and_figures_equal_pykeens_one_by_one() -> None:
    questions = [_random_questions(k, 60, seed=k) for k in (2, 5, 12)]
    evaluator = _evaluated(questions)
    ours = pd.concat([_ranks(*asked, f"p{place}") for place, asked in enumerate(questions)], ignore_index=True)
    assert np.isfinite(ours["rank"]).all()
    for way in WAYS:
        theirs = np.concatenate(evaluator.ranks["tail", way])
        assert ours["rank" if way == "realistic" else way].tolist() == theirs.tolist()
    assert ours["options"].tolist() == np.concatenate(evaluator.num_candidates["tail"]).tolist()
    found, results = figures(ours), evaluator.finalize()
    for own, name in {
        "mrr": "realistic.inverse_harmonic_mean_rank",
        "mrr_optimistic": "optimistic.inverse_harmonic_mean_rank",
        "mrr_pessimistic": "pessimistic.inverse_harmonic_mean_rank",
        "hits_at_1": "realistic.hits_at_1",
        "hits_at_1_optimistic": "optimistic.hits_at_1",
        "hits_at_1_pessimistic": "pessimistic.hits_at_1",
        "hits_at_3": "realistic.hits_at_3",
        "hits_at_10": "realistic.hits_at_10",
        "amri": "realistic.adjusted_arithmetic_mean_rank_index",
        "adjusted_mrr": "realistic.adjusted_inverse_harmonic_mean_rank",
    }.items():
        assert found[own] == pytest.approx(results.get_metric(f"tail.{name}"), abs=1e-6), own


def test_where_nothing_competes_pykeen_says_first_and_we_say_nothing() -> None:
    """The one difference: a true value that was never seen, where no candidate is left."""
    alone = (np.array([[1.0]]), np.array([UNSEEN]), np.array([[True]]))
    assert np.concatenate(_evaluated([alone]).ranks["tail", "realistic"]).tolist() == [1.0]
    assert _ranks(*alone, "p")["rank"].tolist() == [np.inf]


ASKED = pd.DataFrame(
    [
        ("a1", "p", "often", "test"),
        ("b1", "p", "once", "test"),
        ("c1", "p", "never", "test"),
        ("d1", "q", "x", "cold"),
    ],
    columns=["item", "property", "value", "split"],
    index=[3, 5, 8, 9],
)
TRAINING = pd.DataFrame(
    [("a1", "p", "often")] + [(f"t{n}", "p", "often") for n in range(9)] + [("b2", "p", "once"), ("b2", "q", "x")],
    columns=["item", "property", "value"],
)
GROUPS = pd.Series({"a1": "A", "a2": "A", "b1": "B", "b2": "B", "d1": "D", "b3": "B"})


def test_questions_are_described_by_frequency_and_sibling() -> None:
    found = described(ASKED, TRAINING, Candidates.from_triples(TRAINING), GROUPS)
    assert found["frequency"].tolist() == ["10-99", "1-9", "0", "1-9"]
    # a1 has triples itself, its sibling a2 has none; b1's b2 has; c1 has no group, d1 no sibling at all
    assert found["sibling"].tolist() == ["without", "with", "without", "without"]
    assert found["group"].tolist() == ["A", "B", "item c1", "D"]
    none = described(ASKED, TRAINING, Candidates.from_triples(TRAINING), pd.Series(dtype=object))
    assert none["sibling"].isna().all()


def _answers(ranks: list[float]) -> pd.DataFrame:
    own = pd.DataFrame({"rank": ranks, "optimistic": ranks, "pessimistic": ranks, "options": 10}, index=ASKED.index)
    return own.sample(frac=1, random_state=0)


def test_parts_of_a_split_by_hand() -> None:
    asked = described(ASKED, TRAINING, Candidates.from_triples(TRAINING), GROUPS)
    found = evaluation({"k3m": _answers([1, 2, 4, 1]), "rival": _answers([2, 2, 2, 2]).drop(index=9)}, asked)
    mrr = found.set_index(["split", "predictor", "by", "name"])["mrr"]
    assert mrr["test", "k3m", "all", "all"] == pytest.approx((1 + 1 / 2 + 1 / 4) / 3)
    assert mrr["test", "k3m", "frequency", "0"] == 0.25
    assert mrr["test", "k3m", "sibling", "with"] == 0.5
    assert mrr["test", "k3m", "sibling", "without"] == pytest.approx((1 + 1 / 4) / 2)
    assert mrr["test", "rival", "property", "p"] == 0.5
    assert ("cold", "rival", "all", "all") not in mrr.index  # it cannot answer there
    assert mrr["cold", "k3m", "all", "all"] == 1
    assert found["mrr_low"].isna().all()  # too few questions for an interval


def test_intervals_are_drawn_over_styles() -> None:
    asked = pd.DataFrame({"item": [f"i{n}" for n in range(400)], "property": "p", "value": "v", "split": "test"})
    groups = pd.Series([f"g{n // 10}" for n in range(400)], index=asked["item"])
    training = pd.DataFrame({"item": ["t"], "property": ["p"], "value": ["v"]})
    right = np.repeat(np.random.default_rng(0).random(40) < 0.5, 10)
    answers = pd.DataFrame({"rank": np.where(right, 1.0, 2.0), "options": 2})
    answers = answers.assign(optimistic=answers["rank"], pessimistic=answers["rank"])
    widths = []
    for own in (groups, groups.iloc[:0]):
        found = evaluation({"k3m": answers}, described(asked, training, Candidates.from_triples(training), own))
        row = found[found["by"] == "all"].iloc[0]
        assert row["hits_at_1_low"] < row["hits_at_1"] < row["hits_at_1_high"]
        assert row["mrr_high"] - row["mrr_low"] == pytest.approx((row["hits_at_1_high"] - row["hits_at_1_low"]) / 2)
        widths.append(row["hits_at_1_high"] - row["hits_at_1_low"])
    assert widths[0] > 2.5 * widths[1]


def test_tables_become_dictionaries_without_nan() -> None:
    rows: list[dict[str, Any]] = [
        {"split": "test", "name": "a", "mrr": 0.5},
        {"split": "test", "name": "b", "mrr": np.nan},
    ]
    assert nested(pd.DataFrame(rows), ["split", "name"]) == {"test": {"a": {"mrr": 0.5}, "b": {"mrr": None}}}
