"""Every difference between ledger and Zooniverse is found, named, settled, and then found no more."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ctstate.errors import NotFoundError, UsageError
from ctstate.ledger import Ledger
from ctstate.verbs.adopt import adopt
from ctstate.verbs.backup import backup
from ctstate.verbs.batch import batch
from ctstate.verbs.exclude import exclude, include
from ctstate.verbs.reconcile import accept, reconcile
from ctstate.verbs.retry import retry
from ctstate.verbs.survey import ACTED_ON, ALL, Survey, survey
from ctstate.verbs.survey.sets import _another_s
from ctstate.zooniverse import Zooniverse
from tests.builders.ledgers import of_files
from tests.builders.season_on_sandbox import JPEG, MD5, Season, delete_set, foreign_subject, mark_of, set_of


def look(season: Season, **more: Any) -> Survey:
    with Ledger.open(season.path) as ledger:
        return survey(ledger, season.connect(), int(season.z.project_id), **more)


def settle(season: Season, **more: Any) -> Counter[str]:
    """Carry out what a survey proposes, and make sure that a second one finds nothing to do."""
    with Ledger.open(season.path) as ledger:
        found = survey(ledger, season.connect(), int(season.z.project_id), **more)
        done = reconcile(ledger, season.connect(), int(season.z.project_id), found, {})
    again = look(season, **more)
    assert [f for f in again.findings if f.kind in ACTED_ON] == []
    return Counter(done)


def uploaded(new_season: Any, captures: int = 4) -> Season:
    season: Season = new_season(captures)
    season.upload()
    return season


def first(season: Season) -> Any:
    return season.rows(
        "SELECT c.id, c.capture_id, c.subject_id, c.state, count(i.id) AS images FROM capture c"
        " JOIN image i ON i.capture_id = c.id WHERE c.id = 1 GROUP BY c.id"
    )[0]


def test_a_season_that_agrees(new_season) -> None:
    season = uploaded(new_season)
    found = look(season, share=ALL)
    assert (found.agree, found.findings) == (4, [])


def test_nothing_is_changed_by_looking(new_season) -> None:
    season = uploaded(new_season)
    season.connect().unlink_subjects(set_of(season), [first(season).subject_id])
    before = (season.rows("SELECT * FROM capture"), season.z.state()["subjects"])
    assert look(season).count("unlinked") == 1
    assert (season.rows("SELECT * FROM capture"), season.z.state()["subjects"]) == before


def test_unlinked_by_a_colleague(new_season) -> None:
    season = uploaded(new_season)
    season.connect().unlink_subjects(set_of(season), [first(season).subject_id])
    assert settle(season) == {"unlinked": 1}
    assert season.rows("SELECT state FROM capture WHERE id = 1") == [("removed",)]
    season.check()
    season.z.reset_requests()
    with Ledger.open(season.path) as ledger:
        assert retry(ledger, states=["removed"]) == 1
    season.upload()
    season.check()
    routes = season.z.requests()["routes"]
    assert "create subject" not in routes, "relinking sends nothing anew"
    assert "put image" not in routes


def test_linked_again_by_a_colleague(new_season) -> None:
    season = uploaded(new_season)
    subject_id = first(season).subject_id
    season.connect().unlink_subjects(set_of(season), [subject_id])
    settle(season)
    season.connect().link_subjects(set_of(season), [subject_id])
    assert settle(season) == {"adopt": 1}
    season.check()


def test_deleted_by_a_colleague(new_season) -> None:
    season = uploaded(new_season)
    season.connect().delete_subject(first(season).subject_id)
    assert settle(season) == {"deleted": 1}
    season.check()
    with Ledger.open(season.path) as ledger:
        retry(ledger, states=["deleted"])
    season.upload()
    season.check()


def test_deleted_and_made_anew_by_a_colleague(new_season) -> None:
    season = uploaded(new_season)
    row = first(season)
    season.connect().delete_subject(row.subject_id)
    assert settle(season) == {"deleted": 1}
    theirs = foreign_subject(season, row.capture_id, row.images, mark=mark_of(season, row.capture_id))
    assert settle(season) == {"finish": 1}, "its images are not those that were sent"
    assert season.upload().counts.uploaded == 1
    assert (first(season).state, first(season).subject_id) == ("uploaded", theirs)
    season.check()


def test_the_whole_set_deleted_by_a_colleague(new_season) -> None:
    season = uploaded(new_season)
    z = season.connect()
    for (subject_id,) in season.rows("SELECT subject_id FROM capture"):
        z.delete_subject(subject_id)
    delete_set(z, set_of(season))
    with pytest.raises(NotFoundError, match="ctstate reconcile"):
        with Ledger.open(season.path) as ledger:
            retry_all(ledger, season)
        season.upload()
    assert settle(season)["set gone"] == 1
    with Ledger.open(season.path) as ledger:
        retry(ledger, states=["deleted", "removed"])
    season.upload()
    season.check()


def retry_all(ledger: Ledger, season: Season) -> None:
    """Make one capture pending, so that an upload needs the set."""
    found = survey(ledger, season.connect(), int(season.z.project_id))
    found.findings = [f for f in found.findings if f.kind == "deleted"][:1]
    reconcile(ledger, season.connect(), int(season.z.project_id), found, {})
    retry(ledger, states=["deleted"])


def test_a_duplicate_is_deleted_and_the_ledger_s_own_stays(new_season) -> None:
    season = uploaded(new_season)
    row = first(season)
    extra = foreign_subject(season, row.capture_id, row.images, mark=mark_of(season, row.capture_id))
    found = look(season)
    assert [(f.kind, f.subject_id) for f in found.findings] == [("duplicate", extra)]
    assert settle(season) == {"duplicate": 1}
    season.check()


def test_a_duplicate_that_was_not_made_from_this_ledger_is_left_alone(new_season) -> None:
    season = uploaded(new_season)
    row = first(season)
    extra = foreign_subject(season, row.capture_id, row.images)
    assert settle(season) == {}
    assert [(f.kind, f.subject_id) for f in look(season).findings] == [("foreign duplicate", extra)]


def test_the_subjects_of_another_ledger_are_strangers_until_they_are_accepted(new_season) -> None:
    season = uploaded(new_season)
    row = first(season)
    extra = foreign_subject(season, row.capture_id, row.images, mark=f"ctstate:{'0' * 12}:{row.id}:1")
    assert [(f.kind, f.subject_id) for f in look(season).findings] == [("stranger", extra)]
    assert settle(season) == {}
    assert extra in {int(subject["id"]) for subject in season.subjects()}
    project = int(season.z.project_id)
    with Ledger.open(season.path) as ledger:
        with pytest.raises(UsageError, match="is capture"):
            accept(ledger, season.connect(), project, [row.subject_id])
        with pytest.raises(UsageError, match="no subject 5 in project"):
            accept(ledger, season.connect(), project, [extra, 5])
        assert accept(ledger, season.connect(), project, [extra]) == 1
        assert accept(ledger, season.connect(), project, [extra]) == 0
    found = look(season)
    assert (found.findings, found.accepted) == ([], 1)
    season.upload()  # and no upload stumbles over it


def test_what_a_live_upload_links_meanwhile_is_not_thrown_out(new_season, monkeypatch) -> None:
    """The set is listed, then the ledger is read; in between a worker links and writes down that it did."""
    season = new_season(4)
    season.upload(limit=2)
    members = Zooniverse.subjects_in_set

    def and_then_they_are_linked(self, set_id):
        listed = list(members(self, set_id))
        season.upload()
        return iter(listed)

    monkeypatch.setattr(Zooniverse, "subjects_in_set", and_then_they_are_linked)
    project = int(season.z.project_id)
    with Ledger.open(season.path) as ledger:
        zooniverse = season.connect()
        monkeypatch.setattr(Zooniverse, "count_in_sets", lambda self, ids: 0)
        found = survey(ledger, zooniverse, project)
    monkeypatch.undo()
    assert found.findings == []
    assert found.agree == 4
    season.check()


def test_what_was_found_is_looked_at_again_before_it_is_acted_on(new_season) -> None:
    season = uploaded(new_season)
    row = first(season)
    z = season.connect()
    z.unlink_subjects(set_of(season), [row.subject_id])
    found = look(season)
    assert [f.kind for f in found.findings] == ["unlinked"]
    z.link_subjects(set_of(season), [row.subject_id])  # the colleague who took it out thought better of it
    with Ledger.open(season.path) as ledger:
        assert reconcile(ledger, z, int(season.z.project_id), found, {}) == {}
    assert first(season).state == "uploaded"
    season.check()


def test_images_that_are_whole_by_then_are_not_put_again(new_season, monkeypatch: pytest.MonkeyPatch) -> None:
    season = uploaded(new_season)
    row = first(season)
    with monkeypatch.context() as patch:
        patch.setattr(Zooniverse, "image_md5", lambda self, url: "0" * 32)  # as somebody in between answers
        found = look(season, share=ALL)
    assert {f.kind for f in found.findings} == {"images"}
    with Ledger.open(season.path) as ledger:
        assert reconcile(ledger, season.connect(), int(season.z.project_id), found, {}) == {}
    assert first(season) == row
    season.check()


def test_a_duplicate_that_volunteers_classified_is_left_alone(new_season) -> None:
    season = uploaded(new_season)
    row = first(season)
    extra = foreign_subject(season, row.capture_id, row.images)
    season.z.classify(str(extra), season.z.workflow_id, 3)
    assert settle(season) == {}
    assert look(season).count("classified duplicate") == 1


def test_a_subject_that_others_uploaded_is_adopted_only_when_whole(new_season) -> None:
    season = new_season(3)
    season.upload(limit=1)
    rows = season.rows(
        "SELECT c.capture_id, count(i.id) FROM capture c JOIN image i ON i.capture_id = c.id"
        " WHERE c.state = 'batched' GROUP BY c.id"
    )
    (whole, images), (broken, more_images) = rows
    foreign_subject(season, whole, images)
    foreign_subject(season, broken, more_images, put=False)
    published = len(season.z.state()["published_incomplete"])
    assert settle(season) == {"adopt": 1, "finish": 1}
    assert season.upload().counts.uploaded == 1
    with Ledger.open(season.path) as ledger:
        from ctstate.verbs.demo.invariant import violations

        world = season.z.state()
        # The test itself published a subject without images; ctstate did not.
        assert len(world["published_incomplete"]) == published
        world["published_incomplete"] = []
        assert violations(ledger, world) == []


def test_made_but_never_linked_is_finished_not_doubled(new_season) -> None:
    season = new_season(2)
    season.z.set_faults({"rules": [{"route": "create subject", "kind": "status_after"}]})
    from ctstate.zooniverse import Backoff

    season.upload(backoff=Backoff(first=0.05, most=0.1, give_up=0.15), settle=600)
    season.z.clear_faults()
    made = len(season.z.state()["subjects"])
    assert season.rows("SELECT count(*) FROM capture WHERE ambiguous_at IS NOT NULL")[0][0] > 0
    assert settle(season)["finish"] > 0
    season.upload()
    season.check()
    assert len(season.z.state()["subjects"]) >= made


def test_images_that_are_missing_or_not_those_that_were_sent(new_season) -> None:
    season = uploaded(new_season, 3)
    row = first(season)
    z = season.connect()
    _, etag = z.subject(row.subject_id)
    urls = z.fresh_urls(row.subject_id, etag)
    z.put_image(urls[0], JPEG, "image/jpeg", MD5)  # somebody put another picture in its place
    assert look(season).findings == [], "a look without --check-images trusts what was vouched for"
    found = look(season, share=ALL)
    assert [(f.kind, f.subject_id) for f in found.findings] == [("images", row.subject_id)]
    assert settle(season, share=ALL) == {"images": 1}
    season.upload()
    season.check()


def test_metadata_that_differs_is_mended_and_the_rest_kept(new_season) -> None:
    season = uploaded(new_season, 2)
    row = first(season)
    season.connect().update_metadata(row.subject_id, {"#site": "wrong", "note": "a colleague's"})
    found = look(season)
    assert [(f.kind, f.detail) for f in found.findings] == [("metadata", "#site")]
    assert settle(season) == {"metadata": 1}
    (subject,) = [s for s in season.subjects() if int(s["id"]) == row.subject_id]
    assert subject["metadata"]["#site"] != "wrong"
    assert subject["metadata"]["note"] == "a colleague's"


def test_strangers_are_reported_and_never_touched(new_season) -> None:
    season = uploaded(new_season, 2)
    stranger = foreign_subject(season, "some other project's", 1)
    assert settle(season) == {}
    assert look(season).count("stranger") == 1
    assert str(stranger) in {s["id"] for s in season.subjects()}


def test_a_dead_token_is_no_reason_to_believe_that_all_is_gone(new_season) -> None:
    season = uploaded(new_season, 3)
    season.z.set_faults(
        {
            "rules": [
                {"route": "list subjects", "kind": "unknown_token", "nth": [1]},
                {"route": "show set", "kind": "unknown_token", "nth": [1]},
            ]
        }
    )
    assert look(season).agree == 3


def test_in_another_batch_s_set(new_season) -> None:
    season = new_season(4)
    with Ledger.open(season.path) as ledger:
        batch(ledger, number_of_batches=2)
    season.upload()
    ((subject_id, own),) = season.rows(
        "SELECT c.subject_id, b.subject_set_id FROM capture c JOIN batch b ON b.id = c.batch_id"
        " WHERE b.name = 'batch_1' LIMIT 1"
    )
    ((other,),) = season.rows("SELECT subject_set_id FROM batch WHERE name = 'batch_2'")
    z = season.connect()
    z.unlink_subjects(own, [subject_id])
    z.link_subjects(other, [subject_id])
    found = look(season)
    assert found.findings, "a subject in the wrong set is not silently fine"


@of_files
def test_a_copy_of_before_a_batch_is_put_back_and_what_went_up_since_is_not_overlooked(
    new_season, tmp_path: Path
) -> None:
    season = new_season(4)
    with Ledger.open(season.path) as ledger:
        exclude(ledger, where="capture = '4'", reason="people")
        batch(ledger, number_of_batches=1)
    season.upload()
    copy = tmp_path / "copy.db"
    with Ledger.open(season.path) as ledger:
        backup(ledger, copy)
        include(ledger, where="capture = '4'")
        batch(ledger, number_of_batches=1)
    season.upload()
    ((set_id,),) = season.rows("SELECT DISTINCT b.subject_set_id FROM batch b JOIN capture c ON c.batch_id = b.id"
                               " WHERE c.capture = '4'")  # fmt: skip
    with Ledger.open(copy) as older:
        found = survey(older, season.connect(), int(season.z.project_id), share=ALL)
        assert [f.kind for f in found.findings] == ["unknown set"], "a picture of people is up; all is not well"
        assert f"`ctstate adopt --subject-set-id {set_id}`" in found.findings[0].detail
        adopt(older, season.connect(), int(season.z.project_id), subject_set_id=set_id)
        assert survey(older, season.connect(), int(season.z.project_id), share=ALL).all_is_well
    assert look(season, share=ALL).all_is_well, "the newer ledger knows its sets"


@pytest.mark.parametrize(
    ("name", "theirs"), [("A_B_batch_1", True), ("A_batch_1", False), ("AB_batch_1", False), ("A_B", False)]
)
def test_a_set_of_another_season_of_the_same_ledger_is_told_by_its_name(name: str, theirs: bool) -> None:
    assert _another_s(name, "A", ["A_B", "C"]) is theirs


def test_only_a_batch_or_a_set(new_season) -> None:
    season = new_season(4)
    with Ledger.open(season.path) as ledger:
        batch(ledger, number_of_batches=2)
    season.upload()
    ((set_id,),) = season.rows("SELECT subject_set_id FROM batch WHERE name = 'batch_2'")
    assert look(season, batch_name="batch_2").agree == 2
    assert look(season, subject_set_id=set_id).agree == 2
    with pytest.raises(UsageError, match="adopt"):
        look(season, subject_set_id=424242)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_script_sees_by_the_code_that_there_is_something_to_reconcile(
    new_season, call_ctstate, monkeypatch, form
) -> None:
    season = uploaded(new_season, 2)
    for name, value in (
        ("CTSTATE_LEDGER", season.path), ("PANOPTES_ENDPOINT", season.z.url), ("PANOPTES_USERNAME", season.z.login),
        ("PANOPTES_PASSWORD", season.z.password),
    ):  # fmt: skip
        monkeypatch.setenv(name, str(value))
    call = ("reconcile", "--project-id", season.z.project_id, *form)
    assert call_ctstate(*call).code == 0
    foreign_subject(season, "of some other project", 1)
    assert call_ctstate(*call).code == 0, "a stranger is nothing that reconcile does something about"
    season.connect().delete_subject(first(season).subject_id)
    assert call_ctstate(*call).code == 1
    assert call_ctstate(*call, "--apply").code == 0
    assert call_ctstate(*call).code == 0


def test_the_commands(new_season, run_ctstate, call_ctstate, tmp_path: Path) -> None:
    season = uploaded(new_season, 3)
    passwords = tmp_path / "passwords.ini"
    passwords.write_text(f"[zooniverse]\nusername = {season.z.login}\npassword = {season.z.password}\n")

    def ctstate(*arguments: str, how: Any = call_ctstate) -> Any:
        return how(
            *arguments, "--project-id", season.z.project_id, "--password-file", str(passwords),
            CTSTATE_LEDGER=str(season.path), PANOPTES_ENDPOINT=season.z.url,
        )  # fmt: skip

    assert "All is well: 3 captures" in ctstate("verify").stdout
    season.connect().delete_subject(first(season).subject_id)
    result = ctstate("verify")
    assert (result.code, "deleted" in result.stdout) == (1, True)
    assert "Nothing was changed" in ctstate("reconcile", how=run_ctstate).stdout
    mended = ctstate("reconcile", "--apply")
    assert (mended.code, "Done: 1 deleted" in mended.stdout) == (0, True)
    assert "Nothing to do" in ctstate("reconcile").stdout
    assert ctstate("verify").code == 0
