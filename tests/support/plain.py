"""A session as anybody would write it down on paper: lists, and nothing clever.

It says what every command must do to the transcript, the variants, the redo line and the queue, and what it must
refuse. It is written from the description of the commands, shares no code with the server, and never minds how long
anything takes: what was on screen last is looked up in the list of all that ever was on screen.
"""

from copy import deepcopy
from typing import Any

from tests.support.client import Json

MOST_QUEUED = 3

Transcript = list[int]
"""The ids of the messages on screen, in order."""


class Refusal(Exception):
    """What must be refused; `code` is the error's."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Plain:
    """One session with a backend. Each method that does something returns the part of the reply that it predicts."""

    def __init__(self, messages: list[Json], screen: Transcript) -> None:
        self.messages = {message["id"]: message for message in messages}
        self.screens = [screen]
        """What was on screen after each revision, from revision 1 on."""
        self.redo: list[tuple[Transcript, int]] = []
        """What can be had again, the last step last: the transcript before it, and how many turns it took off."""
        self.queue: list[Json] = []
        self.paused = False
        self.queued = 0
        """How many messages ever waited."""
        self.run: Json | None = None
        self.title: str | None = None
        self.ops: dict[str, tuple[str, Json]] = {}

    # What can be seen of it.

    @property
    def screen(self) -> Transcript:
        """What is on screen now."""
        return self.screens[-1]

    @property
    def revision(self) -> int:
        return len(self.screens)

    @property
    def changed(self) -> int:
        """The last revision that changed the transcript."""
        return max(
            number
            for number, screen in enumerate(self.screens, start=1)
            if number == 1 or screen != self.screens[number - 2]
        )

    def siblings(self, message_id: int) -> list[int]:
        """All with the same parent, itself included, oldest first."""
        parent = self.messages[message_id]["parent"]
        return sorted(one for one, message in self.messages.items() if message["parent"] == parent)

    def shown(self) -> list[Json]:
        """The transcript as a client must show it."""
        shown = []
        for message_id in self.screen:
            message = {key: value for key, value in self.messages[message_id].items() if key != "parent"}
            siblings = self.siblings(message_id)
            if len(siblings) > 1:
                message["variant"] = {"index": siblings.index(message_id) + 1, "count": len(siblings)}
            shown.append(message)
        return shown

    def session(self) -> Json:
        """What `session` must say besides."""
        return {
            "message_count": len(self.screen),
            "redo_steps": self._redoable(),
            "queue": [waiting["id"] for waiting in self.queue],
            "queue_paused": self.paused,
            "agent_running": self.run is not None,
        }

    # Requests.

    def request(self, line: str, do: Any, op_id: str | None, if_revision: int | None) -> Json:
        """Does what a request asks for, and returns what its reply must have. Raises Refusal, and nothing has happened
        then. `do` is what the line means, a function of a session."""
        if op_id in self.ops:
            asked, reply = self.ops[op_id]
            if asked != line:
                raise Refusal("op_id_reused")
            return {**reply, "replayed": True}
        if if_revision is not None and if_revision < self.changed:
            raise Refusal("stale_revision")
        before = self.revision
        trial = deepcopy(self)
        reply = do(trial)
        self.__dict__ = trial.__dict__
        reply = {**reply, "revision": self.revision}
        if op_id is not None and self.revision > before:
            self.ops[op_id] = (line, reply)
        return reply

    # Small steps.

    def _event(self, screen: Transcript) -> None:
        self.screens.append(list(screen))

    def _add(self, role: str, content: Any, below: Transcript, **more: Any) -> int:
        message_id = len(self.messages) + 1
        parent = below[-1] if below else 0
        said = {key: value for key, value in more.items() if value}
        self.messages[message_id] = {"id": message_id, "parent": parent, "role": role, "content": content, **said}
        return message_id

    def path(self, message_id: int) -> Transcript:
        screen: Transcript = []
        while message_id:
            screen.insert(0, message_id)
            message_id = self.messages[message_id]["parent"]
        return screen

    def _turns(self, screen: Transcript) -> list[int]:
        """Where the turns of a transcript begin."""
        return [place for place, message_id in enumerate(screen) if self.messages[message_id]["role"] == "user"]

    def _take_off(self, target: Transcript, turns: int | None = None) -> None:
        """What is on screen gives way to another transcript, and can be had again."""
        if target != self.screen:
            if turns is None:
                kept = self._common(self.screen, target)
                turns = len(self._turns(self.screen)) - len(self._turns(kept))
            self.redo.append((self.screen, max(1, turns)))
        self._event(target)

    def _common(self, one: Transcript, other: Transcript) -> Transcript:
        return [a for a, b in zip(one, other, strict=False) if a == b]

    def _counts(self, before: Transcript) -> Json:
        kept = len(self._common(before, self.screen))
        return {"removed_count": len(before) - kept, "restored_count": len(self.screen) - kept}

    def _start(self) -> str:
        self.run = {"run_id": f"r{self.revision}", "text": "", "reasoning": "", "saved": ("", "")}
        return f"r{self.revision}"

    def _pause(self) -> None:
        if self.queue and not self.paused:
            self.paused = True
            self._event(self.screen)

    def _written(self, finish: str, *, always: bool) -> None:
        """The live run's text becomes a message; one without a word only where that is to be seen."""
        run, self.run = self.run, None
        assert run is not None
        if run["text"] or run["reasoning"] or always:
            said = self._add(
                "assistant",
                run["text"],
                self.screen,
                finish=finish,
                run_id=run["run_id"],
                reasoning=run["reasoning"],
            )
            self._event([*self.screen, said])

    def _stop(self) -> None:
        """What comes first in all that changes the transcript."""
        if self.run is not None:
            self._written("stopped", always=False)
            self._pause()

    def _send_queued(self) -> int:
        waiting = self.queue.pop(0)
        self._event([*self.screen, self._add("user", waiting["content"], self.screen)])
        self.paused = self.paused and bool(self.queue)
        self.redo = []
        self._start()
        number: int = waiting["id"]
        return number

    def _last_shown(self, message_id: int) -> Transcript:
        """The transcript when a message was last on screen; for one that never was, down to the newest below it."""
        for screen in reversed(self.screens):
            if message_id in screen:
                return screen
        while below := [one for one, message in self.messages.items() if message["parent"] == message_id]:
            message_id = max(below)
        return self.path(message_id)

    # What runs do.

    def wrote(self, text: str, *, reasoning: bool = False) -> None:
        assert self.run is not None
        self.run["reasoning" if reasoning else "text"] += text

    def saved(self) -> None:
        """What was written so far is where a crash leaves it."""
        assert self.run is not None
        self.run["saved"] = (self.run["text"], self.run["reasoning"])

    def completed(self) -> None:
        self._written("completed", always=True)
        if self.queue and not self.paused:
            self._send_queued()

    def failed(self) -> None:
        self._written("failed", always=True)
        self._pause()

    def restarted(self, *, crash: bool) -> None:
        if self.run is not None:
            if crash:
                self.run["text"], self.run["reasoning"] = self.run["saved"]
            self._written("interrupted", always=True)
            self._pause()

    # Commands.

    def say(self, content: Any) -> Json:
        if self.run is not None:
            if len(self.queue) >= MOST_QUEUED:
                raise Refusal("queue_full")
            self.queued += 1
            self.queue.append({"id": self.queued, "content": content})
            self._event(self.screen)
            return {"queued_id": self.queued}
        message_id = self._add("user", content, self.screen)
        self._event([*self.screen, message_id])
        self.redo = []
        return {"message_id": message_id, "run_id": self._start()}

    def look(self) -> Json:
        return {}

    def note(self) -> Json:
        """Something that shows nowhere in here."""
        self._event(self.screen)
        return {}

    def retry(self) -> Json:
        self._stop()
        turns = self._turns(self.screen)
        if not turns:
            raise Refusal("nothing_to_retry")
        removed = len(self.screen) - turns[-1]
        self._take_off(self.screen[: turns[-1] + 1])
        self._start()
        return {"data": {"removed_count": removed, "resent": True}}

    def undo(self, turns: int = 1) -> Json:
        self._stop()
        places = self._turns(self.screen)[-turns:]
        if not places:
            raise Refusal("nothing_to_undo")
        removed = len(self.screen) - places[0]
        self._take_off(self.screen[: places[0]])
        return {"data": {"removed_count": removed, "turns": len(places)}}

    def clear(self) -> Json:
        removed = len(self.screen)
        if self.run and (self.run["text"] or self.run["reasoning"]):
            removed += 1
        if removed:
            self._stop()
            self._take_off([])
        return {"data": {"removed_count": removed}}

    def _redoable(self) -> int:
        """How many steps can be redone: not those at the end whose transcript is there again already."""
        steps = list(self.redo)
        while steps and steps[-1][0] == self.screen:
            steps.pop()
        return len(steps)

    def redone(self, turns: int | None = None) -> Json:
        self._stop()
        before = there = self.screen
        taken, best = 0, None
        for number, (screen, turns_taken) in enumerate(reversed(self.redo), start=1):
            # What is there again already brings nothing back.
            if screen == there:
                continue
            there, taken = screen, taken + turns_taken
            if there != before:
                best = number, there, taken
            if taken >= (turns or 1):
                break
        if best is None:
            raise Refusal("nothing_to_redo")
        steps, target, brought = best
        del self.redo[-steps:]
        self._event(target)
        return {"data": {"turns": brought, **self._counts(before)}}

    def edit(self, text: str, message_id: int | None = None) -> Json:
        turns = self._turns(self.screen)
        if message_id is None:
            if not turns:
                raise Refusal("nothing_to_edit")
            message_id = self.screen[turns[-1]]
        elif message_id not in self.messages:
            raise Refusal("no_such_message")
        elif self.messages[message_id]["role"] != "user":
            raise Refusal("not_editable")
        self._stop()
        above = self.path(message_id)[:-1]
        new = self._add("user", self._with_text(self.messages[message_id]["content"], text), above)
        self._take_off([*above, new])
        self._start()
        return {"data": {"message_id": new, "edited": message_id}}

    def _with_text(self, content: Any, text: str) -> Any:
        """What else a message has, images say, it keeps."""
        if isinstance(content, str) or all(part["type"] == "text" for part in content):
            return text
        return [{"type": "text", "text": text} if part["type"] == "text" else part for part in content]

    def drop(self, turn: int) -> Json:
        self._stop()
        places = [*self._turns(self.screen), len(self.screen)]
        if turn >= len(places):
            raise Refusal("no_such_turn")
        first, end = places[turn - 1], places[turn]
        screen = self.screen[:first]
        for message_id in self.screen[end:]:
            old = self.messages[message_id]
            more = {
                key: value for key, value in old.items() if key not in ("id", "parent", "role", "content", "run_id")
            }
            original = old.get("original", {"message_id": message_id})
            if "session_id" in original:
                original = {"message_id": message_id}
            screen.append(self._add(old["role"], old["content"], screen, **{**more, "original": original}))
        self._take_off(screen, turns=1)
        return {"data": {"turn": turn, "removed_count": end - first}}

    def stop(self) -> Json:
        if self.run is None:
            return {"data": {"stopped": False}}
        before = self.revision
        self._stop()
        if self.revision == before:
            self._event(self.screen)
        return {"data": {"stopped": True}}

    # Other paths.

    def _move(self, target: Transcript) -> Json:
        before = self.screen
        if target != before or self.run is not None:
            self._stop()
            before = self.screen
            self._event(target)
        return {"data": self._counts(before)}

    def _pick(self, message_id: int) -> Json:
        target = self._last_shown(message_id)
        return self._move(target) if target != self.screen else {"data": {"message_id": message_id}}

    def pick(self, message_id: int, variant: int | None = None) -> Json:
        if message_id not in self.messages:
            raise Refusal("no_such_message")
        if variant is not None:
            siblings = self.siblings(message_id)
            if variant > len(siblings):
                raise Refusal("no_such_variant")
            message_id = siblings[variant - 1]
        return self._pick(message_id)

    def beside(self, by: int) -> Json:
        turns = self._turns(self.screen)
        if not turns:
            raise Refusal("no_such_variant")
        last = self.screen[-1]
        below = [one for one, message in self.messages.items() if message["parent"] == last]
        answers = [one for one in below if self.messages[one]["role"] != "user"]
        if by < 0 and answers and turns[-1] == len(self.screen) - 1:
            # The question is asked again: what answered it last time comes before.
            return self._pick(max(answers))
        for message_id in reversed(self.screen[turns[-1] :]):
            siblings = self.siblings(message_id)
            place = siblings.index(message_id) + by
            if 0 <= place < len(siblings):
                return self._pick(siblings[place])
        raise Refusal("no_such_variant")

    def goto(self, message_id: int) -> Json:
        if message_id not in self.messages:
            raise Refusal("no_such_message")
        return self._move(self.path(message_id))

    def goto_revision(self, revision: int) -> Json:
        if revision > self.revision:
            raise Refusal("no_such_revision")
        return self._move(self.screens[revision - 1])

    def branch(self, message_id: int | None = None) -> Json:
        if message_id is not None and message_id not in self.messages:
            raise Refusal("no_such_message")
        taken = self.screen if message_id is None else self.path(message_id)
        if not taken:
            raise Refusal("nothing_to_branch")
        self._event(self.screen)
        return {"data": {"message_id": taken[-1]}}

    def branched(self, session_id: str, message_id: int) -> list[Json]:
        """The transcript of a session that was begun from a message of this one, whose id is `session_id`."""
        return [
            {
                **{key: value for key, value in self.messages[old].items() if key not in ("parent", "run_id")},
                "id": number,
                "original": {"message_id": old, "session_id": session_id},
            }
            for number, old in enumerate(self.path(message_id), start=1)
        ]

    # The queue.

    def queue_drop(self, number: int | None = None) -> Json:
        waiting = [one["id"] for one in self.queue]
        number = waiting[-1] if number is None and waiting else number
        if number not in waiting:
            raise Refusal("not_queued")
        self.queue = [one for one in self.queue if one["id"] != number]
        self.paused = self.paused and bool(self.queue)
        self._event(self.screen)
        return {"data": {"queued_id": number}}

    def queue_go(self) -> Json:
        if not self.queue:
            raise Refusal("not_queued")
        if self.paused:
            self.paused = False
            self._event(self.screen)
        return {} if self.run is not None else {"data": {"sent": [self._send_queued()]}}
