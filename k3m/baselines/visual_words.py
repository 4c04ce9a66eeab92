"""VideoBERT's visual words (Sun et al., ICCV 2019): what is seen is a token of a vocabulary that hierarchical k-means
makes, so that it is masked and asked for as words are.

Legend: B items, P objects, M with the global one, F features, C visual words, D width, n patches of all photographs.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, one_hot

from graphstore import Store
from k3m import rng
from k3m.config import ImageConfig
from k3m.front_ends import image_front, reader_of
from k3m.image_encoders import ImageFront, ReadyFront, TowerFront, hidden_with
from k3m.photographs import PATCH, Photographs

BRANCHES = 16
"""Of each of the two levels: 256 words (the paper's tree has 12 ** 4, of a million videos)."""
PHOTOGRAPHS = 2000
"""That the words are learned from, at most."""
_CELLS, _TOGETHER = 4, 64


class VisualWordFront(ImageFront):
    """A patch is its nearest visual word, an embedding; MOM asks for the word, and puts [MASK] in its place. A word is
    of its own patch alone: of pixels (4 x 4 cells of colour), whose neighbours it does not know; or of a ready-made
    object, which is hidden with all that overlap it. Departure: a patch of a photograph in the place of a clip.

    Attributes:
        centres: the words; zeros until `learn`, saved with the weights.
    """

    by_class = True

    def __init__(self, config: ImageConfig, width: int) -> None:
        super().__init__()
        front = image_front(config)
        self.width, self.target, self.ready = width, BRANCHES**2, isinstance(front, ReadyFront)
        self.side = front.side if isinstance(front, TowerFront) else PATCH
        self.embedding = nn.Embedding(self.target + 1, width)
        features = front.width if self.ready else 3 * _CELLS**2
        self.centres: Tensor
        self.register_buffer("centres", torch.zeros(self.target, features))

    def forward(
        self, photographs: Photographs, zeroed: Bool[Tensor, "B P"] | None
    ) -> tuple[Float[Tensor, "B P D"], Bool[Tensor, "B P"]]:
        words = self.words(photographs)
        if zeroed is None:
            return self.embedding(words), photographs.there
        hidden = hidden_with(photographs.boxes, zeroed) if self.ready else zeroed
        return self.embedding(torch.where(hidden, self.target, words)), photographs.there & ~hidden

    def targets(self, photographs: Photographs) -> Float[Tensor, "B P C"]:
        return one_hot(self.words(photographs), self.target).float()

    def words(self, photographs: Photographs) -> Int[Tensor, "B P"]:
        """The nearest of each; the first of equal ones."""
        with torch.autocast(self.centres.device.type, enabled=False):
            own, centres = self._seen(photographs), self.centres.float()
            # |x - c|^2 less |x|^2, which is the same for every c.
            return (centres.square().sum(1) - 2 * own @ centres.T).argmin(-1)

    def _seen(self, photographs: Photographs) -> Float[Tensor, "B P F"]:
        return photographs.objects.float() if self.ready else cells(photographs.pixels, self.side)

    def learn(self, store: Store, config: ImageConfig, seed: int) -> None:
        """The words of a store's photographs, of 2,000 drawn items at most; none where it has no photograph."""
        reader, number = reader_of(config), min(PHOTOGRAPHS, store.num_items)
        draw = np.random.default_rng(rng.torch_seed(seed, "visual words"))
        items = np.sort(draw.choice(store.num_items, number, replace=False))
        found = []
        for start in range(0, number, _TOGETHER):
            keys = store.item_features(items[start : start + _TOGETHER], ("image",))["image"]
            photographs = reader([None if key is None else store.images.get(key) for key in keys])
            found.append(self._seen(photographs)[photographs.there])
        patches = torch.cat(found).numpy() if found else np.empty((0, self.centres.shape[1]), dtype=np.float32)
        if len(patches):
            self.centres.copy_(torch.from_numpy(hierarchical(patches, BRANCHES, seed)))


def cells(pixels: Float[Tensor, "B 3 h w"], side: int) -> Float[Tensor, "B P 48"]:
    """Each patch as the mean colours of its 4 x 4 cells; no cell lies in two patches."""
    rows, columns = (length // side * _CELLS for length in pixels.shape[2:])
    small = adaptive_avg_pool2d(pixels, (rows, columns))
    patches = small.unfold(2, _CELLS, _CELLS).unfold(3, _CELLS, _CELLS)
    return patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def hierarchical(patches: NDArray[np.float32], branches: int, seed: int) -> NDArray[np.float32]:
    """[branches ** 2, F]: centres of k-means within each cluster of k-means; where there are fewer distinct patches,
    the last of a cluster stands for those that are missing."""
    _, cluster = _clustered(patches, branches, seed)
    parts = [_clustered(patches[cluster == own], branches, seed)[0] for own in range(cluster.max() + 1)]
    whole = np.concatenate([np.pad(part, ((0, branches - len(part)), (0, 0)), mode="edge") for part in parts])
    return np.pad(whole, ((0, branches**2 - len(whole)), (0, 0)), mode="edge").astype(np.float32)


def _clustered(patches: NDArray[np.float32], branches: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    number = min(branches, len(np.unique(patches, axis=0)))
    found = KMeans(number, n_init=1, random_state=seed % 2**32).fit(patches)
    return found.cluster_centers_, found.labels_
