"""Every test that asks for `encoder` runs over the plain and over the fast one."""

import importlib.util
import os

import pytest

from ctstate.images import codecs

FAST = ("simplejpeg", "cv2")


@pytest.fixture(params=["pillow", "fast"])
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which decoders and encoders the test runs over."""
    choose(request.param, monkeypatch)
    return str(request.param)


def choose(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "pillow":
        monkeypatch.setenv("CTSTATE_IMAGES", "pillow")
        return
    monkeypatch.delenv("CTSTATE_IMAGES", raising=False)
    needed = FAST if name == "fast" else FAST[:1]
    missing = [module for module in needed if importlib.util.find_spec(module) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"the extra ctstate[fast] is not installed: no {', '.join(missing)}")
    if name == "simplejpeg":
        tools = codecs._import_tools()
        assert tools is not None
        alone = codecs._Tools(tools.simplejpeg, tools.numpy, None)
        monkeypatch.setattr(codecs, "_import_tools", lambda: alone)
    assert codecs.name() == {"fast": "simplejpeg+opencv"}.get(name, name)
