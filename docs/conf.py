"""The site (`make site`) and the man pages: Sphinx reads the Markdown that stands in the repository."""

import importlib
import shutil
import sys
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import ctstate  # noqa: E402
from ctstate.commands.root import GROUPS, VERBS, cli  # noqa: E402

project = "ctstate"
author = "the ctstate developers"
copyright = author
version = release = ctstate.__version__
SOURCE = "https://github.com/ctstate/ctstate"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "schemas", "*.py"]
nitpicky = False
suppress_warnings = ["myst.xref_ambiguous"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"ctstate {release}"
html_theme_options = {"source_repository": f"{SOURCE}/", "source_branch": "main", "source_directory": "docs/"}
html_extra_path = ["schemas"]
html_copy_source = False

highlight_language = "none"

ELSEWHERE = {
    "../CHANGELOG.md": "changelog.md",
    "../CONTRIBUTING.md": "contributing.md",
    "../SECURITY.md": "security.md",
    "../README.md": "index.md",
    "(verbs)": "(cli.md)",
}
"""What lies outside of docs/ in the repository, and where the site has it."""

MAN = "man"
"""Below it is a page for each verb, made for the man pages alone: those of the site are made from `--help`."""


def in_the_site(app: Any, name: str, text: list[str]) -> None:
    """Let links that lead out of docs/ stay in the site, and the pages of the verbs hang below their table."""
    for outside, inside in ELSEWHERE.items():
        text[0] = text[0].replace(outside, inside)
    if name == "cli":
        text[0] += "\n```{toctree}\n:glob:\n:hidden:\n\nverbs/*\n```\n"


def write_man_sources(app: Any) -> None:
    """Write the page of each verb that sphinx-click fills; where no man pages are made there is none."""
    folder = Path(app.srcdir) / MAN
    shutil.rmtree(folder, ignore_errors=True)
    if app.builder.name != "man":
        return
    folder.mkdir(exist_ok=True)
    for name, text in man_sources().items():
        (folder / f"{name}.rst").write_text(text, encoding="utf-8")


def man_sources() -> dict[str, str]:
    """Return the source of each man page, by its name."""
    made = {
        "ctstate": _page(
            "ctstate", ".. click:: ctstate.commands.root:cli\n   :prog: ctstate\n   :nested: none\n" + _verbs()
        )
    }
    for verb, module in VERBS.items():
        attribute = verb.replace("-", "_")
        lines = f".. click:: {module}:{attribute}\n   :prog: ctstate {verb}\n   :nested: full\n"
        made[f"ctstate-{verb}"] = _page(f"ctstate {verb}", lines + "\nSee also\n--------\n\nctstate(1)\n")
    return made


def _page(title: str, text: str) -> str:
    return f":orphan:\n\n{title}\n{'=' * len(title)}\n\n{text}"


def _verbs() -> str:
    parts = ["\nVerbs\n-----\n"]
    for title, verbs in GROUPS.items():
        parts.append(f"\n{title}\n{'~' * len(title)}\n")
        parts += [f"ctstate-{verb}(1)\n   {_short_help(verb)}\n" for verb in verbs]
    return "\n".join(parts)


def _short_help(verb: str) -> str:
    command: click.Command = getattr(importlib.import_module(VERBS[verb]), verb.replace("-", "_"))
    return command.get_short_help_str(limit=200)


man_pages = [
    (f"{MAN}/ctstate", "ctstate", "camera-trap seasons onto Zooniverse", author, 1),
    *(
        (f"{MAN}/ctstate-{verb}", f"ctstate-{verb}", _short_help(verb).rstrip(".").lower(), author, 1)
        for verb in cli.list_commands(click.Context(cli))
    ),
]


def setup(app: Any) -> None:
    """Tell Sphinx of the above."""
    app.connect("source-read", in_the_site)
    app.connect("builder-inited", write_man_sources)
