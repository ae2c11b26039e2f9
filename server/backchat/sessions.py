"""Sessions at work: lock, op, stage, commit, publish (DESIGN section 2).

    submit -> [ lock: op -> apply to staged -> enqueue ] -> store.commit -> advance published -> hub -> answers

A `Session` is the one live object of its session; registry.py makes sure of that. Only the session takes its lock. The
lock covers deciding, staging and the rare read that deciding needs, never a commit and never a model. Where it is free
and nothing has to be read, what it covers happens between two awaits, and it need not be taken.
"""

import asyncio
import hashlib
import logging
import secrets
from array import array
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any, Final

import msgspec
from msgspec import Struct

from backchat import completion, frames, ops
from backchat.backends.base import Delta, Prompt, Report
from backchat.choices import retitle
from backchat.commands import Invocation, PlainMessage, describe, parse
from backchat.errors import (
    BackchatError,
    NoSuchMessage,
    OpIdReused,
    SessionDeleted,
    StaleRevision,
    StorageFailed,
)
from backchat.frames import (
    Attached,
    CompleteParams,
    Completion,
    MessagesParams,
    Page,
    Reply,
    Result,
    RunDelta,
    RunEnded,
    RunInfo,
    RunReasoning,
    RunStarted,
    SubmitParams,
    Who,
)
from backchat.hub.local import LocalHub, Subscriber
from backchat.logs import tell
from backchat.names import OWNER
from backchat.reports import status_fields
from backchat.store.base import (
    Checkpoint,
    Commit,
    KnownOp,
    Listed,
    OpRecord,
    SessionInfo,
    Store,
    first_commit,
    listed,
)
from backchat.transcript import (
    TAIL_BYTES,
    Cause,
    Created,
    Event,
    Message,
    Replied,
    State,
    Step,
    Tree,
    Usage,
    apply,
    chained,
    path,
    shown,
)
from backchat.views import LiveRun, Offer, Outcome, StartRun, StopRun, View

RESUMABLE: Final = 256
"""How many events back a client can resume; further back it gets a snapshot."""

_log = logging.getLogger("backchat.sessions")

_shown_in_list: Final = attrgetter(*Listed.__struct_fields__)
_event_of: Final = attrgetter("event")
_added_by: Final = attrgetter("added")

Answer = Callable[[Result | BackchatError], None]
"""Takes the reply to one request. Called once, on the event loop, possibly before the request's method returns."""


class _Text:
    """A text that grows; `length` counts its code points."""

    __slots__ = ("_pieces", "length")

    def __init__(self, text: str = "") -> None:
        self._pieces = [text]
        self.length = len(text)

    def __str__(self) -> str:
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def append(self, text: str) -> None:
        self._pieces.append(text)
        self.length += len(text)


class Run:
    """A reply being generated: what is known of it in memory. Once `live` is false nothing it does counts any more."""

    __slots__ = ("cancel", "live", "model", "note", "parent", "reasoning", "run_id", "system", "text", "usage")

    def __init__(self, run_id: str, parent: int, model: str | None, system: str | None) -> None:
        self.run_id = run_id
        self.parent = parent
        self.model = model
        self.system = system
        self.live = True
        self.cancel: Callable[[], object] | None = None
        self.text = _Text()
        self.reasoning = _Text()
        self.usage: Usage | None = None
        self.note: str | None = None

    @classmethod
    def of(cls, start: StartRun) -> "Run":
        """A run that begins."""
        return cls(start.run_id, start.parent, start.model, start.system)

    @classmethod
    def restored(cls, checkpoint: Checkpoint, parent: int) -> "Run":
        """A run that is no more, as far as a checkpoint tells."""
        run = cls(checkpoint.run_id, parent, checkpoint.model, None)
        run.text.append(checkpoint.text)
        run.reasoning.append(checkpoint.reasoning)
        return run

    @property
    def checkpoint(self) -> Checkpoint:
        """What a restart should find."""
        return Checkpoint(self.run_id, str(self.text), str(self.reasoning), self.model)

    @property
    def seen(self) -> LiveRun:
        """The run as ops see it."""
        return LiveRun(self.run_id, self.parent, str(self.text), str(self.reasoning), self.model, self.usage, self.note)

    def detach(self) -> None:
        """Ends the run without waiting for whoever writes it."""
        self.live = False
        if self.cancel is not None:
            self.cancel()


class _Pending(Struct, kw_only=True):
    """An outcome between its decision and its publication, or a read that waits for what it saw to be durable."""

    steps: list[Step] = []
    stopped: tuple[Run, StopRun] | None = None
    started: Run | None = None
    deletes: bool = False
    restores: bool = False
    opened: str | None = None
    interruption: bool = False
    durable: bool
    op_id: str | None = None
    result: Result | BackchatError | Callable[[], Result | BackchatError]
    answers: list[Answer]

    def give(self, result: Result | BackchatError) -> None:
        """Answers everyone who waits for this."""
        for answer in self.answers:
            answer(result)

    def give_result(self) -> None:
        """Answers with what was decided, or is found now."""
        self.give(self.result() if callable(self.result) else self.result)


class Surroundings(Struct, frozen=True, kw_only=True):
    """What a session works with. `ask_models` sees to it that `offer` has heard of new models before long; `changed`
    takes the owner and the id of each session that a list now shows otherwise; `ended` each run that clients are told
    has ended, and why; op records that are `op_id_seconds`
    old are forgotten."""

    store: Store
    hub: LocalHub
    backend: str
    offer: Callable[[], Offer]
    ask_models: Callable[[], None]
    start_run: "Callable[[Session, Run], None]"
    changed: Callable[[str, str], None]
    ended: "Callable[[Session, Run, str], None]"
    settled: "Callable[[Session], None]"
    reload: "Callable[[Session], None]"
    op_id_seconds: float
    clock: Callable[[], float]
    new_id: Callable[[], str]


class Session:
    """One session in memory. It loads itself when it is first used; `owner` is that of one that is new."""

    def __init__(self, session_id: str, around: Surroundings, owner: str = OWNER) -> None:
        self.id = session_id
        self.users = 0
        self._around = around
        self._lock = asyncio.Lock()
        self._loaded = False
        self._deleted = False
        self._info = SessionInfo(id=session_id, owner=owner, log="", created_at=0.0)
        self._tree = Tree()
        self._staged = State()
        self._published = State()
        self._history: deque[Step] = deque(maxlen=RESUMABLE)
        # The head after each staged revision, from 1 on.
        self._heads = array("q")
        self._epochs: list[tuple[int, int]] = []
        # Op records, oldest first; a plain dict would be slow to take the first from, again and again.
        self._ops: OrderedDict[str, KnownOp] = OrderedDict()
        self._forgotten = 0.0
        self._pending: deque[_Pending] = deque()
        # For the next session that is begun from this one.
        self._new_id = around.new_id()
        # The run as the next op sees it, and as the clients do.
        self._run: Run | None = None
        self._shown_run: Run | None = None

    # What others ask of it.

    @property
    def idle(self) -> bool:
        """Whether nobody uses it and nothing is on its way, so that it may leave memory."""
        return not (self.users or self._pending or self._run or self._shown_run)

    @property
    def owner(self) -> str:
        """Whose it is. Precondition: it is loaded, or was, or is new."""
        return self._info.owner

    @property
    def running(self) -> bool:
        """Whether clients see a run."""
        return self._shown_run is not None

    @property
    def busy(self) -> bool:
        """Whether there is a run, for the next command or for the clients."""
        return self._loaded and not (self._run is None and self._shown_run is None)

    @property
    def usable(self) -> bool:
        """Whether it is worth keeping in memory."""
        return self._loaded and not self._deleted

    @property
    def fields(self) -> dict[str, Any]:
        """The published fields of /status, and what was spent: the `session` of `attached`."""
        return frames.session_fields(self.id, self._published, self._around.offer(), self._tree, self.running)

    @property
    def status(self) -> dict[str, Any]:
        """The published fields of /status."""
        count = self._tree[self._published.head].depth
        return status_fields(self.id, self._published, self._around.offer(), count, self.running)

    async def ready(self) -> None:
        """Returns once the session is in memory. Raises NoSuchSession, SessionDeleted, SessionUnreadable,
        StorageFailed."""
        if not self._loaded or self._deleted:
            async with self._lock:
                await self._ensure()

    async def submit(self, params: SubmitParams, who: Who, answer: Answer) -> None:
        """Decides what a person typed, and returns; `answer` is called when the outcome is durable and published.

        Raises nothing that a client did: those are answers too. The caller may be cancelled at any time; what is
        staged by then stays.
        """
        async with self._lock:
            try:
                await self._ensure()
                if params.op_id is None or not await self._repeat(params, params.op_id, answer):
                    self._submit(params, who, answer)
            except BackchatError as error:
                self.refuse(error, answer)

    def submit_now(self, params: SubmitParams, who: Who, answer: Answer) -> bool:
        """Does what `submit` does, if nothing has to be waited for; returns whether it did."""
        if self._lock.locked() or self._deleted or not self._loaded:
            return False
        if params.op_id is not None and self._known(params.op_id) is not None:
            return False
        # The lock is free, and nobody can come in before this returns: it need not be taken.
        try:
            self._submit(params, who, answer)
        except BackchatError as error:
            self.refuse(error, answer)
        return True

    def refuse(self, error: BackchatError, answer: Answer) -> None:
        """Answers with an error, behind everything that was decided before it."""
        if self._loaded:
            self._wait_turn(error, answer)
        else:
            answer(error)

    def page(self, params: MessagesParams, answer: Answer) -> None:
        """Answers with an older page of the transcript."""
        if self._loaded:
            self._wait_turn(lambda: self._page(params), answer)
        else:
            answer(StorageFailed())

    def complete(self, params: CompleteParams, answer: Answer) -> None:
        """Answers with what could stand where something is being typed."""
        answer(completed(params.text, self._published, self._tree, self._around))

    def message(self, number: int) -> Message:
        """A published message, on screen or not. Raises NoSuchMessage, StorageFailed."""
        if not self._loaded:
            raise StorageFailed
        node = self._tree.get(number) if 0 < number <= self._published.last_message else None
        if node is None:
            raise NoSuchMessage(number)
        return node.message

    def live_text(self, run_id: str) -> str | None:
        """What the run that clients see has written so far; None where it is not this one."""
        run = self._shown_run
        return str(run.text) if run is not None and run.run_id == run_id else None

    async def attach(self, who: Who, subscriber: Subscriber, after: int | None, log: str | None) -> None:
        """Subscribes, and sends `attached` first. With `after` (and `log`) what was missed since, if it can be told.

        Raises what `ready` raises.
        """
        async with self._lock:
            await self._ensure()
            # No await from here on: nothing can be published between the snapshot and the subscription.
            subscriber.push(self._attached(who, after, log))
            self._around.hub.subscribe(self.id, who, subscriber)

    def detach(self, who: Who) -> None:
        """The opposite of `attach`; harmless when that never happened."""
        self._around.hub.unsubscribe(self.id, who.connection)

    async def create(self, created: Created, messages: list[Message]) -> None:
        """Gives the session its first event, and returns once that is durable. Precondition: nobody else has this
        object yet."""
        async with self._lock:
            self._loaded = True
            view = self._view()
            self._info = msgspec.structs.replace(self._info, log=new_log(), created_at=view.at)
            done = self._durable(view, ops.create(created, chained(messages), len(messages)), create=self._info)
        await done

    async def delete(self) -> float:
        """Stops the run, deletes the session and closes its connections; returns the time. Raises what `ready`
        raises."""
        async with self._lock:
            await self._ensure()
            view = self._view()
            outcome = ops.finish(view, "stopped") if self._run else Outcome()
            done = self._durable(view, outcome, deletes=True)
            self._deleted = True
        await done
        return view.at

    async def restore(self) -> None:
        """Brings the session back if it was deleted, as it was then; returns once that is durable. Raises
        NoSuchSession, SessionUnreadable, StorageFailed."""
        async with self._lock:
            try:
                # Should a commit have failed, everyone who waits is answered by this.
                await self._ensure()
            except SessionDeleted:
                done = await self._restored()
            else:
                return
        await done

    async def _restored(self) -> asyncio.Future[None]:
        """Done once the session, which is deleted, is back. Under the lock."""
        if not self._loaded:
            await self._load(deleted=True)
            self._deleted = True
        # It stays deleted until that is durable, so nobody attaches before those who were have been told. One at a
        # time: with a second on its way, a deletion could come between.
        pending = next((pending for pending in self._pending if pending.restores), None)
        if pending is None:
            return self._durable(self._view(), Outcome(), restores=True)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pending.answers.append(_into(done))
        return done

    async def rename(self, title: str | None) -> None:
        """Gives the session a title, or takes it away, as somebody without a connection; returns once that is
        published. Raises InvalidParams, and what `ready` raises."""
        async with self._lock:
            await self._ensure()
            view = self._view()
            done = self._durable(view, retitle(view, title), cause=Cause(command="title"))
        await done

    def delta(self, run: Run, piece: Delta) -> None:
        """A piece of a run, from whoever writes it."""
        if not run.live or not piece.text:
            return
        text = run.reasoning if piece.reasoning else run.text
        kind = RunReasoning if piece.reasoning else RunDelta
        delta = kind(run.run_id, text.length, piece.text)
        text.append(piece.text)
        self._around.hub.publish_delta(self.id, delta, frames.notification(delta))

    def report(self, run: Run, report: Report) -> None:
        """What the provider says of a run."""
        run.model = report.model or run.model
        run.usage = report.usage or run.usage
        run.note = report.note or run.note

    def checkpoint(self, run: Run) -> None:
        """Puts what a run wrote so far where a restart finds it."""
        if run.live:
            self._around.store.checkpoint(self.id, run.checkpoint)

    async def finish(self, run: Run, reason: str, error: BackchatError | None = None) -> None:
        """A run has ended by itself. Does nothing if it was stopped before."""
        async with self._lock:
            if self._loaded and run is self._run:
                # Whoever calls this is the run's own task.
                run.cancel = None
                view = self._view()
                self._stage(view, ops.finish(view, reason, error))

    async def interrupt(self) -> None:
        """Ends the live run because the server goes down; returns once that, or what had ended it already, is
        durable."""
        async with self._lock:
            if not self.busy:
                return
            view = self._view()
            done = self._durable(view, Outcome() if self._run is None else ops.finish(view, "interrupted"))
        await done

    def prompt(self, run: Run) -> Prompt:
        """What a run is asked for."""
        return Prompt(model=run.model, system=run.system, messages=path(self._tree[run.parent]))

    # Deciding. Under the lock, or while it is free, without an await.

    def _submit(self, params: SubmitParams, who: Who, answer: Answer) -> None:
        line: Invocation | PlainMessage | None = None if params.text is None else parse(params.text)
        seen, now = params.if_revision, self._staged
        # One that is still to come was seen in another log, before older data were put back.
        if seen is not None and not now.transcript_revision <= seen <= now.revision:
            raise StaleRevision(now.revision)
        view = self._view()
        command = None
        if isinstance(line, Invocation):
            command = line.command.name
            if command == "model":
                self._around.ask_models()
            outcome = line.decide(view)
            revision = view.state.revision + len(outcome.events)
            reply = Reply(
                command=command, data=outcome.data, notice=outcome.notice, prefill=outcome.prefill, revision=revision
            )
        else:
            outcome = ops.submit(view, params.content if line is None else line.text)
            revision = view.state.revision + len(outcome.events)
            reply = Reply(**outcome.data, revision=revision)
        record = None
        if params.op_id is not None and outcome.events:
            body_hash = _body_hash(params)
            record = OpRecord(
                op_id=params.op_id,
                body_hash=body_hash,
                reply=msgspec.json.encode(reply),
                forgotten=self._forgotten,
            )
            self._ops[params.op_id] = KnownOp(body_hash, view.at)
        if not (outcome.events or outcome.stop or outcome.start or self._pending):
            # A read, and all that it saw is durable.
            answer(reply)
            return
        cause = Cause(params.op_id, command, who.connection, who.name)
        self._stage(view, outcome, cause, reply, answer, record=record)

    def _known(self, op_id: str) -> KnownOp | None:
        """What is remembered of an op_id. Forgets what is too old."""
        forgotten = self._around.clock() - self._around.op_id_seconds
        # What memory once forgot must give way on the disk, even if the clock is set back.
        self._forgotten = max(self._forgotten, forgotten)
        while self._ops and next(iter(self._ops.values())).at <= forgotten:
            self._ops.popitem(last=False)
        known = self._ops.get(op_id)
        # Behind a newer one if the clock was set back.
        return None if known is None or known.at <= forgotten else known

    async def _repeat(self, params: SubmitParams, op_id: str, answer: Answer) -> bool:
        """Repeats the reply to an op_id that is known; False where it is not, or where the store has pruned it
        meanwhile. Raises OpIdReused, and what `ready` raises."""
        known = self._known(op_id)
        if known is None:
            return False
        if known.body_hash != _body_hash(params):
            raise OpIdReused
        answer = partial(_answer_again, answer)
        for pending in self._pending:
            if pending.op_id == op_id:
                pending.answers.append(answer)
                return True
        # Durable long ago: it need not wait for what is on its way now.
        stored = await self._around.store.reply(self.id, op_id)
        if stored is None:
            # While that looked into the store, a commit may have failed.
            await self._ensure()
            return False
        answer(msgspec.json.decode(stored, type=Reply))
        return True

    def _view(self) -> View:
        run = self._run
        return View(
            session_id=self.id,
            state=self._staged,
            tree=self._tree,
            run=None if run is None else run.seen,
            at=self._around.clock(),
            new_id=self._new_id,
            offer=self._around.offer(),
            heads=self._heads,
            events=self._latest,
        )

    def _latest(self, count: int) -> list[Event]:
        """The last staged events, newest first, as far as they are in memory."""
        events: list[Event] = []
        for pending in reversed(self._pending):
            events += [step.event for step in reversed(pending.steps)]
        events += [step.event for step in reversed(self._history)]
        return events[:count]

    def _stage(
        self,
        view: View,
        outcome: Outcome,
        cause: Cause | None = None,
        reply: Reply | None = None,
        answer: Answer | None = None,
        *,
        record: OpRecord | None = None,
        create: SessionInfo | None = None,
        deletes: bool = False,
        restores: bool = False,
        interruption: bool = False,
    ) -> None:
        """Makes an outcome that was decided on `view` the staged state, and enqueues its commit."""
        steps = self._apply(view.at, outcome, cause or Cause()) if outcome.events else []
        stopped = None
        if outcome.stop is not None and self._run is not None:
            self._run.detach()
            stopped = (self._run, outcome.stop)
            self._run = None
        if outcome.start is not None:
            self._run = Run.of(outcome.start)
        if outcome.opens is not None:
            self._new_id = self._around.new_id()
        commits = bool(steps) or deletes or restores
        pending = _Pending(
            steps=steps,
            stopped=stopped,
            started=self._run if outcome.start is not None else None,
            deletes=deletes,
            restores=restores,
            opened=None if outcome.opens is None else outcome.opens.session_id,
            interruption=interruption,
            durable=not commits,
            op_id=None if record is None else record.op_id,
            result=reply or Reply(revision=self._staged.revision),
            answers=[] if answer is None else [answer],
        )
        self._pending.append(pending)
        if not commits:
            self._advance()
            return
        self._around.store.commit(
            Commit(
                session_id=self.id,
                events=tuple(map(_event_of, steps)),
                added=tuple(chain.from_iterable(map(_added_by, outcome.events))),
                create=create,
                listed=self._listed(view.state, create is not None),
                record=record,
                ended_run=None if stopped is None else stopped[0].run_id,
                started_run=None if pending.started is None else pending.started.checkpoint,
                deleted_at=view.at if deletes else None,
                restores=restores,
                opens=self._opening(outcome, view.at, cause or Cause()),
            ),
            partial(self._committed, pending),
        )

    def _apply(self, at: float, outcome: Outcome, cause: Cause) -> list[Step]:
        """Makes an outcome's events the staged state."""
        # An outcome is one fact for exactly-once; its op_id stands on its last event.
        left = len(outcome.events)
        early = msgspec.structs.replace(cause, op_id=None) if left > 1 else cause
        state, tree = self._staged, self._tree
        steps: list[Step] = []
        for decided in outcome.events:
            left -= 1
            for added in decided.added:
                tree.add(added)
            by = decided.by or (early if left else cause)
            event = Event(state.revision + 1, at, decided.head, decided.body, by)
            before, state = state, apply(state, event, tree)
            tree.show(event.head)
            self._heads.append(event.head)
            steps.append(Step(event, before, state))
        self._staged = state
        return steps

    def _listed(self, before: State, new: bool) -> Listed | None:
        now = self._staged
        return listed(now) if new or _shown_in_list(now) != _shown_in_list(before) else None

    def _opening(self, outcome: Outcome, at: float, cause: Cause) -> Commit | None:
        if outcome.opens is None:
            return None
        info = SessionInfo(id=outcome.opens.session_id, owner=self.owner, log=new_log(), created_at=at)
        return first_commit(info, outcome.opens.events, at, msgspec.structs.replace(cause, op_id=None))

    def _durable(
        self,
        view: View,
        outcome: Outcome,
        *,
        cause: Cause | None = None,
        create: SessionInfo | None = None,
        deletes: bool = False,
        restores: bool = False,
    ) -> asyncio.Future[None]:
        """Stages an outcome that nobody asked for over a socket; the future is done once it is published."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._stage(view, outcome, cause, None, _into(done), create=create, deletes=deletes, restores=restores)
        return done

    def _wait_turn(self, result: BackchatError | Callable[[], Result | BackchatError], answer: Answer) -> None:
        self._pending.append(_Pending(durable=True, result=result, answers=[answer]))
        self._advance()

    # Durable. Not under the lock: no await below, so nothing comes in between.

    def _committed(self, pending: _Pending, error: Exception | None) -> None:
        if error is None:
            pending.durable = True
            self._advance()
        elif self._loaded:
            # Whether it happened is known once the log is read again. Whoever takes the lock next does that; `reload`
            # makes sure that somebody does.
            self._loaded = self._deleted = False
            if pending.interruption:
                # Trying at once what has just failed after a reload would go on for ever. The next client tries.
                self._give_up(StorageFailed(unknown=True))
                self._around.settled(self)
            else:
                self._around.reload(self)

    def _advance(self) -> None:
        while self._pending and self._pending[0].durable and self._loaded:
            self._publish(self._pending.popleft())
        if not self.users:
            self._around.settled(self)

    def _publish(self, pending: _Pending) -> None:
        stopped, started = pending.stopped, pending.started
        told: list[frames.Notification] = []
        if stopped is not None:
            self._shown_run = None
            self._around.ended(self, stopped[0], stopped[1].reason)
            if not any(isinstance(step.event.body, Replied) for step in pending.steps):
                told.append(_ended(*stopped))
                stopped = None
        for step in pending.steps:
            self._published = step.after
            self._history.append(step)
            told += self._notifications(step)
            if stopped is not None and isinstance(step.event.body, Replied):
                told.append(_ended(*stopped))
                stopped = None
        if started is not None:
            self._shown_run = started
            told.append(RunStarted(started.run_id))
        if told:
            self._around.hub.publish(self.id, *map(frames.notification, told))
        if started is not None and started.live:
            self._around.start_run(self, started)
        if pending.restores:
            self._deleted = False
            tell(_log, logging.INFO, "session restored", session=self.id)
        self._tell_watchers(pending)
        pending.give_result()
        if pending.deletes:
            tell(_log, logging.INFO, "session deleted", session=self.id)
            self._close_all(SessionDeleted())

    def _tell_watchers(self, pending: _Pending) -> None:
        if pending.steps or pending.stopped or pending.started or pending.deletes or pending.restores:
            self._around.changed(self.owner, self.id)
        if pending.opened is not None:
            tell(_log, logging.INFO, "session created", session=pending.opened, owner=self.owner)
            self._around.changed(self.owner, pending.opened)

    def _notifications(self, step: Step) -> list[frames.Notification]:
        return frames.notifications(step.event, step.before, step.after, self._around.offer(), self._tree)

    def _close_all(self, error: BackchatError) -> None:
        for subscriber in list(self._around.hub.subscribers(self.id).values()):
            subscriber.close(error.close, str(error))

    def _page(self, params: MessagesParams) -> Page:
        head = self._tree[self._published.head]
        before = min(params.before, head.depth)
        if before == 0:
            return Page([], 0)
        last = head.ancestor(before)
        start = max(before - params.limit, last.tail_start())
        return Page(shown(self._tree, last, self._published.last_message, start), start)

    def _attached(self, who: Who, after: int | None, log: str | None, *, reset: bool = False) -> str:
        events = None if reset else self._missed(after, log)
        attached = Attached(
            protocol=frames.PROTOCOL,
            log=f"{self._info.log}.{self._around.store.epochs.current}",
            session=self.fields,
            revision=self._published.revision,
            connection=who.connection,
            name=who.name,
            presence=self._around.hub.presence(self.id, who),
            backend=self._around.backend,
            run=None if self._shown_run is None else _info(self._shown_run),
            commands=describe(),
        )
        if events is not None:
            return frames.notification(msgspec.structs.replace(attached, events=events))
        head = self._tree[self._published.head]
        start = head.tail_start()
        return frames.notification(
            msgspec.structs.replace(
                attached,
                start=start,
                messages=shown(self._tree, head, self._published.last_message, start),
                reset=reset or after is not None,
            )
        )

    def _missed(self, after: int | None, log: str | None) -> list[msgspec.Raw] | None:
        """What a client that has seen revision `after` of `log` has missed; None where that cannot be told."""
        if after is None or log is None or not self._is_ours(after, log):
            return None
        missing = self._published.revision - after
        if missing < 0 or missing > len(self._history):
            return None
        events: list[msgspec.Raw] = []
        size = 0
        for step in list(self._history)[len(self._history) - missing :]:
            for notification in self._notifications(step):
                event = frames.bare_notification(notification)
                size += len(bytes(event))
                if size > TAIL_BYTES:
                    return None
                events.append(event)
        return events

    def _is_ours(self, after: int, log: str) -> bool:
        """Whether what a client has seen, up to revision `after` of `log`, is in this very log. It may have seen more
        than a copy that was put back has, and other things may have happened since."""
        name, _, epoch = log.partition(".")
        epochs = self._around.store.epochs
        number = epochs.numbers.get(epoch)
        if name != self._info.log or number is None:
            return False
        if epoch == epochs.current:
            return after <= self._published.revision
        until = bisect_right(self._epochs, number, key=itemgetter(0))
        return until > 0 and after <= self._epochs[until - 1][1]

    # Loading. Under the lock.

    async def _ensure(self) -> None:
        if self._deleted:
            raise SessionDeleted
        if not self._loaded:
            await self._load()

    async def _load(self, *, deleted: bool = False) -> None:
        if self._run is not None:
            self._run.detach()
        try:
            forgotten = self._around.clock() - self._around.op_id_seconds
            loaded = await self._around.store.load(self.id, forgotten, deleted=deleted)
        except BackchatError as error:
            self._give_up(error)
            raise
        # No await from here on, so that nobody who waits can be forgotten if this task is cancelled.
        lost, run = self._take_staged()
        self._info, self._tree, self._epochs = loaded.info, loaded.tree, loaded.epochs
        self._ops, self._forgotten = OrderedDict(loaded.ops), forgotten
        self._history = deque(loaded.history, maxlen=RESUMABLE)
        self._heads = array("q", [step.event.head for step in loaded.history])
        self._staged = self._published = loaded.history[-1].after if loaded.history else State()
        self._loaded = True
        # A session that can be loaded is not deleted: what should bring it back has happened, or need not.
        happened = [pending for pending in lost if pending.restores or _is_in(pending, loaded.history)]
        self._restore_run(happened, run, loaded.checkpoint)
        for who, subscriber in self._around.hub.attached(self.id):
            subscriber.push(self._attached(who, None, None, reset=True))
        for pending in lost:
            if pending in happened:
                pending.give_result()
            else:
                pending.give(StorageFailed())

    def _restore_run(self, happened: list[_Pending], run: Run | None, checkpoint: Checkpoint | None) -> None:
        """After a load: starts the run that a commit which seemed to fail has asked for, or else keeps what a run had
        written that is no more, before anything else happens."""
        asked = next((pending.started for pending in reversed(happened) if pending.started or pending.stopped), None)
        if asked is not None:
            self._run = self._shown_run = Run(asked.run_id, asked.parent, asked.model, asked.system)
            self._around.start_run(self, self._run)
            return
        ended = any(pending.stopped is not None and pending.stopped[0] is run for pending in happened)
        if run is not None and not ended and run.parent == self._staged.head:
            # This process saw more of it than the last checkpoint.
            self._run = run
        elif checkpoint is not None:
            self._run = Run.restored(checkpoint, self._staged.head)
        self._shown_run = self._run
        view = self._view()
        outcome = ops.pause(view) if self._run is None else ops.finish(view, "interrupted")
        if outcome.events:
            self._stage(view, outcome, interruption=True)

    def _give_up(self, error: BackchatError) -> None:
        """The session cannot be read: answers everyone who waits, and closes every connection."""
        lost, _ = self._take_staged()
        for pending in lost:
            if pending.deletes and isinstance(error, SessionDeleted):
                pending.give_result()
            else:
                pending.give(StorageFailed(unknown=True))
        self._close_all(error)

    def _take_staged(self) -> tuple[list[_Pending], Run | None]:
        """What was on its way, and the run that clients see, which are both forgotten."""
        lost, run = list(self._pending), self._shown_run
        self._pending.clear()
        self._run = self._shown_run = None
        for pending in lost:
            # It may have happened, and nobody publishes it.
            self._tell_watchers(pending)
        return lost, run


def completed(text: str, state: State, tree: Tree, around: Surroundings) -> Completion:
    """What could stand where something is being typed, in a session in this state."""
    typed = completion.typing(text)
    if typed is None:
        return Completion(len(text), [])
    if typed.argument is not None and typed.argument.source == "models":
        around.ask_models()
    found = completion.candidates(typed, state, tree, around.offer())
    return Completion(typed.start, completion.complete(typed, found))


def _body_hash(params: SubmitParams) -> bytes:
    """What tells one request of an op_id from another."""
    body = msgspec.json.encode((params.text, params.content))
    return hashlib.blake2b(body, digest_size=16).digest()


def _is_in(pending: _Pending, history: list[Step]) -> bool:
    """Whether an outcome is in the log after all."""
    if not pending.steps:
        return False
    event = pending.steps[-1].event
    return event.revision <= len(history) and history[event.revision - 1].event == event


def new_log() -> str:
    """A name for a log that nobody has used before."""
    return secrets.token_hex(8)


def _info(run: Run) -> RunInfo:
    return RunInfo(run.run_id, str(run.text), run.text.length, str(run.reasoning))


def _ended(run: Run, stop: StopRun) -> RunEnded:
    return RunEnded(run.run_id, stop.reason, None if stop.error is None else frames.error_body(stop.error))


def _into(done: asyncio.Future[None]) -> Answer:
    """What ends a future with the answer."""

    def answer(result: Result | BackchatError) -> None:
        if done.done():
            return
        if isinstance(result, BackchatError):
            done.set_exception(result)
        else:
            done.set_result(None)

    return answer


def _answer_again(answer: Answer, result: Result | BackchatError) -> None:
    answer(msgspec.structs.replace(result, replayed=True) if isinstance(result, Reply) else result)
