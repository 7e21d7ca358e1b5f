"""`python -m ctstate.sandbox`: the sandbox for programs. For people there is `ctstate sandbox`."""

import argparse
import json
import os
import sys
from typing import Any

from ctstate.errors import CtstateError
from ctstate.sandbox.server import read_plan, serve
from ctstate.sandbox.settings import SETTINGS, SandboxSettings


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; the first line on stdout says where."""
    parser = argparse.ArgumentParser(prog="python -m ctstate.sandbox", description=__doc__)
    parser.add_argument("--directory", required=True, help="where the state is kept")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: a free one)")
    parser.add_argument("--settings", help=f"settings as a JSON object (also {SETTINGS})")
    parser.add_argument("--faults", help="a fault plan (JSON file)")
    parser.add_argument("--parent", type=int, default=0, help="stop when this is no longer the parent process")
    parser.add_argument("--json", action="store_true", help="print the first line as JSON")
    given = parser.parse_args(arguments)

    def ready(about: dict[str, Any]) -> None:
        if given.json:
            print(json.dumps(about), flush=True)
        else:
            print(f"{about['url']} (project {about['project_id']}, login {about['login']})", flush=True)

    try:
        settings = SandboxSettings.from_json(given.settings or os.environ.get(SETTINGS) or "{}")
        plan = read_plan(given.faults) if given.faults else None
        serve(given.directory, settings, port=given.port, faults=plan, on_ready=ready, parent=given.parent)
    except CtstateError as e:
        print(e, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
