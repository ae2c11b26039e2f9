"""What can go wrong, one class for each situation.

`name` is the stable name that a client sees as `data.code` (DESIGN section 4), `number` the JSON-RPC error code,
`status` the HTTP status, `close` the WebSocket close code where the situation ends or refuses a connection. Turning
an error into a frame or a response happens in one place each: `frames.error_reply` and `api.error_response`.
"""

import math
from typing import Any, ClassVar, Final

MOST_SHOWN: Final = 40
"""How many characters of what a client made up an error repeats."""


class BackchatError(Exception):
    """Base of every error that a person or a client is told about. `str()` of it is a sentence for a person."""

    name: ClassVar[str]
    number: ClassVar[int] = -32000
    status: ClassVar[int] = 409
    close: ClassVar[int] = 1011

    def __init__(self, message: str, **data: Any) -> None:
        super().__init__(message)
        self.data: dict[str, Any] = {"code": self.name, **data}


# What a client sent is wrong.


class ParseError(BackchatError):
    """Not JSON, or nested too deeply to be read."""

    name = "parse_error"
    number = -32700
    status = 400


class InvalidRequest(BackchatError):
    """JSON, but no request."""

    name = "invalid_request"
    number = -32600
    status = 400


class UnknownMethod(BackchatError):
    """A request for a method that there is not."""

    name = "unknown_method"
    number = -32601
    status = 404


class InvalidParams(BackchatError):
    """Parameters that are missing, unknown, of the wrong type or out of range."""

    name = "invalid_params"
    number = -32602
    status = 400
    close = 4400


class TooLarge(BackchatError):
    """More than the limit lets through."""

    name = "too_large"
    status = 413


class TimedOut(BackchatError):
    """A request that took longer to arrive than the server waits, or never arrived whole."""

    name = "timed_out"
    status = 408


class UnknownCommand(BackchatError):
    """A slash line whose name is not in the command table. `nearest`: names that look like it, best first."""

    name = "unknown_command"
    status = 400

    def __init__(self, command: str, nearest: list[str]) -> None:
        command = command if len(command) <= MOST_SHOWN else command[:MOST_SHOWN] + "…"
        hint = f" Did you mean /{nearest[0]}?" if nearest else " /help lists the commands."
        super().__init__(f"There is no command /{command}.{hint}", nearest=nearest)


class BadArgument(BackchatError):
    """A command with an argument that it cannot take. `usage` is the command's usage line."""

    name = "bad_argument"
    status = 400

    def __init__(self, problem: str, usage: str) -> None:
        super().__init__(f"{problem} Usage: {usage}", usage=usage)


# Fine as such, but not now.


class NothingToRetry(BackchatError):
    """The transcript has no user message."""

    name = "nothing_to_retry"

    def __init__(self) -> None:
        super().__init__("No previous message to retry.")


class NothingToUndo(BackchatError):
    """The transcript has no user message."""

    name = "nothing_to_undo"

    def __init__(self) -> None:
        super().__init__("Nothing to undo.")


class NothingToRedo(BackchatError):
    """Nothing has been taken off that is not back, or a message has been submitted since."""

    name = "nothing_to_redo"

    def __init__(self) -> None:
        super().__init__("Nothing to redo.")


class NothingToEdit(BackchatError):
    """The transcript has no user message."""

    name = "nothing_to_edit"

    def __init__(self) -> None:
        super().__init__("No message to edit.")


class NothingToBranch(BackchatError):
    """The transcript is empty."""

    name = "nothing_to_branch"

    def __init__(self) -> None:
        super().__init__("Nothing is on screen to branch from; /new begins an empty session.")


class NotEditable(BackchatError):
    """A message that no person wrote."""

    name = "not_editable"

    def __init__(self, message: int) -> None:
        super().__init__(f"Message {message:,} is not a person's; only those can be edited.")


class NoSuchMessage(BackchatError):
    """No message of the session has this id. `before_text`: a free text could have followed."""

    name = "no_such_message"
    status = 404

    def __init__(self, message: int, *, before_text: bool = False) -> None:
        hint = " Put -- before a text that begins with a number." if before_text else ""
        super().__init__(f"There is no message {message:,} in this session.{hint}")


class NoSuchTurn(BackchatError):
    """The transcript has fewer turns than this. `turns`: how many."""

    name = "no_such_turn"
    status = 404

    def __init__(self, turn: int, turns: int) -> None:
        there = "there are none" if turns == 0 else f"there {'is' if turns == 1 else 'are'} {turns:,}"
        super().__init__(f"The transcript has no turn {turn:,}; {there}.", turns=turns)


class NoSuchVariant(BackchatError):
    """A message has no such variant, or the last turn none before or after the one on screen."""

    name = "no_such_variant"
    status = 404


class NoSuchRevision(BackchatError):
    """The session is not at this revision yet. `revision` is the current one."""

    name = "no_such_revision"
    status = 404

    def __init__(self, asked: int, revision: int) -> None:
        super().__init__(f"There is no revision {asked:,} yet; the last is {revision:,}.", revision=revision)


class QueueFull(BackchatError):
    """A message came while a reply is being written, and as many as may wait are waiting already."""

    name = "queue_full"

    def __init__(self, most: int) -> None:
        waiting = "No message" if most == 0 else f"No more than {most:,} {'message' if most == 1 else 'messages'}"
        super().__init__(f"{waiting} can wait for a reply to end. Send this when it is done, or /stop it first.")


class NotQueued(BackchatError):
    """No message with this number waits, or none at all."""

    name = "not_queued"

    def __init__(self, number: int | None = None) -> None:
        super().__init__("No message is waiting." if number is None else f"No message {number:,} is waiting.")


class NoSuchPersonality(BackchatError):
    """A personality that the server has no prompt for. `names` are those it has."""

    name = "no_such_personality"
    status = 404

    def __init__(self, personality: str, names: list[str]) -> None:
        personality = personality if len(personality) <= MOST_SHOWN else personality[:MOST_SHOWN] + "…"
        there = f"There are: {', '.join(names)}." if names else "The server has none; --prompts names their directory."
        super().__init__(f"There is no personality {personality}. {there}", names=names)


class StaleRevision(BackchatError):
    """The transcript has changed since the revision that the client named. `revision` is the current one."""

    name = "stale_revision"

    def __init__(self, revision: int) -> None:
        super().__init__("The transcript has changed since; look again before you repeat this.", revision=revision)


class OpIdReused(BackchatError):
    """An `op_id` that this session has already seen with another text or content."""

    name = "op_id_reused"

    def __init__(self) -> None:
        super().__init__("This op_id was used before, with another text.")


# Sessions.


class NoSuchSession(BackchatError):
    """No session has this id, or it is no session id at all."""

    name = "no_such_session"
    status = 404
    close = 4404

    def __init__(self) -> None:
        super().__init__("There is no such session.")


class SessionDeleted(BackchatError):
    """The session was deleted."""

    name = "session_deleted"
    status = 410
    close = 4410

    def __init__(self) -> None:
        super().__init__("This session was deleted.")


class SessionExists(BackchatError):
    """An id that is taken, by a session or by one that was deleted: an id is never used twice."""

    name = "session_exists"


class SessionUnreadable(BackchatError):
    """The log of a session holds what this program does not understand, so it is left alone."""

    name = "session_unreadable"
    status = 500


# Who may come in (DESIGN section 7).


class Unauthorized(BackchatError):
    """No token, or the wrong one."""

    name = "unauthorized"
    status = 401
    close = 4401

    def __init__(self) -> None:
        super().__init__("This server wants its access token.")


class BadUserName(BackchatError):
    """A name that no user can have."""

    name = "bad_user_name"
    status = 400

    def __init__(self, user: str) -> None:
        super().__init__(
            "A user's name is made of a-z, 0-9, . _ and -, begins with a letter or a digit, and has at most 40"
            f" characters; {user[:MOST_SHOWN]!r} is none."
        )


class UserExists(BackchatError):
    """A user who has a token already."""

    name = "user_exists"

    def __init__(self, user: str) -> None:
        super().__init__(
            f"{user} has a token already. `backchat token remove {user}` takes it away; the sessions stay."
        )


class NoSuchUser(BackchatError):
    """A name that nobody has a token under."""

    name = "no_such_user"
    status = 404

    def __init__(self, user: str) -> None:
        super().__init__(f"Nobody has a token as {user[:MOST_SHOWN]!r}. `backchat token list` names those who have.")


class Forbidden(BackchatError):
    """A Host or an Origin that this server does not answer to, or something that is not for this user."""

    name = "forbidden"
    status = 403


# The server's own trouble.


class StorageFailed(BackchatError):
    """The store failed. What was asked for has not happened, unless `unknown`: then nobody can say before the store
    works again, and only a repetition under the same op_id is safe."""

    name = "storage_failed"
    status = 503

    def __init__(self, *, unknown: bool = False) -> None:
        super().__init__(
            "The server cannot reach its storage; whether this was done is not known."
            if unknown
            else "This could not be stored, so it was not done. Try again."
        )


# Too much of it (DESIGN section 7).


class RateLimited(BackchatError):
    """More commands than one address may send. `retry_after`: in how many seconds the next one is taken."""

    name = "rate_limited"
    status = 429
    close = 1013

    def __init__(self, seconds: float) -> None:
        whole = math.ceil(seconds)
        super().__init__(
            f"That was too much at once. Try again in {whole} {'second' if whole == 1 else 'seconds'}.",
            retry_after=round(seconds, 3),
        )


class TooManyConnections(BackchatError):
    """More WebSockets than one address may have. `retry_after`: in how many seconds it may be worth another try."""

    name = "too_many_connections"
    status = 429
    close = 1013

    def __init__(self, seconds: float) -> None:
        super().__init__("There are too many connections from this address.", retry_after=seconds)


class BackendFailed(BackchatError):
    """What generates replies could not give one."""

    name = "backend_failed"
    status = 502


class DataDirectoryError(BackchatError):
    """The data directory cannot be used: taken, unwritable, or not one of ours."""

    name = "data_directory"
    status = 500


class BackupFailed(BackchatError):
    """A backup that cannot be written, or that would overwrite something."""

    name = "backup_failed"
    status = 500


class SettingError(BackchatError):
    """A setting that makes no sense, or that would be unsafe."""

    name = "bad_setting"
    status = 500
