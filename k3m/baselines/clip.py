"""Frozen open_clip vectors of photograph and title, with a linear head: no triples, nothing trained but the head
(Radford et al., CLIP, ICML 2021, section 3.2: linear probes).

It is weights that make it; where none are named, it is not run.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from graphstore import Store
from k3m.config import Config
from k3m.tasks.data import Examples
from k3m.tasks.encoders import ItemEncoder
from k3m.tasks.neural import NeuralTuned
from k3m.tasks.scoring import NotRun
from k3m.text import OF

NAME = "open_clip"
_TOGETHER = 64


class ClipEncoder(ItemEncoder):
    """[photograph ; title], each of length 1 or, where there is none, 0.

    Args:
        model: of open_clip, with encode_image and encode_text.
        prepare: a photograph to the model's pixels; tokenize: texts to its tokens.
    """

    def __init__(
        self,
        model: Any,
        prepare: Callable[[Image.Image], Tensor],
        tokenize: Callable[[Sequence[str]], Tensor],
        config: Config,
    ) -> None:
        super().__init__()
        self.model, self.prepare, self.tokenize, self.config = (
            model.requires_grad_(False).eval(),
            prepare,
            tokenize,
            config,
        )
        with torch.inference_mode():
            self.own = int(model.encode_text(tokenize(["a product"])).shape[1])
        self.width = 2 * self.own

    @classmethod
    def of(cls, config: Config) -> "ClipEncoder":
        """As image.tower and image.weights name it.

        Raises:
            NotRun: where there are no weights, or they cannot be had.
        """
        import open_clip

        tower = config.image.tower or "ViT-B-32"
        if not config.image.weights:
            raise NotRun("not run: no weights (--set image.tower=NAME --set image.weights=TAG or FILE)")
        try:
            model, _, prepare = open_clip.create_model_and_transforms(tower, pretrained=config.image.weights)
        except (OSError, RuntimeError) as error:
            raise NotRun(f"not run: no weights ({error})") from error
        return cls(model, prepare, open_clip.get_tokenizer(tower), config)

    @torch.inference_mode()
    def read(self, titles: Sequence[str | None], images: Sequence[bytes | None]) -> Float[Tensor, "n D"]:
        return torch.cat([self._pictures(images), self.texts(titles)], dim=1)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str | None]) -> Float[Tensor, "n d"]:
        found = torch.zeros(len(texts), self.own)
        there = [row for row, text in enumerate(texts) if text]
        for first in range(0, len(there), _TOGETHER):
            rows = there[first : first + _TOGETHER]
            tokens = self.tokenize([str(texts[row]) for row in rows])
            found[rows] = nn.functional.normalize(self.model.encode_text(tokens.to(self._device)), dim=1).cpu()
        return found

    def _pictures(self, images: Sequence[bytes | None]) -> Float[Tensor, "n d"]:
        found = torch.zeros(len(images), self.own)
        there = [row for row, image in enumerate(images) if image]
        for first in range(0, len(there), _TOGETHER):
            rows = there[first : first + _TOGETHER]
            pictures = [Image.open(io.BytesIO(images[row] or b"")).convert("RGB") for row in rows]
            pixels = torch.stack([self.prepare(picture) for picture in pictures])
            found[rows] = nn.functional.normalize(self.model.encode_image(pixels.to(self._device)), dim=1).cpu()
        return found

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def old(self) -> list[nn.Parameter]:
        return list(self.model.parameters())


class ClipTuned(NeuralTuned):
    """Reads titles and photographs itself: the model has its own tokens and pixels."""

    encoder: ClipEncoder

    @torch.inference_mode()
    def vectors(self, examples: Examples, source: Store) -> Float[Tensor, "n k D"]:
        ids, place = np.unique(examples.items.ravel(), return_inverse=True)
        view = (
            self.view(examples, source) if self.task == "answer" else self._view(source.item_ords(ids.tolist()), source)
        )
        ords = np.arange(view.num_items)
        found = view.item_features(ords, ("title", "image"))
        titles = [title and title.replace(OF, " ") for title in found["title"]]
        images = [None if key is None else view.images.get(key) for key in found["image"]]
        vectors = self.encoder.read(titles, images).to(self.device)
        if self.task == "answer":
            return vectors[:, None]
        return vectors[torch.from_numpy(place).to(self.device)].unflatten(0, (len(examples), -1))

    def answer_vectors(self, columns: Int64[np.ndarray, " a"] | None = None) -> Float[Tensor, "a D"]:
        """The text half, and zeros for the other."""
        answers: NDArray[np.object_] = np.array(self.info.answers, dtype=object)
        texts = self.encoder.texts((answers if columns is None else answers[columns]).tolist())
        return torch.cat([torch.zeros_like(texts), texts], dim=1).to(self.device)

    @property
    def kept(self) -> nn.Module:
        """The head alone: the weights of CLIP are where they came from."""
        return self.head
