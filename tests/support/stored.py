"""Sessions that are in the store before anybody attaches."""

from collections.abc import Sequence
from pathlib import Path

from backchat import ops
from backchat.names import OWNER
from backchat.sessions import new_log
from backchat.store.base import SessionInfo, first_commit
from backchat.store.sqlite import Database
from backchat.transcript import Added, Cause, Created
from tests.support.views import AT


def put(data: Path, session_id: str, added: Sequence[Added], head: int) -> None:
    """Puts a session into a data directory, as an import does, also one that a server uses."""
    outcome = ops.create(Created(), added, head)
    info = SessionInfo(id=session_id, owner=OWNER, log=new_log(), created_at=AT)
    with Database(data) as database:
        assert database.write([first_commit(info, outcome.events, AT, Cause())]) == [None]
