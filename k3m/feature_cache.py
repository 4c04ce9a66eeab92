"""What a frozen front end made of a photograph, kept in a folder by the photograph's digest: made once for all runs."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FeatureCache:
    """Arrays by content. A file each, written beside and renamed: processes may share the folder.

    Args:
        folder: made if it does not exist.
        maker: everything that the arrays depend on besides the photograph (model, weights, transform); another maker's
            are never found.
    """

    folder: Path
    maker: str

    def get(self, photograph: bytes) -> NDArray | None:
        try:
            return np.load(self._path(photograph), allow_pickle=False)
        except FileNotFoundError:
            return None

    def put(self, photograph: bytes, array: NDArray) -> None:
        path = self._path(photograph)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".partial", delete=False) as file:
            np.save(file, array, allow_pickle=False)
        os.replace(file.name, path)

    def _path(self, photograph: bytes) -> Path:
        key = hashlib.sha256(photograph).hexdigest()
        return self.folder / hashlib.sha256(self.maker.encode()).hexdigest()[:16] / key[:2] / f"{key}.npy"
