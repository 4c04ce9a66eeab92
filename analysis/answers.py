"""What predictors answer to kept-back triples, and what that is worth: every predictor by the same code.

A predictor that knows nothing of an item may raise `k3m.ranks.CannotScore`; it then has no answers in that split, which
is said.

Legend: n questions.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from analysis.conformal import LEVELS
from analysis.evaluation import described, evaluation, nested
from analysis.reliability import calibration_error, diagram, judged, log_loss, softmax_of
from analysis.selective import curve
from analysis.splits import Asked
from analysis.trust import Trust
from k3m.candidates import Candidates
from k3m.ranks import UNSEEN, CannotScore, Predictor, Questions, link_metrics, questions, three_ranks

OURS = "k3m"
"""K3M's name among predictors."""


def answered(
    predictors: Mapping[str, Predictor],
    asked: pd.DataFrame,
    known: pd.DataFrame,
    candidates: Candidates,
    trusts: Mapping[str, Trust],
) -> dict[str, pd.DataFrame]:
    """Of each predictor `answers_of` every split that it can answer."""
    found = {}
    for name, predictor in tqdm(predictors.items(), desc="kept-back triples", unit="predictor"):
        parts = []
        for split, of_split in asked.groupby("split", sort=False):
            try:
                parts.append(answers_of(predictor, of_split, known, candidates, trusts.get(name)))
            except CannotScore as error:
                tqdm.write(f"{name} cannot answer split {split}: {error}")
        found[name] = pd.concat(parts) if parts else pd.DataFrame({"rank": []}, dtype=float)
    return found


def answers_of(
    predictor: Predictor, asked: pd.DataFrame, known: pd.DataFrame, candidates: Candidates, trust: Trust | None
) -> pd.DataFrame:
    """A row a question, in the order and with the index of `asked` (item, property, value).

    Columns: optimistic, rank (the realistic one), pessimistic, options. With a trust also confidence, right, true and
    brier (`reliability.judged`), the same of the uncalibrated softmax as `*_before`, and for each level of the answer
    sets set_size_95 and covered_95.
    """
    parts = [_answers(part, trust) for part in questions(predictor, asked, known, candidates)]
    return pd.concat(parts).sort_index().set_axis(asked.index) if parts else pd.DataFrame()


def _answers(part: Questions, trust: Trust | None) -> pd.DataFrame:
    ranks = three_ranks(part.scores, part.true, part.known)
    columns = {
        "optimistic": ranks.optimistic,
        "rank": ranks.realistic,
        "pessimistic": ranks.pessimistic,
        "options": ranks.options,
    }
    found = pd.DataFrame(columns, index=part.triples.index)
    return found if trust is None else found.join(_judged(part, trust).set_axis(part.triples.index))


def _judged(part: Questions, trust: Trust) -> pd.DataFrame:
    probabilities = trust.calibration.probabilities(part.property, part.scores, part.known)
    before = judged(softmax_of(part.scores.astype(np.float64), part.known), part.true)
    found = judged(probabilities, part.true).join(before.add_suffix("_before"))
    rows = np.flatnonzero(part.true != UNSEEN)
    for level, sets in trust.sets.items():
        within = sets.of(part.property, probabilities)
        covered = np.zeros(len(found), dtype=bool)
        covered[rows] = within[rows, part.true[rows]]
        found[f"set_size_{level * 100:.0f}"], found[f"covered_{level * 100:.0f}"] = within.sum(axis=1), covered
    return found


def figures_of(
    asked: Asked, found: Mapping[str, pd.DataFrame], groups: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What metrics.json has of the answers, and the same as tables, by the fields of `report.Findings`. What is said of
    confidences is said of questions that they were not fitted on.

    Args:
        groups: of properties, by property.
    """
    kept_back, floors = asked.kept_back, [name for name in found if name != OURS]
    unseen = asked.unseen["split"]
    ranks = kept_back.assign(**{name: own["rank"] for name, own in found.items()})
    figures = link_completion(ranks, floors, groups)
    parts = evaluation(found, described(kept_back, asked.training, asked.candidates, asked.groups))
    calibrated, points, curves = calibration(found, unseen), reliability(found, unseen), selective(found, unseen)
    metrics = {
        "link_completion": {split: figures[split] for split in asked.splits},
        "evaluation": nested(parts, ["split", "predictor", "by", "name"]) if len(parts) else {},
        "calibration": _by_split(calibrated),
        "reliability": _points(points, ["split", "predictor", "when"], ["confidence", "precision", "n"]),
        "selective": _points(curves[curves["predictor"] == OURS], ["split"], ["coverage", "precision"]),
    }
    tables = {"ranks": ranks} | ({"evaluation": parts} if len(parts) else {})
    if len(calibrated):
        tables |= {"calibration": calibrated, "reliability": points, "selective": curves}
    return metrics, tables


def link_completion(ranks: pd.DataFrame, floors: Sequence[str], groups: Mapping[str, str]) -> dict[str, Any]:
    """Figures of each split, and, where the store's properties declare groups, of each group in it.

    Args:
        ranks: property, split, and a column of ranks for K3M and each floor; NaN for what a floor cannot answer.
    """
    found: dict[str, Any] = {}
    for split, of_split in ranks.groupby("split", sort=False):
        found[str(split)] = figures(of_split, floors)
        named = of_split.groupby(of_split["property"].map(groups))
        if len(named):
            found[str(split)]["groups"] = {group: figures(of_group, floors) for group, of_group in named}
    return found


def figures(ranks: pd.DataFrame, floors: Sequence[str]) -> dict[str, Any]:
    """K3M's link metrics on these triples, and under `floors` the same of each floor that can answer them."""
    able = [name for name in (OURS, *floors) if ranks[name].notna().all()]
    own = {name: link_metrics(ranks[name].to_numpy(), ranks["property"].to_numpy()) for name in able}
    return own[OURS] | {"floors": {name: own[name] for name in floors if name in own}}


def calibration(answers: Mapping[str, pd.DataFrame], splits: pd.Series) -> pd.DataFrame:
    """In the form of `report.Findings.calibration`: a row a split and predictor."""
    rows = [named | _figures(rows) for named, rows in _judged_parts(answers, splits)]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["split", "predictor"])


def _figures(rows: pd.DataFrame) -> dict[str, Any]:
    """Errors over the questions that have a candidate, coverage over all."""
    given = rows[rows["confidence"] > 0]
    found: dict[str, Any] = {"n": len(rows)}
    for when in ("_before", ""):
        confidence, right = given[f"confidence{when}"].to_numpy(), given[f"right{when}"].to_numpy(dtype=bool)
        found[f"ece{when}"] = calibration_error(confidence, right)
        found[f"brier{when}"] = given[f"brier{when}"].mean()
        found[f"log_loss{when}"] = log_loss(given[f"true{when}"].to_numpy())
    for level in (f"{level * 100:.0f}" for level in LEVELS):
        found[f"coverage_{level}"] = rows[f"covered_{level}"].mean()
        found[f"set_size_{level}"] = rows[f"set_size_{level}"].mean()
    return found


def reliability(answers: Mapping[str, pd.DataFrame], splits: pd.Series) -> pd.DataFrame:
    """In the form of `report.Findings.reliability`."""
    parts = []
    for named, rows in _judged_parts(answers, splits):
        given = rows[rows["confidence"] > 0]
        for when, suffix in (("before", "_before"), ("after", "")):
            confidence, right = given[f"confidence{suffix}"].to_numpy(), given[f"right{suffix}"].to_numpy(dtype=bool)
            parts.append(diagram(confidence, right).assign(**named, when=when))
    return _table(parts, ["split", "predictor", "when", "confidence", "precision", "n"])


def selective(answers: Mapping[str, pd.DataFrame], splits: pd.Series) -> pd.DataFrame:
    """In the form of `report.Findings.selective`."""
    parts = [
        curve(rows["confidence"].to_numpy(), rows["right"].to_numpy(dtype=bool)).assign(**named)
        for named, rows in _judged_parts(answers, splits)
    ]
    return _table(parts, ["split", "predictor", "coverage", "precision", "confidence"])


def _by_split(calibrated: pd.DataFrame) -> dict[str, Any]:
    """K3M's figures of each split, with those of each floor under `floors`."""
    found: dict[str, Any] = {}
    for split, of_split in calibrated.groupby("split", sort=False):
        own = nested(of_split.drop(columns="split"), ["predictor"])
        found[str(split)] = own.pop(OURS, {}) | {"floors": own}
    return found


def _points(rows: pd.DataFrame, keys: Sequence[str], columns: Sequence[str]) -> Any:
    if not keys:
        return rows[list(columns)].to_numpy().tolist()
    return {str(name): _points(part, keys[1:], columns) for name, part in rows.groupby(keys[0], sort=False)}


def _judged_parts(
    answers: Mapping[str, pd.DataFrame], splits: pd.Series
) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """The answers of each split and predictor that have probabilities."""
    for split in splits.unique():
        for name, own in answers.items():
            rows = own[splits.reindex(own.index) == split]
            if len(rows) and "confidence" in rows:
                yield {"split": split, "predictor": name}, rows


def _table(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)[list(columns)] if parts else pd.DataFrame(columns=list(columns))
