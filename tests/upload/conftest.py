"""What the tests of uploads share: the command line on a season of the sandbox."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.builders.season_on_sandbox import Season


@pytest.fixture
def ctstate(call_ctstate: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`ctstate(season, "upload", ...)`: the command line with all it needs."""

    def call(season: Season, verb: str, *options: str) -> Any:
        monkeypatch.setenv("CTSTATE_LEDGER", str(season.path))
        monkeypatch.setenv("PANOPTES_ENDPOINT", season.z.url)
        monkeypatch.setenv("PANOPTES_USERNAME", season.z.login)
        monkeypatch.setenv("PANOPTES_PASSWORD", season.z.password)
        quick = ("--settle-seconds", "0.3", "--n-processes", "1") if verb == "upload" else ()
        return call_ctstate(verb, "--project-id", season.z.project_id, *quick, *options)

    return call
