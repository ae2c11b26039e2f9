"""What a store is: the durable side of every session."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from backchat.transcript import Added, Cause, Created, Event, State, Step, Tree
from backchat.views import Decided


class SessionInfo(Struct, frozen=True, kw_only=True):
    """What never changes about a session. `log` names this very log, so that a client of another one is not
    resumed."""

    id: str
    owner: str
    log: str
    created_at: float


class Checkpoint(Struct, frozen=True):
    """What a run had written when it was last looked at, and which model wrote it; there only if the run never
    ended."""

    run_id: str
    text: str
    reasoning: str = ""
    model: str | None = None


class OpRecord(Struct, frozen=True, kw_only=True):
    """What answers a retransmission: the op_id, a hash of the text or content it came with, the reply (JSON).

    One of the same op_id that is from `forgotten` (seconds since the epoch) or before gives way to it.
    """

    op_id: str
    body_hash: bytes
    reply: bytes
    forgotten: float = 0.0


class KnownOp(Struct, frozen=True):
    """What is held in memory of an OpRecord; `at` is when it was decided, in seconds since the epoch."""

    body_hash: bytes
    at: float


class Listed(Struct, frozen=True, kw_only=True):
    """What a list of sessions shows without loading them: repeated from the state, never read back into it."""

    title: str | None
    model: str | None
    workspace: str | None
    personality: str | None


class Commit(Struct, frozen=True, kw_only=True):
    """What is committed together, or not at all: one outcome of one session.

    `create` and `listed` come with a session's first event, `listed` also when any of it changes; `record` belongs to
    the last event; `ended_run` drops that run's checkpoint, `started_run` is the first of the next; `deleted_at`
    deletes the session, `restores` brings it back; `opens` is the first commit of another session, which this one
    asks for.
    """

    session_id: str
    events: tuple[Event, ...] = ()
    added: tuple[Added, ...] = ()
    create: SessionInfo | None = None
    listed: Listed | None = None
    record: OpRecord | None = None
    ended_run: str | None = None
    started_run: Checkpoint | None = None
    deleted_at: float | None = None
    restores: bool = False
    opens: "Commit | None" = None


class Epochs(Struct, frozen=True):
    """The epochs that a database has been through: each time that a server serves it is one, with a random id, so that
    what happened after a copy was made can be told from what happened to the copy. By id, the numbers that events are
    marked with, from 1; 0 is what happened before any epoch, or in an import."""

    numbers: Mapping[str, int]
    current: str


class Loaded(Struct, frozen=True, kw_only=True):
    """A whole session as the store has it: its messages, the steps of its log, what is known of each op_id that is
    remembered, oldest first, and `(epoch, last revision)` for each epoch that the session has events of."""

    info: SessionInfo
    tree: Tree
    history: list[Step]
    ops: dict[str, KnownOp]
    epochs: list[tuple[int, int]]
    checkpoint: Checkpoint | None


class User(Struct, frozen=True, kw_only=True):
    """Somebody who has a token; `key` is what is known of it (see users.py)."""

    name: str
    key: bytes
    created_at: float


class Summary(Struct, frozen=True, kw_only=True):
    """A session in a list."""

    session_id: str
    title: str | None
    model: str | None
    workspace: str | None
    personality: str | None
    message_count: int
    created_at: float
    updated_at: float


class Match(Struct, frozen=True, kw_only=True):
    """What was found of a message: its id, and the piece of its text around it, on one line."""

    message_id: int
    before: str
    match: str
    after: str


class Found(Struct, frozen=True):
    """A session that was looked for; `match` is None where only its title has what was."""

    summary: Summary
    match: Match | None


Place = tuple[float, str]
"""Where a list goes on: the `updated_at` and the id of the last session seen."""

Done = Callable[[Exception | None], None]
"""Called on the event loop once a commit is durable (None), or has failed."""


def listed(state: State) -> Listed:
    """What a list shows of a session in this state."""
    return Listed(title=state.title, model=state.model, workspace=state.workspace, personality=state.personality)


def first_commit(info: SessionInfo, events: Sequence[Decided], at: float, cause: Cause) -> Commit:
    """The commit that makes a session of its first events. The first is `Created`, and says already whatever the others
    choose: so nothing has to be folded to list it."""
    created = events[0].body
    assert isinstance(created, Created)
    return Commit(
        session_id=info.id,
        events=tuple(
            Event(revision, at, decided.head, decided.body, cause) for revision, decided in enumerate(events, start=1)
        ),
        added=tuple(added for decided in events for added in decided.added),
        create=info,
        listed=Listed(
            title=created.title,
            model=created.model,
            workspace=created.workspace,
            personality=created.personality,
        ),
    )


class Store(Protocol):
    """All methods are called on the event loop."""

    epochs: Epochs

    def commit(self, commit: Commit, done: Done) -> None:
        """Enqueues a commit. `done` is called exactly once, in the order of the calls of `commit`.

        When a commit fails, later commits of the same session fail with it, up to those enqueued by then.
        """

    def checkpoint(self, session_id: str, checkpoint: Checkpoint) -> None:
        """Enqueues a run's text so far. Best effort: nobody is told."""

    async def load(self, session_id: str, forgotten: float, *, deleted: bool = False) -> Loaded:
        """The session (with `deleted` also one that is), without op records from `forgotten` (seconds since the epoch)
        and before. Raises NoSuchSession, SessionDeleted, SessionUnreadable, StorageFailed."""

    async def owner(self, session_id: str) -> str | None:
        """Who owns the session, be it deleted; None where the id is free. Raises StorageFailed."""

    async def users(self) -> list[User]:
        """All who have a token, by name. Raises StorageFailed."""

    async def add_user(self, user: User) -> None:
        """Gives somebody who has none a token. Raises UserExists, StorageFailed."""

    async def reply(self, session_id: str, op_id: str) -> bytes | None:
        """The reply recorded for an op_id that `load` listed; None once it has been pruned. Raises StorageFailed."""

    async def sessions(self, owner: str, after: Place | None, limit: int) -> list[Summary]:
        """Sessions that are not deleted, last updated first, beyond `after`. Raises StorageFailed."""

    async def summaries(self, owner: str, ids: Sequence[str]) -> list[Summary]:
        """Those of these sessions that are not deleted, in any order. Raises StorageFailed."""

    async def search(self, owner: str, query: str, limit: int) -> list[Found]:
        """Sessions that are not deleted whose title or one of whose messages has all words of the query, the last as
        the beginning of a word; last updated first. All sessions where the query is white space. Raises
        StorageFailed."""

    async def prune(self, forgotten: float) -> bool:
        """Drops a bounded number of op records from `forgotten` (seconds since the epoch) and before; their op_ids
        stay in the log. Whether there may be more. Raises StorageFailed."""

    async def probe(self) -> None:
        """Returns once something that changes nothing has been written. Raises StorageFailed."""

    async def close(self) -> None:
        """Returns once everything enqueued is done."""
