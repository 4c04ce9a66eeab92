"""The real open_clip and torchvision models, small and untrained: no weights are downloaded."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import detection

from k3m import towers
from k3m.config import ImageConfig
from k3m.front_ends import image_front, reader_of
from k3m.image_encoders import ReadyFront, TowerFront
from k3m.photographs import BOX

SMALL = "tests-ViT-tiny"


def _small_tower(folder: Path) -> None:
    (folder / f"{SMALL}.json").write_text(
        '{"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}, '
        '"text_cfg": {"context_length": 8, "vocab_size": 20, "width": 16, "heads": 2, "layers": 1}}'
    )


@pytest.fixture(autouse=True)
def small_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tower of open_clip's own making, and a detector whose backbone is small."""
    _small_tower(tmp_path)
    open_clip.add_model_config(tmp_path / f"{SMALL}.json")

    def small_detector(**settings: Any) -> Any:
        return detection.fasterrcnn_mobilenet_v3_large_320_fpn(**settings, min_size=64, max_size=64)

    monkeypatch.setattr(detection, "fasterrcnn_small", small_detector, raising=False)
    towers._frozen.cache_clear()


def _jpeg(seed: int, size: tuple[int, int] = (40, 56)) -> bytes:
    buffer = io.BytesIO()
    random = np.random.default_rng(seed)
    Image.fromarray(random.integers(0, 255, (*size, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


FROZEN = ImageConfig(front="open_clip", tower=SMALL, tuned=False)
TUNED = ImageConfig(front="open_clip", tower=SMALL)
DETECTOR = ImageConfig(front="faster_rcnn", tower="fasterrcnn_small", regions=12)


@pytest.mark.parametrize("config", [FROZEN, TUNED, DETECTOR], ids=["frozen", "tuned", "detector"])
def test_every_front_end_gives_objects_positions_presence_and_a_target(config: ImageConfig) -> None:
    with pytest.warns(UserWarning, match="cannot be read as an image"):
        photographs = reader_of(config)([_jpeg(0), None, _jpeg(1), b"no image"])
    front = image_front(config).eval()
    features, seen = front(photographs, None)
    number = photographs.there.shape[1]
    assert features.shape == (4, number, front.width)
    assert photographs.boxes.shape == (4, number, BOX)
    assert photographs.present.tolist() == [True, False, True, False]
    assert not seen[[1, 3]].any()
    assert seen[0].sum() >= (10 if config is DETECTOR else 4)
    assert front.targets(photographs).shape == (4, number, front.target)
    corners = photographs.boxes[photographs.there]
    assert ((corners >= 0) & (corners <= 1)).all()
    assert torch.allclose(corners[:, 4], (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1]), atol=1e-3)


def test_a_tuned_tower_never_sees_the_pixels_that_are_asked_for() -> None:
    front = image_front(TUNED).eval()
    assert isinstance(front, TowerFront)
    photographs = reader_of(TUNED)([_jpeg(0)])
    zeroed = torch.tensor([[False, True, False, False]])
    pixels = photographs.pixels.clone()
    pixels[:, :, :16, 16:] = 7.0
    other = dataclasses.replace(photographs, pixels=pixels)
    assert torch.equal(front(photographs, zeroed)[0], front(other, zeroed)[0])
    assert not torch.allclose(front(photographs, None)[0], front(other, None)[0])


def test_frozen_and_tuned_see_the_same_tokens_where_nothing_is_masked() -> None:
    tower = towers.Tower.fresh(SMALL)
    frozen, front = towers.FrozenTower(FROZEN), TowerFront(tower)
    tower.visual.load_state_dict(frozen.tower.visual.state_dict())
    tokens, _ = front.eval()(reader_of(TUNED)([_jpeg(0)]), None)
    ready, _ = ReadyFront(front.width, 0)(reader_of(FROZEN)([_jpeg(0)]), None)
    assert torch.allclose(tokens, ready, atol=2e-3, rtol=2e-3)  # kept as float16


def test_the_detector_s_classes_are_a_distribution_and_its_regions_the_surest() -> None:
    photographs = reader_of(DETECTOR)([_jpeg(0)])
    assert torch.allclose(photographs.classes.sum(-1), torch.ones(photographs.there.shape), atol=5e-3)
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], *([20.0 * n, 30, 20.0 * n + 9, 40] for n in range(14))])
    confidence = torch.tensor([0.9, 0.95, *[0.1] * 14])
    few = towers.best_regions(boxes, confidence, 36)
    assert few[0] == 1  # the surer of the two that are one
    assert 0 not in few
    assert len(few) == 10
    assert len(towers.best_regions(boxes, torch.full((16,), 0.9), 12)) == 12


def test_what_is_cached_is_not_made_again_and_depends_on_the_model(tmp_path: Path, monkeypatch: Any) -> None:
    config = dataclasses.replace(FROZEN, cache=str(tmp_path / "features"))
    first = reader_of(config)([_jpeg(0), _jpeg(1)])
    made: list[int] = []
    model = towers._frozen(config)
    monkeypatch.setattr(towers, "_frozen", lambda config: _Counting(model, made))
    again = reader_of(config)([_jpeg(1), _jpeg(2)])
    assert made == [1]
    assert torch.equal(again.objects[0], first.objects[1])
    reader_of(dataclasses.replace(config, regions=20))([_jpeg(0)])
    assert made == [1, 1]


class _Counting:
    def __init__(self, model: Any, made: list[int]) -> None:
        self.model, self.made = model, made
        self.width, self.classes = model.width, model.classes

    def __call__(self, photographs: Any) -> Any:
        self.made.append(len(photographs))
        return self.model(photographs)


def test_weights_come_from_safetensors_and_fill_every_tensor(tmp_path: Path) -> None:
    whole = open_clip.create_model(SMALL, pretrained=None, load_weights=False)
    tensors = {name: tensor.contiguous() for name, tensor in whole.state_dict().items()}
    save_file(tensors, tmp_path / "weights.safetensors")
    found = towers.Tower.pretrained(SMALL, str(tmp_path / "weights.safetensors")).visual.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.visual.state_dict().items())
    del tensors["visual.conv1.weight"]
    save_file(tensors, tmp_path / "less.safetensors")
    with pytest.raises(RuntimeError, match=r"visual\.conv1\.weight"):
        towers.Tower.pretrained(SMALL, str(tmp_path / "less.safetensors"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dataclasses.replace(FROZEN, tower="ViT-none"), "image.tower must be one of open_clip.list_models"),
        (dataclasses.replace(FROZEN, weights="no-tag"), "image.weights must be a file or one of"),
        (dataclasses.replace(DETECTOR, tower="maskrcnn_resnet50_fpn"), "image.tower must be one of fasterrcnn_"),
    ],
)
def test_names_that_are_none_are_refused(config: ImageConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        towers.ready_sizes(config)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"from \.safetensors files only"):
        towers.Tower.pretrained(SMALL, str(tmp_path / "weights.pt"))
