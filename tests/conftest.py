"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("pubmedbert", deadline=None)  # a busy machine is no failure
settings.load_profile("pubmedbert")

# Small tensors on several threads, beside other tests, wait more than they compute. Set before torch is imported, and
# inherited by the processes that tests start: the same number of threads everywhere means the same bits.
os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; tests that ask for it are skipped where it is not named."""
    folder = os.environ.get("PUBMEDBERT_DATA")
    if not folder:
        pytest.skip("PUBMEDBERT_DATA does not name the folder of real data")
    path = Path(folder)
    assert path.is_dir(), f"PUBMEDBERT_DATA={folder} is not a folder"
    return path


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Converted models of the tests, and of the processes they start, stay out of the user's cache."""
    os.environ["PUBMEDBERT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
