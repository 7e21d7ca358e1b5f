"""The pages: addresses in, HTML out. Each reads the ledger through the one reader that all browsers share."""

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from ctstate.errors import CtstateError, LedgerError
from ctstate.ledger import Ledger, live, live_captures
from ctstate.ledger.clock import age
from ctstate.ledger.live_captures import EXCLUDED, NO_BATCH, Wanted
from ctstate.ledger.seasons import names as season_names
from ctstate.ledger.states import FailureKind
from ctstate.ledger.views import events_of, facts_of, images_of
from ctstate.machine import machine
from ctstate.verbs.history import History
from ctstate.verbs.reading import EVERY_S, Answer, SharedReader
from ctstate.verbs.serve.questions import Questions
from ctstate.verbs.serve.thumbnails import Thumbnails
from ctstate.verbs.status import STATES
from ctstate.verbs.watch import KEEPS_S, Picture, Watcher
from ctstate.web import pages
from ctstate.web.files import static_file
from ctstate.words import lasting, rate, whole_number

T = TypeVar("T")

_ENDED_RUNS = 50
_MOST_SITES = 2000
_MOST_FAILED = 2000
_SHORT_S = 1.0
_LOOKS, _BETWEEN_S = 12, 0.02
"""So many more short looks has a page, with so long between them."""
"""What somebody asks for by himself, and not a page on its own, is asked anew after this."""

_REFRESHED = ("overview", "sites", "runs", "failures")
"""Pages that look again by themselves."""

NAVIGATION = (
    ("/", "Overview"),
    ("/sites", "Batches and sites"),
    ("/captures", "Captures"),
    ("/runs", "Runs"),
    ("/failures", "Failures"),
    ("/sql", "SQL"),
)


class LivePage:
    """The pages of one ledger.

    Args:
        ledger: open for reading only.
        reader: that all share.
    """

    def __init__(self, ledger: Ledger, reader: SharedReader) -> None:
        self._ledger = ledger
        self._reader = reader
        self._watcher = Watcher(ledger)
        self._thumbnails = Thumbnails()
        self._questions = Questions(ledger, reader)
        self._made: dict[tuple[str, str], tuple[float, Any, str]] = {}

    def app(self) -> Starlette:
        """Return what serves them."""
        shown: dict[str, Callable[[Request], Response]] = {
            "/": self.overview,
            "/sites": self.sites,
            "/captures": self.captures,
            "/capture/{key}": self.capture,
            "/capture/{key}/{rank}": self.thumbnail,
            "/runs": self.runs,
            "/runs/{run}": self.run,
            "/failures": self.failures,
            "/sql": self.sql,
            "/sql.csv": self.csv,
            "/static/{name}": _static,
        }
        return Starlette(
            routes=[Route(path, endpoint, methods=["GET"]) for path, endpoint in shown.items()],
            exception_handlers={HTTPException: self._not_found, CtstateError: self._in_trouble},
        )

    # -- pages ---------------------------------------------------------------------------------------------

    def overview(self, request: Request) -> Response:
        """How far all is."""
        answer = self._picture()
        return self._page(request, "overview", "Overview", answer, picture=answer.value)

    def sites(self, request: Request) -> Response:
        """How far batches and sites are."""
        answer = self._picture()
        found = self._reader.ask("sites", lambda connection: live.sites(connection, _MOST_SITES + 1))
        return self._page(
            request,
            "sites",
            "Batches and sites",
            answer,
            picture=answer.value,
            sites=found.value[:_MOST_SITES],
            more=len(found.value) > _MOST_SITES,
        )

    def runs(self, request: Request) -> Response:
        """Who works on the ledger, and who did."""
        answer = self._picture()
        return self._page(request, "runs", "Runs and workers", answer, picture=answer.value)

    def run(self, request: Request) -> Response:
        """All that is known of a run."""
        run_id = _number(request, "run")

        def question(
            connection: live.Reading,
        ) -> tuple[live.RunFacts | None, list[tuple[str, float]], live.RunMoves]:
            facts = live.run_of(connection, run_id)
            tally = live.Tallies().of(connection, [run_id])[run_id]
            return facts, live.figures_of(connection, run_id), tally

        answer = self._reader.ask(("run", run_id), question)
        facts, figures, tally = answer.value
        if facts is None:
            raise HTTPException(404)
        return self._page(
            request, "run", f"Run {run_id}", answer, run=facts, figures=figures, tally=tally, part_of="/runs"
        )

    def failures(self, request: Request) -> Response:
        """Why captures failed."""
        answer = self._reader.ask("failures", lambda connection: live.failures(connection, _MOST_FAILED))
        groups, more = answer.value
        return self._page(request, "failures", "Failures", answer, groups=groups, more=more, most=_MOST_FAILED)

    def captures(self, request: Request) -> Response:
        """A page of captures."""
        wanted = Wanted(**{name: request.query_params.get(name, "")[:300] for name in Wanted._fields})
        after = whole_number(request.query_params.get("after", "")) or 0

        answer = self._found(wanted, after)
        found = answer.value
        names = self._reader.ask("names", lambda reading: (live.batches(reading), season_names(reading)), _SHORT_S)
        batches, seasons = names.value
        given = {name: value for name, value in wanted._asdict().items() if value}
        return self._page(
            request,
            "captures",
            "Captures",
            answer,
            found=found,
            wanted=wanted,
            given=given,
            states=[*STATES, EXCLUDED],
            kinds=[str(kind) for kind in FailureKind],
            seasons=seasons,
            batches={batch.batch_id: batch.batch for batch in batches},
            batch_names=[*dict.fromkeys(batch.batch for batch in batches), NO_BATCH],
            no_batch=NO_BATCH,
            first="/captures?" + urlencode(given) if after else None,
            following=None if found.next is None else "/captures?" + urlencode({**given, "after": found.next}),
        )

    def _found(self, wanted: Wanted, after: int) -> Answer[live_captures.Found]:
        """Look for captures; where nobody can commit meanwhile, in short looks with time for others in between."""

        def look(after: int) -> Answer[live_captures.Found]:
            def question(connection: live.Reading) -> live_captures.Found:
                # Known only once there is a connection.
                return live_captures.find(connection, wanted, after, shortly=self._reader.holds_up_writers)

            return self._reader.ask(("captures", wanted, after), question, _SHORT_S)

        answer = look(after)
        for _ in range(_LOOKS if self._reader.holds_up_writers else 0):
            found = answer.value
            if not found.stopped or found.next is None:
                break
            machine().sleep(_BETWEEN_S)
            further = look(found.next)
            answer = further._replace(value=live_captures.onward(found, further.value))
        return answer

    def capture(self, request: Request) -> Response:
        """All that is known of a capture."""
        key = _number(request, "key")

        def question(connection: live.Reading) -> History | None:
            name = live_captures.name_of(connection, key)
            facts = facts_of(connection, name) if name is not None else None
            if name is None or facts is None:
                return None
            return History(facts, images_of(connection, name), events_of(connection, name))

        answer = self._reader.ask(("capture", key), question, _SHORT_S)
        if answer.value is None:
            raise HTTPException(404)
        facts = answer.value.facts
        address = facts.subject_url if (facts.subject_url or "").startswith(("https://", "http://")) else None
        return self._page(
            request,
            "capture",
            facts.capture_id,
            answer,
            key=key,
            facts=facts,
            images=answer.value.images,
            events=answer.value.events,
            been={facts.state, *(event.target for event in answer.value.events)},
            states=STATES,
            address=address,
            part_of="/captures",
        )

    def thumbnail(self, request: Request) -> Response:
        """A small picture of an image."""
        key, rank = _number(request, "key"), _number(request, "rank")
        place = self._reader.ask(
            ("image", key, rank), lambda connection: live_captures.place_of_image(connection, key, rank)
        ).value
        found = self._thumbnails.of(place)
        return Response(found.data, media_type=found.mime)

    def sql(self, request: Request) -> Response:
        """An answer to a question in SQL."""
        question = request.query_params.get("q", "").strip()
        asked = self._questions.ask(question) if question else None
        csv = "/sql.csv?" + urlencode({"q": question})
        return self._page(
            request, "sql", "SQL", None, question=question, asked=asked, csv=csv, limits=self._questions.limits
        )

    def csv(self, request: Request) -> Response:
        """The same as a file."""
        return self._questions.file(request.query_params.get("q", ""))

    # -- what they share -----------------------------------------------------------------------------------

    def _picture(self) -> Answer[Picture]:
        def question(connection: live.Reading) -> Picture:
            return self._watcher.look(connection, _ENDED_RUNS)

        return self._reader.ask("picture", question, keeps=KEEPS_S)

    def _page(self, request: Request, name: str, title: str, answer: Answer[Any] | None, **facts: Any) -> Response:
        shown = {
            "title": title,
            "name": self._ledger.name,
            "navigation": NAVIGATION,
            "part_of": request.scope["path"],
            # htmx asks for what changes, and puts it into the page that is there.
            "layout": "live/part.html" if "hx-request" in request.headers else "live/page.html",
            "address": None,
            "path": request.scope["path"],
            "refreshed": name in _REFRESHED,
            "old": answer.age if answer is not None else 0.0,
            "trouble": answer.trouble if answer is not None else None,
            "age": age,
            "lasting": lasting,
            "rate": rate,
            **facts,
        }
        if answer is None or answer.trouble is not None or name not in _REFRESHED:
            return HTMLResponse(pages.render(f"live/{name}.html", **shown))
        # Ten tabs that look again are ten requests, and one page: to make it takes longer than to read for it.
        layout = str(shown["layout"])
        at, value, page = self._made.get((name, layout), (-EVERY_S, None, ""))
        now = machine().monotonic()
        if value is not answer.value or now - at >= EVERY_S:
            page = pages.render(f"live/{name}.html", **shown)
            self._made[name, layout] = (now, answer.value, page)
        return HTMLResponse(page)

    async def _not_found(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        words = "There is no such page, run or capture here." if status == 404 else "That cannot be shown."
        reply = self._page(request, "trouble", "Not found", None, words=words)
        reply.status_code = status
        return reply

    async def _in_trouble(self, request: Request, error: Exception) -> Response:
        reply = self._page(request, "trouble", "The ledger cannot be read", None, words=str(error))
        reply.status_code = 503 if isinstance(error, LedgerError) else 500
        return reply


def _number(request: Request, name: str) -> int:
    """Return a number of the address; what is none, or too long for one, is not found."""
    found = whole_number(request.path_params[name])
    if found is None:
        raise HTTPException(404)
    return found


def _static(request: Request) -> Response:
    found = static_file(request.path_params["name"])
    if found is None:
        raise HTTPException(404)
    return Response(found.data, media_type=found.mime)
