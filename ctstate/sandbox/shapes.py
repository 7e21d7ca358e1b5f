"""What each kind of resource looks like in JSON, with the keys of the real server's replies."""

from ctstate.sandbox.accounts import Accounts
from ctstate.sandbox.model import (
    Image,
    Member,
    Project,
    Status,
    Subject,
    SubjectSet,
    User,
    Workflow,
    timestamp,
)
from ctstate.sandbox.replies import Json


def _media(owner: str, kind: str) -> Json:
    return {"href": f"/{owner}/{kind}", "type": kind}


def user_json(user: User, count: int) -> Json:
    """An account as its owner sees it."""
    return {
        "id": str(user.id),
        "login": user.login,
        "display_name": user.login,
        "credited_name": user.login,
        "email": f"{user.login}@example.com",
        "languages": [],
        "created_at": timestamp(user.created),
        "updated_at": timestamp(user.created),
        "type": "users",
        "global_email_communication": None,
        "project_email_communication": None,
        "beta_email_communication": None,
        "nasa_email_communication": False,
        "ux_testing_email_communication": False,
        "subject_limit": user.subject_limit,
        "uploaded_subjects_count": count,
        "admin": False,
        "href": f"/users/{user.id}",
        "login_prompt": False,
        "private_profile": True,
        "zooniverse_id": None,
        "upload_whitelist": False,
        "avatar_src": None,
        "valid_email": True,
        "banned": user.banned,
        "confirmed_at": timestamp(user.created),
        "intervention_notifications": True,
        "links": {},
    }


def owner_json(accounts: Accounts, number: int) -> Json:
    """A reference to the account that owns something."""
    user = accounts.users[number]
    return {"id": str(number), "display_name": user.login, "type": "users", "href": f"/users/{number}"}


def project_json(project: Project, accounts: Accounts, sets: list[int], workflows: list[Workflow]) -> Json:
    """A project."""
    where = f"projects/{project.id}"
    return {
        "id": str(project.id),
        "display_name": project.display_name,
        "title": project.display_name,
        "slug": project.slug,
        "description": "A project that exists only in this sandbox.",
        "introduction": None,
        "redirect": "",
        "researcher_quote": None,
        "workflow_description": None,
        "available_languages": ["en"],
        "primary_language": "en",
        "configuration": {},
        "experimental_tools": [],
        "tags": [],
        "urls": [],
        "activity": 0,
        "classifications_count": 0,
        "classifiers_count": 0,
        "retired_subjects_count": 0,
        "subjects_count": 0,
        "completeness": 0.0,
        "beta_approved": False,
        "beta_requested": False,
        "featured": False,
        "launch_approved": False,
        "launch_date": None,
        "launch_requested": False,
        "live": False,
        "migrated": False,
        "mobile_friendly": False,
        "private": True,
        "run_subject_set_completion_events": False,
        "state": "development",
        "created_at": timestamp(project.created),
        "updated_at": timestamp(project.updated),
        "href": f"/projects/{project.id}",
        "links": {
            "workflows": [str(w.id) for w in workflows],
            "active_workflows": [str(w.id) for w in workflows if w.active],
            "subject_sets": [str(s) for s in sets],
            "owner": owner_json(accounts, project.owner),
            "organization": None,
            "project_roles": [str(project.id)],
            "pages": [],
            "avatar": _media(where, "avatars"),
            "background": _media(where, "backgrounds"),
            "attached_images": {**_media(where, "attached_images"), "ids": []},
            "classifications_export": _media(where, "classifications_exports"),
            "subjects_export": _media(where, "subjects_exports"),
        },
    }


def workflow_json(workflow: Workflow, subjects: int, retired: int) -> Json:
    """A workflow."""
    where = f"workflows/{workflow.id}"
    return {
        "id": str(workflow.id),
        "display_name": workflow.display_name,
        "tasks": {},
        "steps": [],
        "first_task": "",
        "configuration": {},
        "active": workflow.active,
        "content_language": "en",
        "primary_language": "en",
        "version": "1.1",
        "classifications_count": 0,
        "completeness": retired / subjects if subjects else 0.0,
        "subjects_count": subjects,
        "retired_set_member_subjects_count": retired,
        "retirement": {"criteria": "classification_count", "options": {"count": 15}},
        "finished_at": None,
        "grouped": False,
        "prioritized": False,
        "pairwise": False,
        "public_gold_standard": False,
        "mobile_friendly": False,
        "created_at": timestamp(workflow.created),
        "updated_at": timestamp(workflow.updated),
        "href": f"/workflows/{workflow.id}",
        "links": {
            "project": str(workflow.project),
            "subject_sets": [str(s) for s in workflow.sets],
            "tutorial_subject": None,
            "published_version": None,
            "attached_images": {**_media(where, "attached_images"), "ids": []},
            "classifications_export": _media(where, "classifications_exports"),
        },
    }


def set_json(subject_set: SubjectSet, workflows: list[int]) -> Json:
    """A subject set."""
    return {
        "id": str(subject_set.id),
        "display_name": subject_set.display_name,
        "set_member_subjects_count": subject_set.count,
        "metadata": subject_set.metadata,
        "created_at": timestamp(subject_set.created),
        "updated_at": timestamp(subject_set.updated),
        "href": f"/subject_sets/{subject_set.id}",
        "completeness": {},
        "links": {"project": str(subject_set.project), "workflows": [str(w) for w in workflows]},
    }


def subject_json(subject: Subject, locations: list[dict[str, str]]) -> Json:
    """A subject; `locations` are its images with signed or with public URLs."""
    return {
        "id": str(subject.id),
        "metadata": subject.metadata,
        "locations": locations,
        "zooniverse_id": None,
        "external_id": subject.external_id,
        "created_at": timestamp(subject.created),
        "updated_at": timestamp(subject.updated),
        "href": f"/subjects/{subject.id}",
        "links": {
            "project": str(subject.project),
            "collections": [],
            "subject_sets": [str(s) for s in subject.sets],
            "attached_images": {**_media(f"subjects/{subject.id}", "attached_images"), "ids": []},
        },
    }


def member_json(member: Member) -> Json:
    """A membership."""
    return {
        "id": str(member.id),
        "created_at": timestamp(member.created),
        "updated_at": timestamp(member.created),
        "priority": member.priority,
        "href": f"/set_member_subjects/{member.id}",
        "links": {"subject": str(member.subject), "subject_set": str(member.set)},
    }


def status_json(status: Status) -> Json:
    """What volunteers did with a subject."""
    return {
        "id": str(status.id),
        "classifications_count": status.classifications,
        "created_at": timestamp(status.created),
        "updated_at": timestamp(status.updated),
        "retired_at": timestamp(status.retired) if status.retired else None,
        "retirement_reason": status.reason,
        "href": f"/subject_workflow_statuses/{status.id}",
        "links": {"subject": str(status.subject), "workflow": str(status.workflow)},
    }


def image_state(image: Image) -> Json:
    """An image as the sandbox's own API shows it."""
    return {
        "position": image.position,
        "mime": image.mime,
        "key": image.key or None,
        "url": image.url or None,
        "whole": image.whole,
        "arrived": image.arrived or bool(image.url),
        "bytes": image.size if image.arrived else None,
        "md5": image.md5 or None,
    }
