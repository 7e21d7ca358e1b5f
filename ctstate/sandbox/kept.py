"""What a sandbox has: in memory for reading, in SQLite for keeping; and how it is found."""

from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ctstate.errors import InputError
from ctstate.sandbox import surroundings
from ctstate.sandbox.accounts import Accounts
from ctstate.sandbox.model import Image, Member, Project, Status, Subject, SubjectSet, User, Workflow
from ctstate.sandbox.settings import SandboxSettings
from ctstate.sandbox.store import Store

FIRST_PROJECT, FIRST_WORKFLOW, FIRST_SET, FIRST_SUBJECT = 1001, 3001, 5001, 100001
FIRST_STATUS, FIRST_MEMBER = 20001, 40001


class Kept:
    """All that one sandbox has.

    Args:
        directory: where `state.sqlite` is or will be.
        settings: how the sandbox behaves.
        store: where the state is kept instead (a simulator keeps none).

    Raises:
        InputError: the directory cannot be used, or another sandbox uses it.
    """

    def __init__(self, directory: Path, settings: SandboxSettings, store: Store | None = None) -> None:
        self.settings = settings
        self.store = store if store is not None else _store_in(directory)
        self._meta: dict[str, str] = {row["name"]: row["value"] for row in self.store.rows("meta")}
        if "secret" not in self._meta:
            self._remember("secret", surroundings.random_hex(32))
        self.secret = bytes.fromhex(self._meta["secret"])
        self.accounts = Accounts(self.store, settings, self.secret)
        self.projects: dict[int, Project] = {}
        self.workflows: dict[int, Workflow] = {}
        self.sets: dict[int, SubjectSet] = {}
        self.subjects: dict[int, Subject] = {}
        self.images: dict[str, Image] = {}
        self.statuses: dict[tuple[int, int], Status] = {}
        self.incomplete: list[dict[str, Any]] = []
        self._by_project: dict[int, dict[int, Subject]] = {}
        self._by_uploader: dict[tuple[int, int], dict[int, Subject]] = {}
        self._ghosts: deque[tuple[float, Subject]] = deque()
        self._doomed: deque[tuple[float, int]] = deque()
        self._next: dict[str, int] = {}
        self._load()

    def _remember(self, name: str, value: str) -> None:
        self._meta[name] = value
        self.store.save("meta", (name, value))

    def _load(self) -> None:
        rows = self.store.rows
        for row in rows("projects"):
            self.projects[row["id"]] = Project(**row)
        for row in rows("collaborators"):
            self.projects[row["project"]].collaborators.add(row["user"])
        for row in rows("workflows"):
            row["active"] = bool(row["active"])
            self.workflows[row["id"]] = Workflow(**row)
        for row in rows("subject_sets"):
            row["deleted"] = bool(row["deleted"])
            self.sets[row["id"]] = SubjectSet(**row)
        for row in rows("subjects"):
            subject = Subject(**row)
            self.subjects[subject.id] = subject
            if subject.active:
                self._index(subject)
        for row in rows("images"):
            image = Image(**row)
            self.subjects[image.subject].images.append(image)
            if image.key:
                self.images[image.key] = image
        for row in rows("statuses"):
            self.statuses[(row["workflow"], row["subject"])] = Status(**row)
        last_member = FIRST_MEMBER - 1
        for row in rows("members"):
            member = Member(**row)
            last_member = member.id
            subject, subject_set = self.subjects[member.subject], self.sets[member.set]
            subject.sets.append(member.set)
            if subject.active:
                subject_set.members[subject.id] = member
            else:
                subject_set.ghosts.add(subject.id)
        for subject in sorted(self.subjects.values(), key=lambda s: s.deactivated):
            self.accounts.users[subject.uploader].uploaded += 1
            if not subject.active and not self.classified(subject.id):
                self._ghosts.append((subject.deactivated + self.settings.removal_delay, subject))
        for subject in self.subjects.values():
            subject.images.sort(key=lambda i: i.position)
        self._doomed.extend(sorted((row["due"], row["subject"]) for row in rows("doomed")))
        self.incomplete = rows("incomplete")
        self._next = {
            "subject": max(self.subjects, default=FIRST_SUBJECT - 1) + 1,
            "set": max(self.sets, default=FIRST_SET - 1) + 1,
            "workflow": max(self.workflows, default=FIRST_WORKFLOW - 1) + 1,
            "image": max((row["id"] for row in rows("images")), default=0) + 1,
            "member": last_member + 1,
            "status": max((s.id for s in self.statuses.values()), default=FIRST_STATUS - 1) + 1,
        }

    def _number(self, kind: str) -> int:
        number = self._next[kind]
        self._next[kind] = number + 1
        return number

    @property
    def owner(self) -> User:
        """The account that the sandbox was made for."""
        return self.accounts.users[1]

    @property
    def project(self) -> Project:
        """Its project."""
        return self.projects[FIRST_PROJECT]

    @property
    def foreign_project(self) -> Project:
        """Somebody else's project."""
        return self.projects[FIRST_PROJECT + 1]

    @property
    def workflow(self) -> Workflow:
        """The workflow of `project`."""
        return self.workflows[FIRST_WORKFLOW]

    def may(self, user: User | None, project: int) -> bool:
        """Whether `user` may see and change what is in the project."""
        found = self.projects.get(project)
        return found is not None and found.open_to(user)

    def classified(self, subject: int) -> bool:
        """Whether a volunteer ever saw the subject."""
        return any(
            (workflow, subject) in self.statuses and self.statuses[(workflow, subject)].classifications > 0
            for workflow in self.workflows
        )

    def live_sets(self) -> Iterable[SubjectSet]:
        """All sets that were not deleted, by id."""
        return (s for s in self.sets.values() if not s.deleted)

    def live_set(self, number: int) -> SubjectSet | None:
        """The set of that id, if there is one."""
        found = self.sets.get(number)
        return found if found is not None and not found.deleted else None

    def name_taken(self, project: int, name: str, by_other_than: int = 0) -> bool:
        """Whether a set of the project has that name."""
        return any(
            s.display_name == name and s.project == project and s.id != by_other_than for s in self.live_sets()
        )

    def active_subject(self, number: int) -> Subject | None:
        """The subject of that id, if the API still shows it."""
        found = self.subjects.get(number)
        return found if found is not None and found.active else None

    def of_project(self, project: int) -> dict[int, Subject]:
        """Active subjects of a project, ascending by id."""
        return self._by_project.get(project, {})

    def of_uploader(self, project: int, user: int) -> dict[int, Subject]:
        """Active subjects of a project that `user` uploaded, ascending by id."""
        return self._by_uploader.get((project, user), {})

    def _index(self, subject: Subject) -> None:
        self._by_project.setdefault(subject.project, {})[subject.id] = subject
        self._by_uploader.setdefault((subject.project, subject.uploader), {})[subject.id] = subject

    def close(self) -> None:
        """Close the file."""
        self.store.close()


def _store_in(directory: Path) -> Store:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise InputError(f"{directory}: cannot make the sandbox's directory ({e.strerror})") from e
    return Store(directory / "state.sqlite")
