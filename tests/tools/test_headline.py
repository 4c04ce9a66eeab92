import json
from pathlib import Path

import pytest

from tools import headline


def figures(mrr: float, **more: object) -> dict[str, object]:
    floors = {"majority": {"mrr": 0.5}, "tabular": {"mrr": 0.625}}
    return {"mrr": mrr, "hits_at_1": 0.25, "n": 12, "floors": floors, **more}


def test_splits_groups_and_floors_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = {"test": figures(0.75, groups={"picture": figures(0.875)}), "cold": figures(0.5)}
    (tmp_path / "metrics.json").write_text(json.dumps({"link_completion": splits}))
    headline.main(tmp_path)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[2:6] == [
        ["n", "MRR", "Hits@1", "majority", "tabular", "visual"],
        ["test", "12", "0.750", "0.250", "0.500", "0.625", "-"],
        ["picture", "12", "0.875", "0.250", "0.500", "0.625", "-"],
        ["cold", "12", "0.500", "0.250", "0.500", "0.625", "-"],
    ]
    assert lines[-1] == ["Report:", str(tmp_path / "index.html")]
