"""Pretrained image models: any tower of open_clip, and torchvision's Faster R-CNN; by tag, local file, or untrained.

Legend: B items, P objects, F features, C classes, h w pixels.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import detection
from torchvision.ops import nms
from torchvision.transforms.functional import pil_to_tensor

from k3m.config import ImageConfig
from k3m.feature_cache import FeatureCache
from k3m.photographs import BOX, PhotographReader, Photographs, of_pixels, open_all, patch_boxes

FEWEST = 10
"""Regions of a photograph at least, whatever the detector thinks of them."""
SURE = 0.2
"""Confidence from which a region counts."""
SAME = 0.5
"""Intersection over union from which two regions are one."""
_TOGETHER = 32
"""Photographs that a frozen model sees at once."""


@dataclass(frozen=True)
class Tower:
    """An open_clip image tower: `width` features a patch token, patches of `side` pixels, the transform it expects."""

    visual: Any  # nn.Module, with methods that open_clip's towers have in common
    width: int
    side: int
    transform: PreprocessCfg

    @classmethod
    def fresh(cls, name: str) -> "Tower":
        """With random weights."""
        return cls._of(open_clip.create_model(_known(name), pretrained=None, load_weights=False).visual)

    @classmethod
    def pretrained(cls, name: str, weights: str) -> "Tower":
        """Every tensor from a pretrained tag, or from a .safetensors file.

        Raises:
            ValueError: for a tag that the model has not, or a file of another kind.
            RuntimeError: naming tensors that are missing or of another shape.
        """
        _require_weights(weights, open_clip.list_pretrained_tags_by_model(_known(name)))
        return cls._of(open_clip.create_model(name, pretrained=weights, require_pretrained=True).visual)

    @classmethod
    def _of(cls, visual: Any) -> "Tower":
        transform = PreprocessCfg(**visual.preprocess_cfg)
        height, _ = _size(transform)
        visual.eval()
        with torch.inference_mode():
            _, width, rows, _ = _maps(visual, torch.zeros(1, 3, *_size(transform))).shape
        return cls(visual, width, height // rows, transform)


def _known(name: str) -> str:
    if name not in open_clip.list_models():
        raise ValueError(f"image.tower must be one of open_clip.list_models() (got {name!r})")
    return name


def _require_weights(weights: str, tags: Sequence[str]) -> None:
    if weights in tags:
        return
    if not Path(weights).is_file():
        raise ValueError(f"image.weights must be a file or one of {', '.join(tags) or 'no tag'} (got {weights!r})")
    if not weights.endswith(".safetensors"):
        raise ValueError(f"image.weights are read from .safetensors files only (got {weights!r})")


def _size(transform: PreprocessCfg) -> tuple[int, int]:
    size = transform.size
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def batched(places: Iterable[int], size: int) -> Iterator[list[int]]:
    """`itertools.batched` of Python 3.12."""
    remaining = iter(places)
    while batch := list(islice(remaining, size)):
        yield batch


def _maps(visual: Any, pixels: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B F rows columns"]:
    return visual.forward_intermediates(pixels, indices=1, intermediates_only=True)["image_intermediates"][-1]


def patch_tokens(visual: Any, pixels: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B P F"]:
    """The last layer's, row by row."""
    return _maps(visual, pixels).flatten(2).transpose(1, 2)


# What a frozen model makes of photographs: an array a photograph, [P, F + 5 + C], features, position, classes.


class FrozenTower:
    """Patch tokens as objects."""

    def __init__(self, config: ImageConfig) -> None:
        self.tower = Tower.pretrained(config.tower, config.weights) if config.weights else _seeded(config.tower)
        self.width, self.classes = self.tower.width, 0
        self.prepare = image_transform_v2(self.tower.transform, is_train=False)

    @torch.inference_mode()
    def __call__(self, photographs: Sequence[Image.Image]) -> list[NDArray[np.float32]]:
        pixels = torch.stack([self.prepare(photograph) for photograph in photographs])
        rows, columns = (side // self.tower.side for side in pixels.shape[2:])
        boxes = patch_boxes(rows, columns).numpy()
        return [np.concatenate([tokens, boxes], axis=1) for tokens in patch_tokens(self.tower.visual, pixels).numpy()]


def _seeded(name: str) -> Tower:
    """Untrained, and the same in every process."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tower.fresh(name)


class FrozenDetector:
    """Regions of a Faster R-CNN as objects: the most confident, 10 at least."""

    def __init__(self, config: ImageConfig) -> None:
        self.regions = config.regions
        self.model: Any = detector(config.tower, config.weights).eval()
        predictor = self.model.roi_heads.box_predictor
        self.width, self.classes = predictor.cls_score.in_features, predictor.cls_score.out_features

    @torch.inference_mode()
    def __call__(self, photographs: Sequence[Image.Image]) -> list[NDArray[np.float32]]:
        images, _ = self.model.transform([pil_to_tensor(photograph) / 255 for photograph in photographs])
        maps = self.model.backbone(images.tensors)
        boxes, _ = self.model.rpn(images, maps)
        heads = self.model.roi_heads
        features = heads.box_head(heads.box_roi_pool(maps, boxes, images.image_sizes))
        classes = heads.box_predictor(features)[0].softmax(-1)
        sizes = [len(of_image) for of_image in boxes]
        parts = zip(features.split(sizes), boxes, classes.split(sizes), images.image_sizes, strict=True)
        return [self._objects(*part) for part in parts]

    def _objects(self, features: Tensor, boxes: Tensor, classes: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
        chosen = best_regions(boxes, classes[:, 1:].amax(1), self.regions)
        corners = boxes[chosen] / boxes.new_tensor([size[1], size[0]] * 2)
        area = (corners[:, 2:] - corners[:, :2]).prod(1, keepdim=True)
        return torch.cat([features[chosen], corners, area, classes[chosen]], dim=1).numpy()


def best_regions(boxes: Float[Tensor, "P 4"], confidence: Float[Tensor, " P"], most: int) -> Tensor:
    """The most confident distinct regions: those the detector is sure of, 10 at least (where there are as many), and
    `most` at most."""
    distinct = nms(boxes, confidence, SAME)
    sure = int((confidence[distinct] >= SURE).sum())
    return distinct[: min(max(sure, FEWEST), most)]


def detector(name: str, weights: str) -> Any:
    """A Faster R-CNN of torchvision's, by its tag or a .safetensors file; untrained without weights.

    Raises:
        ValueError: for a name that is none of torchvision's, a tag that it has not, a file of another kind.
        RuntimeError: naming tensors that are missing or of another shape.
    """
    if not name.startswith("fasterrcnn") or not hasattr(detection, name):
        known = ", ".join(entry for entry in dir(detection) if entry.startswith("fasterrcnn_"))
        raise ValueError(f"image.tower must be one of {known} (got {name!r})")
    make = getattr(detection, name)
    if not weights:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return make(weights=None, weights_backbone=None)
    tags = [tag.name for tag in _tags(name)]
    _require_weights(weights, tags)
    if weights in tags:
        return make(weights=weights)
    model = make(weights=None, weights_backbone=None)
    model.load_state_dict(load_file(weights))
    return model


def _tags(name: str) -> Any:
    from torchvision.models import get_model_weights

    return get_model_weights(name)


@cache
def _frozen(config: ImageConfig) -> FrozenTower | FrozenDetector:
    return FrozenTower(config) if config.front == "open_clip" else FrozenDetector(config)


def ready_sizes(config: ImageConfig) -> tuple[int, int]:
    """Features and classes of an object of a frozen front end."""
    model = _frozen(config)
    return model.width, model.classes


@dataclass(frozen=True)
class ReadyReader:
    """Objects of a frozen model, from the cache where it has them."""

    config: ImageConfig

    def __call__(self, images: Sequence[bytes | None]) -> Photographs:
        found = self.objects(images)
        made = [rows for rows in found if rows is not None]
        width, classes = ready_sizes(self.config)
        number = max((len(rows) for rows in made), default=1)
        present = torch.tensor([rows is not None for rows in found])
        every = torch.zeros(len(images), number, width + BOX + classes)
        there = torch.zeros(len(images), number, dtype=torch.bool)
        for row, rows in zip(present.nonzero()[:, 0].tolist(), made, strict=True):
            every[row, : len(rows)], there[row, : len(rows)] = torch.from_numpy(rows.astype(np.float32)), True
        objects, boxes, by_class = every.split([width, BOX, classes], dim=2)
        return Photographs(present, there, boxes, torch.empty(len(images), 3, 0, 0), objects, by_class)

    def objects(self, images: Sequence[bytes | None]) -> list[NDArray | None]:
        """Of each photograph that can be read, [P, F + 5 + C], float16."""
        kept = self._cache
        found = [kept.get(data) if kept and data is not None else None for data in images]
        lacking = [data if rows is None else None for data, rows in zip(images, found, strict=True)]
        opened = {place: image for place, image in enumerate(open_all(lacking)) if image is not None}
        for places in batched(opened, _TOGETHER):
            made = _frozen(self.config)([opened[place] for place in places])
            for place, rows in zip(places, made, strict=True):
                found[place] = rows.astype(np.float16)
                if kept:
                    kept.put(images[place] or b"", rows.astype(np.float16))
        return found

    @property
    def _cache(self) -> FeatureCache | None:
        return FeatureCache(Path(self.config.cache), _maker(self.config)) if self.config.cache else None


@cache
def _maker(config: ImageConfig) -> str:
    """All that a frozen model's objects depend on; of a file of weights its content."""
    settings = {name: value for name, value in asdict(config).items() if name in ("front", "tower", "regions")}
    weights = Path(config.weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest() if weights.is_file() else config.weights
    return json.dumps(settings | {"weights": digest}, sort_keys=True)


@dataclass(frozen=True)
class TowerReader:
    """Pixels as a tower that is trained along expects them."""

    transform: PreprocessCfg
    side: int

    def __call__(self, images: Sequence[bytes | None]) -> Photographs:
        prepare = image_transform_v2(self.transform, is_train=False)
        pixels, opened = torch.zeros(len(images), 3, *_size(self.transform)), open_all(images)
        for row, image in enumerate(opened):
            if image is not None:
                pixels[row] = prepare(image)
        return of_pixels(pixels, torch.tensor([image is not None for image in opened]), self.side)


def tower_reader(config: ImageConfig) -> PhotographReader:
    """Of a front end that is no `pixels`."""
    if config.ready:
        return ReadyReader(config)
    tower = _seeded(config.tower)
    return TowerReader(tower.transform, tower.side)
