"""Failures to order: which requests go wrong, and how.

A plan is a JSON object::

    {
      "seed": 7,
      "latency_ms": {"create subject": 45, "*": 2},
      "rules": [
        {"route": "create subject", "kind": "status_after", "status": 504, "probability": 0.04},
        {"route": "put image", "kind": "reset_before", "nth": [3, 8]},
        {"route": "PUT /api/subjects/*", "kind": "hang", "seconds": 30, "count": 1},
        {"route": "*", "kind": "status_before", "status": 503, "from_second": 10, "for_seconds": 5}
      ]
    }

`latency_ms` delays every request of a route by that much (`"*"`: of all others); delays of different requests
overlap. Each rule has:

`route`
    A route's name (`GET /sandbox/requests` shows those in use: "create subject", "put image", "link subjects",
    "list subjects", "show subject", "sign in", "token", "me", "find set", "create set", ...), or a method and a
    path with wildcards ("PUT /api/subjects/*", "* /oauth/*"), or "*".
`kind`
    - `latency`: `ms` (100) more before the work is done.
    - `status_before`: answer `status` (503) without doing the work.
    - `status_after`: do the work, then answer `status` (504).
    - `reset_before`, `reset_after`: drop the connection without a reply, before or after the work.
    - `truncated`: do the work, then send half of the reply; `how` is "short" (the connection ends before the
      declared length; the default) or "cut" (a complete reply whose JSON ends in the middle).
    - `expired_token`: the request's token has expired, and stays so.
    - `unknown_token`: the server no longer knows the request's token: the request is anonymous.
    - `hang`: say nothing for `seconds` (60), then drop the connection; the work is not done
      (with `work: true` it is done first).
    - `retry_after`: answer `status` (429) with `Retry-After: seconds` (1) without doing the work.
    - `outage`: like `status_before` with 503, for a window of time or of requests.
`probability`
    Of the requests it could strike, the share it does (1.0).
`nth`
    Only the n-th matching request, or a list of such numbers; counted from 1 since the plan was put in place.
`from_request`, `for_requests`
    Only from the n-th matching request on (1), and only for so many.
`from_second`, `for_seconds`
    Only from that many seconds after the plan was put in place (0), and only for so long. This alone looks at the
    clock: everything else is decided by the seed and by each rule's own count of matching requests.
`count`
    Stop after it has struck that often.
`proxies_html`
    The body of a status is a proxy's HTML page (true), or an error in JSON (false).

Of several rules that strike the same request, delays add up and of the others the first counts.
"""

import hashlib
import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ctstate.errors import InputError

KINDS: dict[str, tuple[str, ...]] = {
    "latency": ("ms",),
    "status_before": ("status",),
    "status_after": ("status",),
    "reset_before": (),
    "reset_after": (),
    "truncated": ("how",),
    "expired_token": (),
    "unknown_token": (),
    "hang": ("seconds", "work"),
    "retry_after": ("status", "seconds"),
    "outage": ("status",),
}
"""Kinds, with the keys that only they have."""

_COMMON = (
    "route",
    "kind",
    "probability",
    "nth",
    "from_request",
    "for_requests",
    "from_second",
    "for_seconds",
    "count",
    "proxies_html",
)
_STATUS = {"status_before": 503, "status_after": 504, "retry_after": 429, "outage": 503}


@dataclass
class Rule:
    """One rule of a plan, with how often it matched and struck."""

    kind: str
    route: str = "*"
    probability: float = 1.0
    nth: tuple[int, ...] = ()
    from_request: int = 1
    for_requests: int | None = None
    from_second: float = 0.0
    for_seconds: float | None = None
    count: int | None = None
    proxies_html: bool = True
    status: int = 503
    ms: float = 100.0
    seconds: float = 60.0
    how: str = "short"
    work: bool = False
    matched: int = 0
    struck: int = 0

    def matches(self, name: str, method: str, path: str) -> bool:
        """Whether the rule is about such a request."""
        if self.route in ("*", name):
            return True
        verb, space, pattern = self.route.partition(" ")
        if not space or not pattern.startswith("/"):
            return False
        return verb in ("*", method) and fnmatchcase(path, pattern)


@dataclass
class Verdict:
    """What is to go wrong with one request."""

    delay: float = 0.0
    slowed: bool = False
    token: Rule | None = None
    before: Rule | None = None
    after: Rule | None = None


NOTHING = Verdict()


@dataclass
class Plan:
    """A plan in force; see the module's text for its JSON form."""

    seed: int = 0
    latency: dict[str, float] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def parse(cls, given: Any) -> "Plan":
        """A plan from its JSON form.

        Raises:
            InputError: it is no such thing; says what is wrong where.
        """
        given = _object(given, "the fault plan")
        _known(given, ("seed", "latency_ms", "rules"), "the fault plan")
        seed = given.get("seed", 0)
        if not isinstance(seed, int):
            raise InputError("fault plan: seed must be a whole number")
        latency = _object(given.get("latency_ms", {}), "latency_ms")
        rules = given.get("rules", [])
        if not isinstance(rules, list):
            raise InputError("fault plan: rules must be a list")
        return cls(
            seed,
            {name: _positive(ms, f"latency_ms of {name!r}") / 1000 for name, ms in latency.items()},
            [_rule(rule, number) for number, rule in enumerate(rules, start=1)],
            given,
        )

    def decide(self, name: str, method: str, path: str) -> Verdict:
        """What goes wrong with this request; every call counts it."""
        if not self.rules and not self.latency:
            return NOTHING
        verdict = Verdict(self.latency.get(name, self.latency.get("*", 0.0)))
        for number, rule in enumerate(self.rules):
            if not rule.matches(name, method, path):
                continue
            rule.matched += 1
            if not self._strikes(number, rule) or not _takes(verdict, rule):
                continue
            rule.struck += 1
        return verdict

    def _strikes(self, number: int, rule: Rule) -> bool:
        n = rule.matched
        if rule.nth and n not in rule.nth:
            return False
        if n < rule.from_request or (rule.for_requests is not None and n >= rule.from_request + rule.for_requests):
            return False
        if rule.count is not None and rule.struck >= rule.count:
            return False
        if rule.from_second or rule.for_seconds is not None:
            since = time.monotonic() - self.began - rule.from_second
            if since < 0 or (rule.for_seconds is not None and since >= rule.for_seconds):
                return False
        return rule.probability >= 1.0 or self._dice(number, n) < rule.probability

    def _dice(self, rule: int, n: int) -> float:
        digest = hashlib.blake2b(f"{self.seed}/{rule}/{n}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") / 2**64

    def struck(self) -> list[dict[str, Any]]:
        """How often each rule matched and struck."""
        return [{"route": r.route, "kind": r.kind, "matched": r.matched, "struck": r.struck} for r in self.rules]


def _takes(verdict: Verdict, rule: Rule) -> bool:
    """Put the rule into the verdict, if its place is free."""
    kind = rule.kind
    if kind == "latency":
        verdict.delay += rule.ms / 1000
        verdict.slowed = True
    elif kind in ("expired_token", "unknown_token"):
        if verdict.token:
            return False
        verdict.token = rule
    elif verdict.before or verdict.after:
        return False
    elif kind in ("status_after", "reset_after", "truncated") or rule.work:
        verdict.after = rule
    else:
        verdict.before = rule
    return True


def _rule(given: Any, number: int) -> Rule:
    where = f"rule {number}"
    given = _object(given, where)
    kind = given.get("kind")
    if kind not in KINDS:
        raise InputError(f"fault plan: {where}: kind must be one of {', '.join(KINDS)}, not {kind!r}")
    _known(given, _COMMON + KINDS[kind], where)
    values: dict[str, Any] = {"status": _STATUS.get(kind, 503)}
    if kind == "retry_after":
        values["seconds"] = 1.0
    for name, value in given.items():
        if name in ("route", "kind", "how"):
            if not isinstance(value, str):
                raise InputError(f"fault plan: {where}: {name} must be text")
            values[name] = value
        elif name in ("proxies_html", "work"):
            if not isinstance(value, bool):
                raise InputError(f"fault plan: {where}: {name} must be true or false")
            values[name] = value
        elif name == "nth":
            values[name] = tuple(
                int(_positive(n, f"{where}: nth")) for n in (value if isinstance(value, list) else [value])
            )
        elif name in ("status", "count", "from_request", "for_requests"):
            values[name] = int(_positive(value, f"{where}: {name}"))
        else:
            values[name] = _positive(value, f"{where}: {name}")
    if values.get("how", "short") not in ("short", "cut"):
        raise InputError(f"fault plan: {where}: how must be 'short' or 'cut'")
    if not 200 <= values["status"] <= 599:
        raise InputError(f"fault plan: {where}: {values['status']} is no status to answer with")
    return Rule(**values)


def _object(given: Any, what: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise InputError(f"fault plan: {what} must be a JSON object")
    return given


def _known(given: dict[str, Any], names: tuple[str, ...], where: str) -> None:
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise InputError(f"fault plan: {where}: unknown {', '.join(unknown)}; known are {', '.join(names)}")


def _positive(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise InputError(f"fault plan: {what} must be a number, not {value!r}")
    return float(value)
