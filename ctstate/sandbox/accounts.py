"""Who is asking: accounts, browser sessions, and OAuth tokens (API notes, sections 1 and 2)."""

import hashlib
import hmac
from dataclasses import dataclass

from ctstate.sandbox.model import Token, User
from ctstate.sandbox.settings import SandboxSettings
from ctstate.sandbox.store import Store
from ctstate.sandbox.surroundings import now, random_hex

CLIENT_IDS = {
    "ce310d45f951de68c4cc8ef46ca38cc0a008f607a2026680295757bfef99f43c",
    "e094b63362fdef0548e0bbcc6e6cb5996c422d3a770074ef972432d57d41049c",
}
"""The OAuth client ids of the official Python client (production and staging), which are public."""


@dataclass(frozen=True)
class Identity:
    """Who a request comes from. A dead token still names its user, but does not open every door."""

    user: User | None
    dead: bool = False


NOBODY = Identity(None)


class Accounts:
    """All accounts with their sessions and tokens.

    Args:
        store: where they are kept.
        settings: how long tokens live.
        secret: what signs the CSRF tokens.
    """

    def __init__(self, store: Store, settings: SandboxSettings, secret: bytes) -> None:
        self._store = store
        self._settings = settings
        self._secret = secret
        self.users: dict[int, User] = {}
        for row in store.rows("users"):
            row["banned"] = bool(row["banned"])
            self.users[row["id"]] = User(**row)
        self._tokens: dict[str, Token] = {}
        self._refresh: dict[str, Token] = {}
        for row in store.rows("tokens"):
            row["revoked"] = bool(row["revoked"])
            self._remember(Token(**row))
        self._sessions: dict[str, int] = {row["cookie"]: row["user"] for row in store.rows("sessions")}

    # -- accounts ---------------------------------------------------------------------------------------------

    def by_login(self, login: str) -> User | None:
        """The account of that name, whatever its case."""
        wanted = login.lower()
        return next((u for u in self.users.values() if u.login.lower() == wanted), None)

    def create(self, login: str, password: str, subject_limit: int) -> User:
        """A new account."""
        user = User(max(self.users, default=0) + 1, login, "", subject_limit, False, now())
        user.password = self._hashed(password)
        self.users[user.id] = user
        self._store.save("users", user)
        return user

    def change(
        self,
        user: User,
        login: str | None = None,
        password: str | None = None,
        subject_limit: int | None = None,
        banned: bool | None = None,
    ) -> None:
        """Change what is given."""
        if login is not None:
            user.login = login
        if password is not None:
            user.password = self._hashed(password)
        if subject_limit is not None:
            user.subject_limit = subject_limit
        if banned is not None:
            user.banned = banned
        self._store.save("users", user)

    def check(self, login: object, password: object) -> User | None:
        """The account, if the password is right."""
        if not isinstance(login, str) or not isinstance(password, str):
            return None
        user = self.by_login(login)
        return user if user and hmac.compare_digest(user.password, self._hashed(password)) else None

    def _hashed(self, password: str) -> str:
        return hmac.new(self._secret, password.encode(), hashlib.sha256).hexdigest()

    # -- sessions ---------------------------------------------------------------------------------------------

    def csrf(self, cookie: str) -> str:
        """The CSRF token that belongs to a session cookie."""
        return hmac.new(self._secret, b"csrf" + cookie.encode(), hashlib.sha256).hexdigest()

    def sign_in(self, user: User) -> str:
        """A signed-in session; its cookie."""
        cookie = random_hex(16)
        self._sessions[cookie] = user.id
        self._store.save("sessions", (cookie, user.id))
        return cookie

    def session_user(self, cookie: str) -> User | None:
        """Who is signed in with that cookie."""
        user = self._sessions.get(cookie)
        return self.users.get(user) if user is not None else None

    # -- tokens -----------------------------------------------------------------------------------------------

    def grant(self, user: User, replaces: str = "") -> Token:
        """A new access token; `replaces` is the one to revoke as soon as the new one is used."""
        moment = now()
        token = Token(
            random_hex(32),
            random_hex(32),
            user.id,
            moment,
            moment + self._settings.token_lifetime,
            replaces,
        )
        self._remember(token)
        self._store.save("tokens", token)
        return token

    def refresh(self, refresh_token: str) -> Token | None:
        """A new token for a refresh token, which stays good until the new one is first used."""
        old = self._refresh.get(refresh_token)
        if old is None or old.revoked:
            return None
        return self.grant(self.users[old.user], replaces=old.access)

    def identify(self, access: str) -> Identity:
        """Who holds that access token. Its first use revokes the one it replaced."""
        token = self._tokens.get(access)
        if token is None:
            return NOBODY
        if token.replaces:
            old = self._tokens.get(token.replaces)
            token.replaces = ""
            changed: list[Token] = [token]
            if old is not None:
                old.revoked = True
                changed.append(old)
            self._store.save("tokens", *changed)
        return Identity(self.users[token.user], token.revoked or token.expires <= now())

    def expire(self, access: str) -> None:
        """Let a token be expired from now on."""
        token = self._tokens.get(access)
        if token is not None:
            token.expires = 0.0
            self._store.save("tokens", token)

    def forget(self, access: str) -> None:
        """Let a token be one the server no longer knows; its refresh token still works."""
        token = self._tokens.pop(access, None)
        if token is not None:
            self._store.remove("tokens", access)
            self._refresh[token.refresh] = token

    def _remember(self, token: Token) -> None:
        self._tokens[token.access] = token
        self._refresh[token.refresh] = token
