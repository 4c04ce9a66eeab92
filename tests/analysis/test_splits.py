"""Which questions a completion's figures are of."""

from pathlib import Path

from analysis import answers
from analysis.floors import Majority
from analysis.splits import Asked, calibrate_part
from analysis.trust import Trust
from tests.analysis.shop import shop


def test_of_valid_confidences_are_judged_on_the_half_that_they_were_not_fitted_on(tmp_path: Path) -> None:
    store = shop(300, valid=True)
    asked, calibrate = Asked.of(store, tmp_path, {}, ("valid", "test"), False), calibrate_part(store, {})
    predictor = Majority(store, asked.candidates)
    trust = Trust.fit(predictor, calibrate, asked.triples, asked.candidates, asked.groups)
    by_name = {answers.OURS: predictor}
    found = answers.answered(by_name, asked.kept_back, asked.triples, asked.candidates, {answers.OURS: trust})
    metrics, tables = answers.figures_of(asked, found, {})
    counts = store.counts().splits
    assert {split: own["n"] for split, own in metrics["link_completion"].items()} == counts
    left = {"valid": counts["valid"] - len(calibrate), "test": counts["test"]}
    assert 0 < left["valid"] < counts["valid"]
    assert {split: own["n"] for split, own in metrics["calibration"].items()} == left
    after = tables["reliability"][tables["reliability"]["when"] == "after"]
    assert after.groupby("split")["n"].sum().to_dict() == left
    cells = set(calibrate[["item", "property"]].itertuples(index=False, name=None))
    assert not cells & set(asked.unseen[["item", "property"]].itertuples(index=False, name=None))


def test_where_valid_is_not_evaluated_every_question_is_unseen(tmp_path: Path) -> None:
    asked = Asked.of(shop(300, valid=True), tmp_path, {}, None, False)
    assert asked.splits == ["test"]
    assert asked.unseen.equals(asked.kept_back)
