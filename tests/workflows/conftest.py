import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from uploaded_season import UploadedSeason, copy_of, make


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("uploaded"))


@pytest.fixture
def world(template: Path, tmp_path: Path) -> Iterator[UploadedSeason]:
    with copy_of(template, tmp_path / "world") as made:
        yield made
