"""Fixtures for what lies outside the process: the real catalogues."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real catalogues (K3M_DATA, else ../shared/data)."""
    folder = Path(os.environ.get("K3M_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real catalogues: set K3M_DATA ({folder} is no folder)")
    return folder
