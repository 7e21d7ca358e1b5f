"""The page for a person to look at: which sets there are, and what is in them. No scripts, nothing fetched."""

import json
from collections.abc import Iterable
from html import escape
from typing import Any

from starlette.responses import Response

from ctstate.sandbox.calls import Call, ids_in
from ctstate.sandbox.model import Image, Project, Subject, timestamp
from ctstate.sandbox.replies import HTML_TYPE

PAGE = 30

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --bad: #c62828; --good: #2e7d32; --link: #00796b; }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1100px; padding: 0 1.2rem 3rem }
header { display: flex; align-items: baseline; gap: 1rem; border-bottom: 3px solid var(--link);
  padding: 1.1rem 0 .5rem; margin-bottom: 1.2rem }
header b { font-size: 1.25rem } header span { opacity: .7 }
a { color: var(--link) }
h1 { font-size: 1.35rem; margin: 1.2rem 0 .4rem }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.4rem }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top }
th { font-weight: 600; opacity: .7; font-size: .85rem }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
article { border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; margin: .8rem 0 }
article h2 { font-size: 1rem; margin: 0 0 .5rem; display: flex; gap: .6rem; align-items: center; flex-wrap: wrap }
.images { display: flex; flex-wrap: wrap; gap: .6rem; margin-bottom: .6rem }
.images img, .gap { height: 190px; border-radius: 5px; background: var(--soft); max-width: 100% }
.gap { width: 250px; display: grid; place-items: center; border: 2px dashed var(--bad); color: var(--bad) }
.gap.kept { border-color: var(--line); color: inherit }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0; font-size: .87rem }
dt { opacity: .65 } dd { margin: 0; overflow-wrap: anywhere; white-space: pre-wrap }
.flag { font-size: .75rem; font-weight: 600; padding: .05rem .5rem; border-radius: 9px; color: #fff;
  background: var(--bad) }
.flag.ok { background: var(--good) }
nav { display: flex; gap: 1rem; margin: 1rem 0 }
p.none { opacity: .7 }
"""


def _html(title: str, parts: Iterable[str]) -> Response:
    body = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        '<header><b><a href="/">Zooniverse sandbox</a></b><span>a local stand-in: nothing here is public</span>'
        f"</header>{''.join(parts)}</body></html>"
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' http: https:"
    headers = {"content-type": HTML_TYPE, "Content-Security-Policy": policy}
    return Response(body.encode("utf-8", "replace"), 200, headers)


def _whole(subject: Subject) -> bool:
    return bool(subject.images) and all(i.whole for i in subject.images)


def _row(name: str, where: str, subjects: list[Subject], extra: str) -> str:
    images = [i for s in subjects for i in s.images]
    broken = sum(1 for s in subjects if not _whole(s))
    flag = f'<span class="flag">{broken} incomplete</span>' if broken else ""
    return (
        f'<tr><td><a href="{where}">{escape(name)}</a></td><td>{escape(extra)}</td>'
        f'<td class="n">{len(subjects)}</td><td class="n">{len(images)}</td><td>{flag}</td></tr>'
    )


def _orphans(call: Call, project: Project) -> list[Subject]:
    return [s for s in call.world.of_project(project.id).values() if not s.sets]


async def overview(call: Call) -> Response:
    """GET /: the projects with their subject sets."""
    world = call.world
    parts: list[str] = []
    for project in world.projects.values():
        if project.owner != world.owner.id and not world.of_project(project.id):
            continue
        owner = world.accounts.users[project.owner]
        parts.append(f"<h1>{escape(project.display_name)}</h1>")
        parts.append(
            f"<p>Project {project.id} of {escape(owner.login)}: {world.uploaded_count(owner)} of "
            f"{owner.subject_limit} subjects used{', account banned' if owner.banned else ''}.</p>"
        )
        rows = [
            _row(
                s.display_name,
                f"/sets/{s.id}",
                [world.subjects[n] for n in s.ids()],
                f"set {s.id}{_used(call, s.id)}",
            )
            for s in world.live_sets()
            if s.project == project.id
        ]
        orphans = _orphans(call, project)
        if orphans:
            rows.append(_row("In no subject set", f"/orphans/{project.id}", orphans, "orphans"))
        if rows:
            parts.append(
                '<table><tr><th>Subject set</th><th></th><th class="n">Subjects</th><th class="n">Images</th>'
                f"<th></th></tr>{''.join(rows)}</table>"
            )
        else:
            parts.append('<p class="none">No subject sets yet.</p>')
    if world.incomplete:
        parts.append(
            f'<p><span class="flag">{len(world.incomplete)}</span> times a subject was published before all its '
            "images were there.</p>"
        )
    return _html("Zooniverse sandbox", parts)


def _used(call: Call, number: int) -> str:
    names = [w.display_name for w in call.world.workflows.values() if number in w.sets]
    return f", in {', '.join(names)}" if names else ""


async def subject_set(call: Call) -> Response:
    """GET /sets/ID: the subjects of a set."""
    found = call.world.live_set(int(call.params[0]))
    if found is None:
        return _missing()
    subjects = [call.world.subjects[n] for n in found.ids()]
    return _subjects(call, f"{found.display_name}", f"/sets/{found.id}", subjects)


async def orphans(call: Call) -> Response:
    """GET /orphans/PROJECT: the subjects that are in no set."""
    project = call.world.projects.get(int(call.params[0]))
    if project is None:
        return _missing()
    return _subjects(call, "In no subject set", f"/orphans/{project.id}", _orphans(call, project))


async def subject(call: Call) -> Response:
    """GET /projects/OWNER/PROJECT/talk/subjects/ID: where Zooniverse shows a subject, too."""
    found = call.world.subjects.get(int(call.params[-1]))
    if found is None or not found.active:
        return _missing()
    return _html(f"Subject {found.id}", [_subject(call, found)])


def _missing() -> Response:
    out = _html("Not there", ['<p class="none">There is no such thing here.</p>'])
    out.status_code = 404
    return out


def _subjects(call: Call, title: str, where: str, subjects: list[Subject]) -> Response:
    pages = max(1, -(-len(subjects) // PAGE))
    page = min((ids_in(call.query.get("page", "1")) or [1])[0] or 1, pages)
    parts = [f"<h1>{escape(title)}</h1><p>{len(subjects)} subjects</p>"]
    parts += [_subject(call, s) for s in subjects[(page - 1) * PAGE : page * PAGE]]
    turn = [
        f'<a href="{where}?page={number}">{label}</a>'
        for number, label in ((page - 1, "← earlier"), (page + 1, "later →"))
        if 1 <= number <= pages
    ]
    if turn:
        parts.append(f"<nav>{''.join(turn)}<span>page {page} of {pages}</span></nav>")
    return _html(title, parts)


def _subject(call: Call, subject: Subject) -> str:
    flags = []
    if not subject.images:
        flags.append('<span class="flag">no image</span>')
    missing = sum(1 for i in subject.images if not i.whole)
    if missing:
        flags.append(f'<span class="flag">{missing} of {len(subject.images)} images missing</span>')
    if not subject.sets:
        flags.append('<span class="flag">in no set</span>')
    if not flags:
        flags.append('<span class="flag ok">complete</span>')
    images = "".join(_image(call, i) for i in subject.images)
    facts = [("created", timestamp(subject.created))]
    if subject.external_id is not None:
        facts.append(("external id", subject.external_id))
    facts += [(str(key), _text(value)) for key, value in subject.metadata.items()]
    listed = "".join(f"<dt>{escape(key)}</dt><dd>{escape(value)}</dd>" for key, value in facts)
    return (
        f"<article><h2>Subject {subject.id} {''.join(flags)}</h2>"
        f'<div class="images">{images}</div><dl>{listed}</dl></article>'
    )


def _image(call: Call, image: Image) -> str:
    name = f"image {image.position + 1}"
    if not image.whole:
        return f'<div class="gap">{name} {"is empty" if image.arrived else "never arrived"}</div>'
    if call.settings.discard_images and not image.url:
        return f'<div class="gap kept">{name}: {image.size:,} bytes, not kept</div>'
    return f'<img loading="lazy" alt="{name}" src="{escape(image.url or "/blob/" + image.key)}">'


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
