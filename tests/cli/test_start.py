"""A call that needs little starts quickly: what it loads is counted, since times depend on the machine."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MAY_BE_LOADED = {"click", "ctstate"}
"""Of what is not Python's own."""

OF_CTSTATE = {
    "ctstate",
    "ctstate.commands",
    "ctstate.commands.completion",
    "ctstate.commands.root",
    "ctstate.errors",
    "ctstate.zooniverse",
    "ctstate.zooniverse.addresses",
}

SLOW_TO_LOAD = {
    "asyncio",
    "configparser",
    "email",
    "http",
    "logging",
    "pathlib",
    "sqlite3",
    "tomllib",
    "unittest",
    "urllib",
}
"""Of Python's own: what nobody needs who asks for the version."""


def loaded_by(*arguments: str, cwd: Path, **environment: str) -> set[str]:
    """Return the modules that a call of the command line has loaded, but for what Python had before."""
    program = (
        "import sys\nbefore = set(sys.modules)\nsys.argv = ['ctstate', *sys.argv[1:]]\n"
        "from ctstate.commands import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\n' + ' '.join(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def roots(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def test_the_version_needs_no_library_but_click(tmp_path: Path) -> None:
    modules = loaded_by("--version", cwd=tmp_path)
    assert "click" in modules
    foreign = {name for name in roots(modules) if name not in sys.stdlib_module_names} - MAY_BE_LOADED
    assert foreign <= {"colorama"}
    assert {name for name in modules if name.startswith("ctstate")} == OF_CTSTATE
    assert roots(modules) & SLOW_TO_LOAD == set()


def test_tab_loads_only_the_verbs_that_fit(tmp_path: Path) -> None:
    modules = loaded_by(cwd=tmp_path, _CTSTATE_COMPLETE="bash_complete", COMP_WORDS="ctstate st", COMP_CWORD="1")
    verbs = {"ctstate.commands.status", "ctstate.commands.stop"}
    assert {n for n in modules if n.startswith("ctstate.commands.")} & {"ctstate.commands.upload", *verbs} == verbs
    assert roots(modules) & {"pandas", "numpy", "PIL", "panoptes_client", "alembic", "starlette"} == set()
