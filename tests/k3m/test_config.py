from pathlib import Path

import pytest

from k3m.config import Config


def test_settings_override_the_preset_and_keep_their_types() -> None:
    config = Config.from_preset(
        "small", ["optim.peak_lr=1", "visible.fields=category,price", "train.precision=float32", "model.fusion=mean"]
    )
    assert config.optim.peak_lr == 1.0
    assert isinstance(config.optim.peak_lr, float)
    assert config.visible.fields == ("category", "price")
    assert config.model.fusion == "mean"


def test_a_resolved_config_reads_back_equal(tmp_path: Path) -> None:
    config = Config.from_preset("small", ['visible.fields=["a \\"b\\""]', "train.seed=7"])
    (tmp_path / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    assert Config.load(tmp_path / "config.toml") == config
    other = Config.load(tmp_path / "config.toml", ["train.seed=8"])
    assert (other.train.seed, other.visible) == (8, config.visible)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optim.speed=1", r"unknown key in \[optim\]: speed: expected one of peak_lr"),
        ("wheels.count=4", "unknown section wheels: expected one of visible, data"),
        ("optim.peak_lr=-1", r"optim.peak_lr must be > 0 \(got -1.0\)"),
        ("optim.peak_lr=fast", r"optim.peak_lr must be of type float \(got 'fast'\)"),
        ("model.fusion=glue", r"model.fusion must be one of mean, soft, hard, off \(got 'glue'\)"),
        ("seed", r"--set takes section.key=value \(got 'seed'\)"),
    ],
)
def test_bad_settings_are_refused_by_name(setting: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config.from_preset("small", [setting])


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="unknown preset 'huge': expected one of best, paper, small"):
        Config.from_preset("huge")


def test_the_fan_out_is_a_number_a_hop_and_a_lone_one_is_one_hop() -> None:
    assert Config.from_dict({"data": {"fan_out": 64}}) == Config.from_dict({"data": {"fan_out": [64]}})  # older runs
    for setting in ("data.fan_out=10,5", "data.fan_out=[10, 5]"):
        assert Config.from_preset("small", [setting]).data.fan_out == (10, 5)
    with pytest.raises(ValueError, match=r"data.fan_out must be one number or two, one a hop \(got \(1, 2, 3\)\)"):
        Config.from_preset("small", ["data.fan_out=1,2,3"])
    with pytest.raises(ValueError, match=r"data.fan_out must be at least 1"):
        Config.from_preset("small", ["data.fan_out=4,0"])


def test_replacement_beside_leaving_one_out_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data.replace may show a triple twice, and loss.leave_one_out"):
        Config.from_preset("small", ["data.replace=true", "loss.leave_one_out=true"])
    assert Config.from_preset("small", ["data.replace=true", "loss.leave_one_out=false"]).data.replace


@pytest.mark.parametrize("front", ["faster_rcnn", "open_clip"])
def test_moving_pixels_that_a_frozen_front_end_does_not_give_is_refused(front: str) -> None:
    settings = [f"image.front={front}", "image.tuned=false"]
    with pytest.raises(ValueError, match="a frozen front end gives none"):
        Config.from_preset("small", [*settings, "corrupt.shift_image=2"])
    assert Config.from_preset("small", settings).image.ready
