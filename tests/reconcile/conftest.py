"""The fixtures of the upload tests serve here too."""

from tests.upload.conftest import new_season  # noqa: F401
