from pathlib import Path

import numpy as np
import pytest

from k3m.health import warnings_of, write_picture


def _run(n: int = 60, **changes: list[float]) -> list[dict[str, float]]:
    """A run in which everything falls, with columns changed."""
    falling = np.linspace(1.0, 0.4, n).tolist()
    columns = {"lpm": falling, "mlm": falling, "mom": falling} | changes
    return [{"step": 10 * row} | {name: values[row] for name, values in columns.items()} for row in range(n)]


def test_a_run_that_is_well_and_one_that_is_short_give_no_warning() -> None:
    assert warnings_of(_run()) == []
    assert warnings_of(_run(10, mlm=[1.0] * 10)) == []
    assert warnings_of([]) == []


def test_an_objective_that_does_not_fall_is_named_with_its_weight() -> None:
    [warning] = warnings_of(_run(mlm=[1.0] * 60))
    assert warning.startswith("mlm does not fall (1 over the first fifth of the run, 1 over the last)")
    assert "loss.mlm" in warning


def test_an_objective_that_is_off_is_no_fault() -> None:
    assert warnings_of(_run(mom=[0.0] * 60)) == []


def test_one_that_drowns_another_is_named_with_the_factor() -> None:
    def warned(lpm: float) -> list[str]:
        return warnings_of(_run(gradient_lpm=[lpm] * 60, gradient_mlm=[2.0] * 60, gradient_mom=[0.5] * 60))

    [warning] = warned(0.02)
    assert warning.startswith("mlm drowns lpm: its gradient is 100 times as large")
    assert warned(0.1) == []


@pytest.mark.parametrize(("share", "side"), [(0.995, "one alone"), (0.005, "one informed by the other modality")])
def test_gates_stuck_at_one_side(share: float, side: str) -> None:
    [warning] = warnings_of(_run(alone_text=[0.5] * 60, alone_image=[0.5] * 30 + [share] * 30))
    assert warning.startswith("the gates of image are stuck")
    assert side in warning


def test_mom_that_does_not_beat_the_mean_of_the_visible_tokens() -> None:
    assert warnings_of(_run(mom_floor=[0.5] * 60)) == []
    [warning] = warnings_of(_run(mom_floor=[0.3] * 60))
    assert warning.startswith("mom is no better than the mean")


def test_the_picture_has_a_panel_for_all_that_was_logged(tmp_path: Path) -> None:
    write_picture(_run(gradient_lpm=[0.1] * 60, alone_text=[0.4] * 60), tmp_path / "health.svg")
    picture = (tmp_path / "health.svg").read_text(encoding="utf-8")
    for title in ("loss, relative to its first value", "norm of the weighted gradient", "choices that are alone"):
        assert title in picture
    assert "validation" not in picture
