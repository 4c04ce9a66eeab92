import pytest

from tools.demo_claims import broken

TABULAR = {"title": 0.95, "graph": 0.94, "picture": 0.63}
WHOLE = {"title": 0.945, "graph": 0.94, "picture": 0.80}
WITHOUT = {
    "title": WHOLE | {"title": 0.6, "graph": 0.9},
    "graph": WHOLE | {"graph": 0.5},
    "image": WHOLE | {"picture": 0.6},
}


def test_a_demo_that_shows_what_it_should() -> None:
    assert broken(WHOLE, TABULAR, WITHOUT) == []


@pytest.mark.parametrize(("group", "floor"), [("title", 0.956), ("graph", 0.951), ("picture", 0.801)])
def test_a_group_below_its_floor(group: str, floor: float) -> None:
    assert broken(WHOLE, TABULAR | {group: floor - 0.002}, WITHOUT) == []
    [failure] = broken(WHOLE, TABULAR | {group: floor}, WITHOUT)
    assert failure == f"{group}: K3M {WHOLE[group]:.3f}, the tabular floor {floor:.3f}"


def test_a_modality_that_another_group_leans_on() -> None:
    [failure] = broken(WHOLE, TABULAR, WITHOUT | {"image": WHOLE | {"picture": 0.7, "title": 0.7}})
    assert failure == "without the image, not picture falls most: title 0.245, graph 0.000, picture 0.100"
