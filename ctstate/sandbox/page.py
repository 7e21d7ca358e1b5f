"""The page for a person to look at: which sets there are, and what is in them. No scripts, nothing fetched.

What is said stands here, how it looks in `templates`: all text is escaped there.
"""

import functools
import json
from html import escape
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from starlette.responses import Response

from ctstate.sandbox.calls import Call, ids_in
from ctstate.sandbox.model import Image, Project, Subject, timestamp
from ctstate.sandbox.replies import HTML_TYPE

if TYPE_CHECKING:
    import jinja2

PAGE = 30


@functools.cache
def _templates() -> "jinja2.Environment":
    import jinja2  # here, as a sandbox that nobody looks at starts sooner without it

    return jinja2.Environment(
        loader=jinja2.PackageLoader("ctstate.sandbox"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        # Escaped as `html.escape` does it; `Markup`, which is what a macro returns, stays as it is.
        finalize=lambda value: value if hasattr(value, "__html__") else Markup(escape(str(value))),
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _html(template: str, title: str, **facts: Any) -> Response:
    body = _templates().get_template(template).render(title=title, **facts)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' http: https:"
    headers = {"content-type": HTML_TYPE, "Content-Security-Policy": policy}
    return Response(body.encode("utf-8", "replace"), 200, headers)


def _whole(subject: Subject) -> bool:
    return bool(subject.images) and all(i.whole for i in subject.images)


def _row(name: str, where: str, subjects: list[Subject], extra: str) -> dict[str, Any]:
    return {
        "name": name,
        "where": where,
        "extra": extra,
        "subjects": len(subjects),
        "images": sum(len(s.images) for s in subjects),
        "broken": sum(1 for s in subjects if not _whole(s)),
    }


def _orphans(call: Call, project: Project) -> list[Subject]:
    return [s for s in call.world.of_project(project.id).values() if not s.sets]


async def overview(call: Call) -> Response:
    """GET /: the projects with their subject sets."""
    world = call.world
    shown = [p for p in world.projects.values() if p.owner == world.owner.id or world.of_project(p.id)]
    projects = [_project(call, project) for project in shown]
    return _html("overview.html", "Zooniverse sandbox", projects=projects, incomplete=len(world.incomplete))


def _project(call: Call, project: Project) -> dict[str, Any]:
    world = call.world
    owner = world.accounts.users[project.owner]
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
    return {
        "name": project.display_name,
        "id": project.id,
        "owner": owner.login,
        "used": world.uploaded_count(owner),
        "limit": owner.subject_limit,
        "banned": owner.banned,
        "rows": rows,
    }


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
    return _html("subject.html", f"Subject {found.id}", subject=_subject(call, found))


def _missing() -> Response:
    out = _html("missing.html", "Not there")
    out.status_code = 404
    return out


def _subjects(call: Call, title: str, where: str, subjects: list[Subject]) -> Response:
    pages = max(1, -(-len(subjects) // PAGE))
    page = min((ids_in(call.query.get("page", "1")) or [1])[0] or 1, pages)
    shown = [_subject(call, s) for s in subjects[(page - 1) * PAGE : page * PAGE]]
    return _html("subjects.html", title, where=where, number=len(subjects), subjects=shown, page=page, pages=pages)


def _subject(call: Call, subject: Subject) -> dict[str, Any]:
    flags = []
    if not subject.images:
        flags.append("no image")
    missing = sum(1 for i in subject.images if not i.whole)
    if missing:
        flags.append(f"{missing} of {len(subject.images)} images missing")
    if not subject.sets:
        flags.append("in no set")
    facts = [("created", timestamp(subject.created))]
    if subject.external_id is not None:
        facts.append(("external id", subject.external_id))
    facts += [(str(key), _text(value)) for key, value in subject.metadata.items()]
    images = [_image(call, image) for image in subject.images]
    return {"id": subject.id, "flags": flags, "images": images, "facts": facts}


def _image(call: Call, image: Image) -> dict[str, Any]:
    """Return what is shown of an image: its address; '' where its bytes were not kept."""
    kept = image.url or ("" if call.settings.discard_images else f"/blob/{image.key}")
    problem = "" if image.whole else "is empty" if image.arrived else "never arrived"
    return {"name": f"image {image.position + 1}", "problem": problem, "size": image.size, "address": kept}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
