"""`ctstate sandbox`: a Zooniverse of one's own, to try things out."""

from collections.abc import Callable
from typing import Any

from ctstate.sandbox.server import read_plan, serve
from ctstate.sandbox.settings import SandboxSettings

__all__ = ["SandboxSettings", "run_sandbox"]


def run_sandbox(
    directory: str,
    settings: SandboxSettings,
    *,
    port: int,
    faults: str | None,
    on_ready: Callable[[dict[str, Any]], None],
) -> None:
    """Run a sandbox until Ctrl-C.

    Args:
        directory: where its state is kept; made where it is not there.
        settings: how it behaves.
        port: on 127.0.0.1; 0 for a free one.
        faults: file with failures to order (a JSON plan); None: none.
        on_ready: called with its address and account once it answers.

    Raises:
        InputError: `faults` cannot be read, or is no such plan.
    """
    plan = read_plan(faults) if faults else None
    try:
        serve(directory, settings, port=port, faults=plan, on_ready=on_ready)
    except KeyboardInterrupt:
        return
