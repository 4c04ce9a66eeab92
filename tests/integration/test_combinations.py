"""Every front end with every fusion and every LPM trains for five steps, and its run opens again."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor
from torchvision.models import detection
from transformers import BertConfig, BertModel, BertTokenizer

import graphstore
from k3m import towers
from k3m.config import Config
from k3m.run import load_run
from k3m.train import start
from tests.catalogues import tiny_catalogue
from tests.k3m.conftest import TINY

TOWER = "tests-combinations"
IMAGES = {
    "pixels": (),
    "tuned tower": ("image.front=open_clip", f"image.tower={TOWER}"),
    "frozen tower": ("image.front=open_clip", f"image.tower={TOWER}", "image.tuned=false"),
    "detector": ("image.front=faster_rcnn", "image.tower=fasterrcnn_stub", "image.regions=10"),
}
LINKS = {
    "hidden set": ("loss.leave_one_out=false",),
    "leave one out": ("loss.leave_one_out=true",),
    "softmax": ("loss.link=softmax", "loss.leave_one_out=true", "loss.reciprocal=true"),
    "complex, wide": (
        "loss.link=softmax",
        "loss.score=complex",
        "loss.n3=0.01",
        "loss.temperature=1",
        "model.wide_bits=12",
    ),
    "squared, two hops": (
        "loss.link=softmax",
        "loss.score=transe_squared",
        "model.shared_values=true",
        "data.fan_out=[4, 2]",
    ),
    "sequence": (
        "text.knowledge=sequence",
        "corrupt.drop_graph=0.5",
        "corrupt.swap_title=0.2",
        "corrupt.drop_image=0.2",
    ),
}


class StubHead(torch.nn.Module):
    """In the place of a detector: ten boxes a photograph, features and classes of its pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.roi_heads = torch.nn.Module()
        self.roi_heads.box_predictor = torch.nn.Module()
        self.roi_heads.box_predictor.cls_score = torch.nn.Linear(12, 5)

    def transform(self, photographs: list[Tensor]) -> tuple["StubHead", None]:
        self.tensors = torch.stack([photograph.mean((1, 2)) for photograph in photographs])
        self.image_sizes = [(20, 16)] * len(photographs)
        return self, None

    def backbone(self, means: Tensor) -> Tensor:
        return means

    def rpn(self, images: Any, means: Tensor) -> tuple[list[Tensor], None]:
        corners = torch.arange(10.0)[:, None] * torch.tensor([1.0, 1.5])
        return [torch.cat([corners, corners + 4], dim=1)] * len(means), None


def _stub(**_: Any) -> StubHead:
    torch.manual_seed(0)
    stub = StubHead()
    heads: Any = stub.roi_heads
    heads.box_roi_pool = lambda means, boxes, sizes: means.repeat_interleave(10, 0)
    heads.box_head = lambda means: means.repeat(1, 4) + torch.arange(10.0).repeat(len(means) // 10)[:, None] / 10
    heads.box_predictor.forward = lambda features: (heads.box_predictor.cls_score(features), None)
    return stub


@pytest.fixture(scope="module", autouse=True)
def small_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("towers")
    text = {"context_length": 8, "vocab_size": 20, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    settings = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    (folder / f"{TOWER}.json").write_text(json.dumps(settings), encoding="utf-8")
    open_clip.add_model_config(folder / f"{TOWER}.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detection, "fasterrcnn_stub", _stub, raising=False)
        towers._frozen.cache_clear()
        yield


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A local Hugging Face folder of a tiny BERT."""
    folder = tmp_path_factory.mktemp("bert")
    words = [
        "[PAD]",
        "thing",
        "[UNK]",
        "red",
        "[CLS]",
        "blue",
        "[SEP]",
        "[MASK]",
        *"abcdefghijklmnopqrstuvwxyz0123456789",
    ]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    shape: Any = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    BertModel(BertConfig(vocab_size=len(words), **shape)).save_pretrained(folder)
    return str(folder)


def _trains(run: Path, *settings: str) -> None:
    """Five steps, finite losses; the run opens and gives vectors and completions."""
    tables = tiny_catalogue()
    store = graphstore.from_tables(tables.items, tables.triples, images=tables.images)
    config = Config.from_preset("small", [*TINY, "train.steps=5", "train.log_every=1", *settings])
    start(store, run, config).fit()
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 5
    assert np.isfinite(losses).all()
    opened = load_run(run)
    assert np.isfinite(opened.embed(store).to_numpy()).all()
    assert len(opened.complete(store)) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("images", "fusion", "link"), list(product(IMAGES, ["mean", "soft", "hard", "off"], LINKS)))
def test_every_combination_trains(tmp_path: Path, images: str, fusion: str, link: str) -> None:
    presence = "model.presence=true" if fusion in ("soft", "hard") else "model.presence=false"
    _trains(tmp_path / "run", *IMAGES[images], f"model.fusion={fusion}", presence, *LINKS[link])


@pytest.mark.slow
@pytest.mark.parametrize("tuned", ["true", "false"])
@pytest.mark.parametrize("link", LINKS)
def test_every_link_loss_trains_on_a_pretrained_text_encoder(tmp_path: Path, bert: str, link: str, tuned: str) -> None:
    text = ("text.front=pretrained", f"text.checkpoint={bert}", f"text.tuned={tuned}")
    _trains(tmp_path / "run", *text, *LINKS[link])
