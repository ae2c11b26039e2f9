"""Users and their tokens: who comes in as whom (DESIGN section 7).

A token is 256 random bits, and whoever holds it is its user. It is kept nowhere. What stands for it in a browser is the
cookie, from which the token cannot be made; what the store has is a key, from which neither can.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from backchat.errors import StorageFailed, Unauthorized
from backchat.names import OWNER
from backchat.store.base import Store, User

LOOK_SECONDS: Final = 1.0
"""How often the store is asked whether a token was added or removed: `backchat token` may run beside a server."""

Closed = Callable[[Unauthorized], None]
"""Ends what somebody has open."""


def new_token() -> str:
    """A token that nobody has."""
    return secrets.token_urlsafe(32)


def cookie_of(token: str) -> str:
    """What the cookie of somebody with this token holds: proof of the token, not the token."""
    return hashlib.sha256(f"backchat cookie {token}".encode()).hexdigest()


def key_of(cookie: str) -> bytes:
    """What is known of a token: enough to tell it or its cookie, and of no use to whoever reads it."""
    return hashlib.sha256(f"backchat key {cookie}".encode()).digest()


class Admission(Struct, frozen=True):
    """Somebody who may come in: as whom, and by which key; None where nobody needs a token."""

    owner: str
    key: bytes | None


class Users:
    """Who may come in. `users` are those of the store by now; `token` is that of the operator, whose sessions are those
    of `local`. Without `closed`, nobody needs a token as long as there is none."""

    def __init__(
        self, store: Store, users: Iterable[User], *, token: str | None, closed: bool, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._clock = clock
        self._fixed = {} if token is None else {key_of(cookie_of(token)): OWNER}
        self._closed = closed
        self._owners: dict[bytes, str] = {}
        self._present: dict[Closed, bytes | None] = {}
        self._looking: asyncio.Task[None] | None = None
        self._code: str | None = None
        self._take(users)

    @property
    def number(self) -> int:
        """How many have a token, but for the operator."""
        return len(self._owners) - len(self._fixed)

    @property
    def nobody(self) -> bool:
        """Whether there is no token with which anybody could come in."""
        return not self._owners

    @property
    def open(self) -> bool:
        """Whether everybody may come in, as `local`."""
        return self.nobody and not self._closed

    def invite(self) -> str:
        """A code with which one person can sign in, once, as `local`: for a server that nobody has a token for."""
        self._code = secrets.token_urlsafe(32)
        return self._code

    async def admit(self, cookies: Iterable[str]) -> Admission:
        """As whom somebody comes in who has shown these. Raises Unauthorized, StorageFailed."""
        keys = [key_of(cookie) for cookie in cookies]
        if keys and not any(key in self._owners for key in keys):
            # It may have been made just now: by the first user of all, who must not be taken for `local`.
            await self.look()
        for key in keys:
            if key in self._owners:
                return Admission(self._owners[key], key)
        if not self.open:
            raise Unauthorized
        return Admission(OWNER, None)

    async def sign_in(self, secret: str) -> str:
        """The cookie for a token, or for the code of an invitation. Raises Unauthorized, StorageFailed."""
        if self._code is not None and hmac.compare_digest(secret.encode(), self._code.encode()):
            return await self._redeem()
        if self.open:
            raise Unauthorized
        cookie = cookie_of(secret)
        await self.admit([cookie])
        return cookie

    async def look(self) -> None:
        """Asks the store who has a token by now; whoever came in with one that is gone is sent away. Raises
        StorageFailed."""
        # All that ask meanwhile share one look, however many try tokens.
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())
        await asyncio.shield(self._looking)

    def enter(self, admission: Admission, closed: Closed) -> None:
        """From now on `closed` is called, once, should the admission come to nothing."""
        self._present[closed] = admission.key

    def leave(self, closed: Closed) -> None:
        """The opposite of `enter`."""
        self._present.pop(closed, None)

    async def _look(self) -> None:
        try:
            self._take(await self._store.users())
        finally:
            self._looking = None

    def _take(self, users: Iterable[User]) -> None:
        self._owners = self._fixed | {user.key: user.name for user in users}
        for closed, key in list(self._present.items()):
            if not (self.open if key is None else key in self._owners):
                del self._present[closed]
                closed(Unauthorized())

    async def _redeem(self) -> str:
        # No await between the comparison and this: it works once.
        code, self._code = self._code, None
        cookie = cookie_of(new_token())
        try:
            await self._store.add_user(User(name=OWNER, key=key_of(cookie), created_at=self._clock()))
        except StorageFailed:
            self._code = code
            raise
        await self.look()
        return cookie
