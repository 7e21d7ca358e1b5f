import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from season_files import SeasonFiles


@pytest.fixture
def season(tmp_path: Path) -> SeasonFiles:
    made = SeasonFiles(tmp_path)
    made.load()
    return made
