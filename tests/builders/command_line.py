"""The command line in this process: what a new interpreter would do, without the half second that it takes."""

import contextlib
import io
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

from ctstate.commands import main


def called(
    *arguments: str, environment: Mapping[str, str], folder: Path | None = None, together: bool = False
) -> subprocess.CompletedProcess[str]:
    """Call `main()` with all of an environment, from a folder; nobody is at its terminal.

    `together`: what goes to stderr is in stdout, too, in the order in which it was said.
    """
    out, complaints = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code: object = None
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, environment, clear=True))
        stack.enter_context(mock.patch.object(sys, "argv", ["ctstate", *map(str, arguments)]))
        # By it click tells `python -m pytest` from an installed program, such as ctstate.
        stack.enter_context(mock.patch.object(sys.modules["__main__"], "__package__", None))
        stack.enter_context(mock.patch.object(sys, "stdin", io.StringIO()))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(out if together else complaints))
        if folder is not None:
            stack.enter_context(contextlib.chdir(folder))
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int)
    said = [stream.buffer.getvalue().decode("utf-8") for stream in (out, complaints)]
    return subprocess.CompletedProcess(arguments, code, *said)
