"""The world: what happens in Zooniverse, and what comes of it later, by its rules.

Each method that changes something has committed it when it returns. Nothing here knows HTTP.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ctstate.sandbox import surroundings
from ctstate.sandbox.kept import FIRST_PROJECT, Kept
from ctstate.sandbox.model import (
    SUFFIXES,
    Image,
    Location,
    Member,
    Project,
    Status,
    Subject,
    SubjectSet,
    User,
    Workflow,
    timestamp,
)
from ctstate.sandbox.settings import SandboxSettings
from ctstate.sandbox.store import Store


class World(Kept):
    """One sandbox's Zooniverse; see `Kept`."""

    def __init__(self, directory: Path, settings: SandboxSettings, store: Store | None = None) -> None:
        super().__init__(directory, settings, store)
        self._settle()

    def _settle(self) -> None:
        """Make the accounts and projects of a fresh sandbox, and apply settings that changed."""
        settings, accounts = self.settings, self.accounts
        if not accounts.users:
            with self.store.together():
                owner = accounts.create(settings.login, settings.password, settings.subject_limit)
                other = accounts.create(f"not-{settings.login}", surroundings.random_hex(16), 10000)
                mine = self._new_project(owner, "Sandbox camera traps")
                self._new_project(other, "Somebody else's project")
                self.create_workflow(mine, "Which animal is it?")
                self._remember("subject_limit", str(settings.subject_limit))
        changed = self._meta.get("subject_limit") != str(settings.subject_limit)
        accounts.change(
            self.owner,
            login=settings.login,
            password=settings.password,
            subject_limit=settings.subject_limit if changed else None,
        )
        self._remember("subject_limit", str(settings.subject_limit))

    def _new_project(self, owner: User, name: str) -> Project:
        now = surroundings.now()
        slug = f"{owner.login}/{''.join(c if c.isalnum() else '-' for c in name.lower())}"
        project = Project(
            max(self.projects, default=FIRST_PROJECT - 1) + 1, owner.id, name, slug, created=now, updated=now
        )
        self.projects[project.id] = project
        self.store.save("projects", project)
        return project

    def add_collaborator(self, project: Project, user: User) -> None:
        """Let `user` work on `project`."""
        project.collaborators.add(user.id)
        self.store.save("collaborators", (project.id, user.id))

    # -- the subject limit (API notes, section 2) ---------------------------------------------------------------

    def uploaded_count(self, user: User) -> int:
        """The cached count that the limit is checked against: the server's own creates add to it at once, but
        what is removed shows only when it is counted afresh."""
        now = surroundings.now()
        if now >= user.cached_until:
            self.remove_ghosts()
            user.cached_count = user.uploaded
            user.cached_until = now + self.settings.quota_cache
        return user.cached_count

    def forget_count(self, user: User) -> None:
        """Count afresh next time."""
        user.cached_until = 0.0

    def remove_ghosts(self) -> None:
        """Remove for good what was deactivated long enough ago and never classified."""
        now = surroundings.now()
        while self._ghosts and self._ghosts[0][0] <= now:
            _, subject = self._ghosts.popleft()
            self.accounts.users[subject.uploader].uploaded -= 1
            for set_id in subject.sets:
                self.sets[set_id].ghosts.discard(subject.id)

    # -- workflows ----------------------------------------------------------------------------------------------

    def create_workflow(self, project: Project, name: str, active: bool = True) -> Workflow:
        """A new workflow without sets."""
        number = self._number("workflow")
        now = surroundings.now()
        workflow = Workflow(number, project.id, name, active, now, now)
        self.workflows[number] = workflow
        self.store.save("workflows", workflow)
        return workflow

    def change_workflow(
        self,
        workflow: Workflow,
        display_name: str | None = None,
        active: bool | None = None,
        sets: list[int] | None = None,
    ) -> None:
        """Change what is given."""
        if display_name is not None:
            workflow.display_name = display_name
        if active is not None:
            workflow.active = active
        if sets is not None:
            workflow.sets = sets
        workflow.version += 1
        workflow.updated = surroundings.now()
        self.store.save("workflows", workflow)

    def classify(
        self,
        workflow: int,
        subject: int,
        classifications: int,
        retired: bool | None,
        reason: str | None,
    ) -> Status:
        """Let volunteers classify or retire (or, `retired` false, unretire) a subject."""
        now = surroundings.now()
        status = self.statuses.get((workflow, subject))
        if status is None:
            status = Status(self._number("status"), workflow, subject, 0, 0.0, None, now, now)
            self.statuses[(workflow, subject)] = status
        status.classifications += classifications
        if retired is not None:
            status.retired = now if retired else 0.0
            status.reason = reason if retired else None
        status.updated = now
        self.store.save("statuses", status)
        return status

    # -- subject sets -------------------------------------------------------------------------------------------

    def create_set(self, project: int, name: str, metadata: dict[str, Any]) -> SubjectSet:
        """A new, empty set. The name is not checked here: between that and this other requests come in."""
        now = surroundings.now()
        subject_set = SubjectSet(self._number("set"), project, name, metadata, now, now)
        self.sets[subject_set.id] = subject_set
        self.store.save("subject_sets", subject_set)
        return subject_set

    def change_set(
        self, subject_set: SubjectSet, name: str | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        """Change what is given."""
        if name is not None:
            subject_set.display_name = name
        if metadata is not None:
            subject_set.metadata = metadata
        self.touch(subject_set)

    def touch(self, subject_set: SubjectSet) -> None:
        """Note that the set's row was written: links calls that began before will be stale."""
        subject_set.version += 1
        subject_set.updated = surroundings.now()
        self.store.save("subject_sets", subject_set)

    def refresh_counters(self) -> None:
        """The background job behind `set_member_subjects_count`; it counts deactivated subjects too."""
        now = surroundings.now()
        for subject_set in self.sets.values():
            if subject_set.count_due and subject_set.count_due <= now and not subject_set.deleted:
                subject_set.count_due = 0.0
                subject_set.count = len(subject_set.members) + len(subject_set.ghosts)
                self.touch(subject_set)

    def delete_set(self, subject_set: SubjectSet) -> None:
        """Delete a set now and, later and one by one, the subjects that nothing else holds."""
        now = surroundings.now()
        with self.store.together():
            subject_set.deleted = True
            self.touch(subject_set)
            for workflow in self.workflows.values():
                if subject_set.id in workflow.sets:
                    self.change_workflow(workflow, sets=[s for s in workflow.sets if s != subject_set.id])
            due = max(now, self._doomed[-1][0] if self._doomed else 0.0)
            members = subject_set.ids()
            self._drop(subject_set, members)
            for number in members:
                due += self.settings.set_delete_interval
                self._doomed.append((due, number))
            self.store.save("doomed", *[(number, due) for due, number in self._doomed])

    def delete_doomed(self) -> None:
        """Deactivate the next subjects of deleted sets, where still nothing else holds them."""
        now = surroundings.now()
        while self._doomed and self._doomed[0][0] <= now:
            _, number = self._doomed.popleft()
            subject = self.subjects[number]
            with self.store.together():
                if subject.active and not subject.sets and not self.classified(number):
                    self.deactivate(subject)
                self.store.remove("doomed", number)

    # -- membership ---------------------------------------------------------------------------------------------

    def link(self, subject_set: SubjectSet, subjects: Sequence[Subject], how: str, priority: bool = False) -> None:
        """Make `subjects` members; those that are already stay as they are.

        Every membership that begins while an image is not whole is written down in `incomplete`.

        Args:
            subject_set: the set.
            subjects: active subjects.
            how: what made them members, for the log.
            priority: copy `#priority`, as only the links call does; one that is no number spoils them all.
        """
        now = surroundings.now()
        new = [s for s in subjects if s.id not in subject_set.members]
        priorities = [s.metadata.get("#priority") for s in new] if priority else [None] * len(new)
        numbers = [_number_of(p) for p in priorities]
        if any(p is not None and n is None for p, n in zip(priorities, numbers, strict=True)):
            numbers = [None] * len(new)
        members = [
            Member(self._number("member"), subject_set.id, s.id, n, now) for s, n in zip(new, numbers, strict=True)
        ]
        with self.store.together():
            for subject, member in zip(new, members, strict=True):
                subject_set.members[subject.id] = member
                subject.sets.append(subject_set.id)
                self._log_incomplete(subject, subject_set.id, how, now)
            subject_set.ordered = None
            subject_set.count_due = subject_set.count_due or now + self.settings.counter_delay
            self.store.save("members", *members)
            self.touch(subject_set)

    def unlink(self, subject_set: SubjectSet, numbers: Iterable[int]) -> None:
        """End memberships; ids that are no members are ignored."""
        with self.store.together():
            self._drop(subject_set, [n for n in numbers if n in subject_set.members])
            subject_set.count_due = subject_set.count_due or surroundings.now() + self.settings.counter_delay
            self.touch(subject_set)

    def replace_members(self, subject_set: SubjectSet, subjects: Sequence[Subject]) -> None:
        """The trap: what is not in `subjects` is a member no longer."""
        keep = {s.id for s in subjects}
        with self.store.together():
            self.unlink(subject_set, [n for n in subject_set.members if n not in keep])
            self.link(subject_set, subjects, "set replaced")

    def replace_sets(self, subject: Subject, sets: Sequence[SubjectSet]) -> None:
        """The trap from the other side: the subject is then in these sets only."""
        keep = {s.id for s in sets}
        with self.store.together():
            for number in [n for n in subject.sets if n not in keep]:
                self.unlink(self.sets[number], [subject.id])
            for subject_set in sets:
                if subject.id not in subject_set.members:
                    self.link(subject_set, [subject], "subject's sets replaced")

    def _drop(self, subject_set: SubjectSet, numbers: Iterable[int]) -> None:
        gone = [subject_set.members.pop(n) for n in list(numbers)]
        for member in gone:
            self.subjects[member.subject].sets.remove(subject_set.id)
        subject_set.ordered = None
        self.store.remove("members", *[m.id for m in gone])

    def _log_incomplete(self, subject: Subject, subject_set: int, how: str, now: float) -> None:
        missing = [i.position for i in subject.images if not i.whole]
        if subject.images and not missing:
            return
        entry = {
            "id": len(self.incomplete) + 1,
            "at": timestamp(now),
            "subject": subject.id,
            "set": subject_set,
            "how": how,
            "missing": missing,
        }
        self.incomplete.append(entry)
        self.store.save("incomplete", _Row(entry))

    # -- subjects -----------------------------------------------------------------------------------------------

    def create_subject(
        self,
        project: int,
        uploader: User,
        locations: Sequence[Location],
        metadata: dict[str, Any],
        external_id: str | None,
        sets: Sequence[SubjectSet],
    ) -> Subject:
        """A new subject, a member of `sets` at once."""
        now = surroundings.now()
        subject = Subject(self._number("subject"), project, uploader.id, external_id, metadata, now, now)
        self._make_images(subject, locations)
        self.subjects[subject.id] = subject
        self._index(subject)
        uploader.uploaded += 1
        uploader.cached_count += 1
        with self.store.together():
            self.store.save("subjects", subject)
            self.store.save("images", *subject.images)
            for subject_set in sets:
                self.link(subject_set, [subject], "create")
        return subject

    def change_subject(
        self,
        subject: Subject,
        metadata: dict[str, Any] | None,
        locations: Sequence[Location] | None,
    ) -> None:
        """Change what is given; `locations` makes new images in place of the old."""
        with self.store.together():
            changed = False
            if metadata is not None and metadata != subject.metadata:
                subject.metadata = metadata
                changed = True
            if locations is not None:
                self.store.remove("images", *[i.id for i in subject.images])
                for image in subject.images:
                    self.images.pop(image.key, None)
                subject.images = []
                self._make_images(subject, locations)
                self.store.save("images", *subject.images)
                for number in subject.sets:
                    self._log_incomplete(subject, number, "locations replaced", surroundings.now())
                changed = True
            if changed:
                subject.version += 1
                subject.updated = surroundings.now()
                self.store.save("subjects", subject)

    def deactivate(self, subject: Subject) -> None:
        """Delete a subject, even where sets hold it."""
        now = surroundings.now()
        subject.deactivated = now
        subject.version += 1
        del self._by_project[subject.project][subject.id]
        del self._by_uploader[(subject.project, subject.uploader)][subject.id]
        for number in subject.sets:
            subject_set = self.sets[number]
            subject_set.members.pop(subject.id, None)
            subject_set.ghosts.add(subject.id)
            subject_set.ordered = None
            subject_set.count_due = subject_set.count_due or now + self.settings.counter_delay
        if not self.classified(subject.id):
            self._ghosts.append((now + self.settings.removal_delay, subject))
        self.store.save("subjects", subject)

    def received(self, image: Image, size: int, md5: str, content_type: str) -> None:
        """Note that the store has an image's bytes."""
        image.size, image.md5, image.content_type, image.updated = size, md5, content_type, surroundings.now()
        self.store.save("images", image)

    def _make_images(self, subject: Subject, locations: Sequence[Location]) -> None:
        for position, (mime, url) in enumerate(locations):
            key = "" if url else f"{surroundings.random_hex(16)}.{SUFFIXES.get(mime, 'bin')}"
            image = Image(self._number("image"), subject.id, position, mime, key, url)
            subject.images.append(image)
            if key:
                self.images[key] = image


class _Row:
    """A dict whose keys are attributes, as `Store.save` wants them."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)


def _number_of(value: Any) -> float | None:
    """A priority as a number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
