"""What the floors see of a catalogue: words of titles, facts, categories, photographs, as rows of numbers.

Legend: N items of the store, n items asked, F features, K candidates, e entries.
"""

import io
from functools import lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Int64
from PIL import Image
from scipy import sparse  # type: ignore[import-untyped]
from skimage.color import rgb2hsv
from skimage.feature import hog
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from graphstore import Store
from k3m.candidates import Candidates

_FACT_WEIGHT = 0.5  # of the one-hot facts and article type beside TF-IDF rows of length 1
_PICTURE_WEIGHT = 0.05  # of a standardised picture feature, chosen on fashion's valid and cold-valid among .02 to .2
_TIE_BREAK = 1e-6  # of the shares in training beside votes that add up to 1
_PICTURE_SIZE = (60, 80)  # width, height in pixels


def words(titles: pd.Series) -> sparse.csr_matrix:
    """TF-IDF of word 1-2-grams, [N, F]; a missing title is a row of zeros."""
    if not titles.fillna("").str.contains(r"\w\w").any():  # TfidfVectorizer refuses an empty vocabulary
        return sparse.csr_matrix((len(titles), 0), dtype=np.float32)
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32).fit_transform(titles.fillna(""))


def one_hot(categories: pd.Series) -> sparse.csr_matrix:
    """[N, F]; a missing category is a row of zeros."""
    codes, names = pd.factorize(categories)
    rows = np.flatnonzero(codes >= 0)
    return _weighted(rows, codes[rows], (len(categories), len(names)))


def facts(training: pd.DataFrame, items: pd.Index, candidates: Candidates) -> sparse.csr_matrix:
    """Which (property, value) pairs, the rows of `candidates.table`, each item has in training, [N, F]."""
    pairs = pd.MultiIndex.from_frame(candidates.table[["property", "value"]])
    columns = pairs.get_indexer(pd.MultiIndex.from_frame(training[["property", "value"]]))
    return _weighted(items.get_indexer(pd.Index(training["item"])), columns, (len(items), len(pairs)))


def holders(held: pd.DataFrame, items: pd.Index, property: str, candidates: Candidates) -> sparse.csr_matrix:
    """Which candidates of the property each item has among `held` (item, value), its training triples, [N, K]."""
    rows = items.get_indexer(pd.Index(held["item"]))
    columns = candidates.columns(property, held["value"])
    return sparse.csr_matrix((np.ones(len(held)), (rows, columns)), (len(items), len(candidates.of(property))))


def shares_of_votes(
    ballots: sparse.csr_matrix, held: sparse.csr_matrix, counts: Int64[np.ndarray, " K"]
) -> Float[np.ndarray, "n K"]:
    """What share of the votes each value gets, and behind it, where votes tie or there are none, its share in training.

    Args:
        ballots: the weight of each item's vote for each asked item, [n, N].
        held: of `holders`.
        counts: of each value in training.
    """
    votes = (ballots @ held).toarray()
    return votes / np.maximum(votes.sum(axis=1, keepdims=True), 1e-300) + _TIE_BREAK * counts / max(1, counts.sum())


def _weighted(
    rows: Int64[np.ndarray, " e"], columns: Int64[np.ndarray, " e"], shape: tuple[int, int]
) -> sparse.csr_matrix:
    weights = np.full(len(rows), _FACT_WEIGHT, dtype=np.float32)
    return sparse.csr_matrix((weights, (rows, columns)), shape=shape)


def pictures(store: Store) -> Float32[np.ndarray, "N F"]:
    """Standardised picture features, then whether there is a picture; a missing one is zeros, the others' mean."""
    return _pictures(store, store.data_version)


@lru_cache(maxsize=1)  # two predictors of one command want them, and they take a minute
def _pictures(store: Store, data_version: int) -> Float32[np.ndarray, "N F"]:
    keys = store.items(("image",)).to_pandas()["image"]
    codes, distinct = pd.factorize(keys)  # byte-equal photographs share a key
    if len(distinct) == 0:
        return np.zeros((len(keys), 0), dtype=np.float32)
    pictures = np.stack(
        [_picture(store.images.get(key)) for key in tqdm(distinct, desc="picture features", unit="image")]
    )
    rows = np.flatnonzero(codes >= 0)
    features = np.zeros((len(keys), pictures.shape[1] + 1), dtype=np.float32)
    features[rows, :-1] = StandardScaler().fit_transform(pictures[codes[rows]])
    features[rows, -1] = 1
    return features * np.float32(_PICTURE_WEIGHT)


def _picture(data: bytes) -> Float32[np.ndarray, " F"]:
    """Histogram of hue, saturation and brightness (its square roots: rare colours count too), then HOG of the greys."""
    image = Image.open(io.BytesIO(data)).convert("RGB").resize(_PICTURE_SIZE)
    colours = rgb2hsv(np.asarray(image)).reshape(-1, 3)
    histogram, _ = np.histogramdd(colours, bins=(12, 4, 4), range=[(0, 1)] * 3)
    gradients = hog(np.asarray(image.convert("L")), orientations=8, pixels_per_cell=(16, 16), cells_per_block=(2, 2))
    return np.concatenate([np.sqrt(histogram.ravel() / len(colours)), gradients]).astype(np.float32)
