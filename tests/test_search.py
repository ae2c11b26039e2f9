"""The search over titles and contents: what has the words is found, and no query does harm."""

import contextlib
import sqlite3
import string
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backchat.store import search as index
from backchat.store.base import Commit, Found, Listed, SessionInfo, first_commit, listed
from backchat.store.search import TITLE, TOKENS
from backchat.store.sqlite import MIGRATIONS, MOST_READ, Database
from backchat.transcript import Cause, Created, Event, Message, Submitted, TakenBack, Titled, chained
from backchat.words import MOST_QUERY, searched, searched_content
from tests.support.client import client, eventually
from tests.support.histories import Action, actions, lived
from tests.support.scripted import Scripted
from tests.support.server import Running, running
from tests.support.views import AT, begun


def beginning(session_id: str, *contents: Any, title: str | None = None, at: float = AT) -> Commit:
    """The first commit of a session with these messages."""
    info = SessionInfo(id=session_id, owner="local", log="l", created_at=at)
    return first_commit(info, begun(Created(title=title), *contents).events, at, Cause())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database for all tests of this module that need no more than an empty one."""
    with Database(tmp_path_factory.mktemp("shared")) as database:
        database._db.execute("PRAGMA synchronous = OFF")
        catch_up(database)
        yield database


@contextlib.contextmanager
def holding(database: Database, *commits: Commit) -> Iterator[None]:
    """An empty database in which these are committed, in one step."""
    assert database.write(commits) == [None] * len(commits)
    try:
        yield
    finally:
        for table in ("session", "message", "event", "searched", "unsearched"):
            database._db.execute(f"DELETE FROM {table}")
        database._db.execute("INSERT INTO search (search) VALUES ('delete-all')")
        catch_up(database)


def search(database: Database, query: str, limit: int = 200) -> list[Found]:
    return database.search("local", query, limit)


def ids(found: list[Found]) -> list[str]:
    return [one.summary.session_id for one in found]


def shown(found: Found) -> tuple[str, str, str]:
    assert found.match is not None
    return found.match.before, found.match.match, found.match.after


def catch_up(database: Database) -> int:
    """Takes in what was left for later; how many steps that took."""
    steps = 0
    while database.behind:
        database.catch_up()
        steps += 1
    return steps


def check(database: Database) -> None:
    """Asserts that the index is whole."""
    database._db.execute("INSERT INTO search (search) VALUES ('integrity-check')")


# What is found.

letters = st.text("abAB", min_size=1, max_size=3)
texts = st.lists(letters, max_size=4).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(
    sessions=st.lists(st.tuples(st.none() | texts, st.lists(texts, max_size=3)), min_size=1, max_size=4),
    queries=st.lists(st.lists(letters, min_size=1, max_size=3), min_size=1, max_size=4),
)
def test_what_has_all_the_words_is_found_and_nothing_else(
    shared: Database, sessions: list[tuple[str | None, list[str]]], queries: list[list[str]]
) -> None:
    def has(text: str | None, query: list[str]) -> bool:
        words = (text or "").lower().split()
        *whole, begun = [word.lower() for word in query]
        return set(whole) <= set(words) and any(word.startswith(begun) for word in words)

    commits = [beginning(f"s{n}", *said, title=title, at=AT + n) for n, (title, said) in enumerate(sessions)]
    with holding(shared, *commits):
        check(shared)
        for query in queries:
            expected = {
                f"s{n}": next((number for number, text in enumerate(said, start=1) if has(text, query)), None)
                for n, (title, said) in enumerate(sessions)
                if has(title, query) or any(has(text, query) for text in said)
            }
            found = search(shared, " ".join(query))
            assert ids(found) == sorted(expected, reverse=True), "last updated first"
            assert {one.summary.session_id: one.match and one.match.message_id for one in found} == expected


# What is a letter or a digit to any Unicode since 3.2, whatever version SQLite has.
LETTERS = [
    chr(point)
    for point in range(0x30000)
    if unicodedata.ucd_3_2_0.category(chr(point))[0] in "LN" and unicodedata.category(chr(point))[0] in "LN"
]
separators = st.sampled_from([" ", "\n", ", ", ". ", " – ", "\u3000", "\t", "。", "\0"])


@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(st.text(st.sampled_from(LETTERS), min_size=1, max_size=6), min_size=1, max_size=5),
    between=separators,
    data=st.data(),
)
def test_a_text_is_found_by_its_own_words_in_any_script(
    shared: Database, words: list[str], between: str, data: st.DataObject
) -> None:
    asked = data.draw(st.lists(st.sampled_from(words), min_size=1, max_size=3))
    with holding(shared, beginning("s", between.join(words)), beginning("title", title=between.join(words))):
        assert sorted(ids(search(shared, " ".join(asked)))) == ["s", "title"]
        begun = asked[-1][: data.draw(st.integers(1, len(asked[-1])))]
        assert sorted(ids(search(shared, " ".join([*asked[:-1], begun])))) == ["s", "title"]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Der Straßenbahnhof", "straßenb"),
        ("Crème brûlée", "creme BRULEE"),
        ("creme brulee", "Crème"),
        ("我们学习编程语言", "编程"),
        ("我们学习编程语言", "学习 语言"),
        ("Python编程入门", "python 入门"),
        ("東京タワーに行きました", "タワー"),
        ("학교에서 공부했다", "학교"),
        ("ฉันรักภาษาไทย", "ภาษา"),
        ("𠮷野家で食べる", "𠮷野"),
        ("see foo-bar.baz(1)", "foo-bar"),
        ('she said "no", twice', '"no"'),
        ("C++ or Rust?", "c++"),
        ("nul \0 inside", "inside"),
        ("a NEAR b", "near"),
        ("x" * 40_000, "x" * 400),
    ],
)
def test_people_find_what_they_look_for(shared: Database, text: str, query: str) -> None:
    with holding(shared, beginning("s", text), beginning("other", "else")):
        assert ids(search(shared, query)) == ["s"]


@pytest.mark.parametrize("query", ["编语", "学编", "foo bar", "nowhere"])
def test_characters_in_another_order_are_not_found(shared: Database, query: str) -> None:
    with holding(shared, beginning("s", "我们学习编程语言, foo")):
        assert search(shared, query) == []


def test_all_that_a_person_or_a_model_wrote_is_found_also_off_the_screen(shared: Database) -> None:
    parts = [{"type": "text", "text": "parted"}, {"type": "image_url", "image_url": {"url": "hidden"}}]
    tool = ("tool", {"deep": ["structured"]})
    empty = ("assistant", None)
    with holding(shared, beginning("s", "asked", "answered", parts, tool, empty)):
        off = Event(2, AT, 0, TakenBack(), Cause())
        assert shared.write([Commit(session_id="s", events=(off,))]) == [None]
        for query in ("asked", "answered", "parted", "structured"):
            assert ids(search(shared, query)) == ["s"], query
        for query in ("hidden", "none", "null", "text", "image"):
            assert search(shared, query) == [], query


# Any string is a query.


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text("\"*^:-+(){}' \0NEAROT", max_size=40))
def test_no_query_is_more_than_a_search_can_take(shared: Database, query: str) -> None:
    with holding(shared, beginning("s", "near NOT or AND and", query, title=query)):
        found = search(shared, query)
        assert len(found) <= 1
        if not query.replace("\0", " ").strip():
            assert found[0].match is None


def test_without_a_word_every_session_is_found(shared: Database) -> None:
    with holding(shared, beginning("a", "x"), beginning("b", "y", at=AT + 1)):
        assert ids(search(shared, " \n\0")) == ["b", "a"]
        assert search(shared, "!!! ...") == []
        assert ids(search(shared, "x ... !!!")) == ["a"]


def test_of_many_found_sessions_those_last_updated_are_shown(shared: Database) -> None:
    newest_first = [beginning(f"s-{number}", "x", at=AT - number) for number in range(9)]
    with holding(shared, *newest_first[3:], *newest_first[:3]):
        assert ids(search(shared, "x", 4)) == ["s-0", "s-1", "s-2", "s-3"]
        assert ids(search(shared, " ", 4)) == ["s-0", "s-1", "s-2", "s-3"]


# What is shown of it.


def test_what_stands_around_the_first_hit_is_shown_on_one_line(shared: Database) -> None:
    long = "begin " + "word " * 30 + "the\n\n  Needle\tis " + "here " * 40 + "end"
    with holding(shared, beginning("s", "nothing", long, "needle again")):
        (found,) = search(shared, "needl")
        assert found.match is not None
        assert found.match.message_id == 2
        before, match, after = shown(found)
        assert match == "Needle"
        assert before.startswith("… word word")
        assert before.endswith("word the ")
        assert 40 < len(before) <= 62
        assert after.startswith(" is here here")
        assert after.endswith("here …")
        assert 80 < len(after) <= 101


def test_a_short_text_is_shown_whole(shared: Database) -> None:
    with holding(shared, beginning("s", "  我们学习编程  ")):
        assert shown(search(shared, "学习")[0]) == ("我们", "学习", "编程")


def test_a_hit_far_down_a_long_text_is_shown_and_one_beyond_all_bounds_is_still_found(shared: Database) -> None:
    far, too_far = "blind " * 50_000 + "Needle", "blind " * (MOST_READ // 4) + "Needle"
    with holding(shared, beginning("far", far), beginning("too-far", too_far, at=AT + 1)):
        catch_up(shared)
        first, second = search(shared, "needle")
        assert ids([first, second]) == ["too-far", "far"]
        assert shown(first)[:2] == ("", "")
        assert shown(search(shared, "blind")[0])[1] == "blind"
    with holding(shared, beginning("far", far)):
        catch_up(shared)
        assert shown(search(shared, "needle")[0])[1:] == ("Needle", "")


def test_a_text_that_looks_like_a_mark_is_not_taken_for_one(shared: Database) -> None:
    with holding(shared, beginning("s", "\x02fake\x03 \x1f and real")):
        assert shown(search(shared, "real")[0]) == ("fake and ", "real", "")


# Never out of step.


@settings(max_examples=50, deadline=None)
@given(actions, st.booleans(), st.sampled_from([0, 7, index.AT_ONCE]))
def test_the_index_has_what_the_session_has_however_it_came_about(
    shared: Database, chosen: list[Action], together: bool, at_once: int
) -> None:
    history = lived(chosen, "first", "reply")
    commits = []
    for outcome, events in history.outcomes:
        info = SessionInfo(id="s", owner="local", log="l", created_at=AT) if events[0].revision == 1 else None
        commits.append(
            Commit(
                session_id="s",
                events=tuple(events),
                added=tuple(added for decided in outcome.events for added in decided.added),
                create=info,
                listed=listed(history.states[events[-1].revision]),
            )
        )
    documents = {number: searched_content(node.message.content) for number, node in history.tree.nodes.items()}
    documents[TITLE] = searched(history.state.title or "")
    with holding(shared), pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "AT_ONCE", at_once)
        for batch in [commits] if together else [[one] for one in commits]:
            assert shared.write(batch) == [None] * len(batch)
            if at_once == 7:
                shared.catch_up()
        assert at_once < 10 or not shared.behind, "what is little is in the index at once"
        catch_up(shared)
        check(shared)
        ((number,),) = shared._db.execute("SELECT number FROM searched")
        assert in_index(shared._db, "search") == {
            (word, number << 31 | place, offset) for word, place, offset in words_of(documents)
        }


def in_index(db: sqlite3.Connection, table: str) -> set[tuple[str, int, int]]:
    """Each word of an index, whose it is, and its place there."""
    db.execute(f"CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab('main', '{table}', 'instance')")
    found = set(db.execute("SELECT term, doc, offset FROM temp.vocabulary"))
    db.execute("DROP TABLE temp.vocabulary")
    return found


def words_of(documents: dict[int, str]) -> set[tuple[str, int, int]]:
    """The same of an index that is made of these texts."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"CREATE VIRTUAL TABLE afresh USING fts5(text, tokenize='{TOKENS}')")
        db.executemany("INSERT INTO afresh (rowid, text) VALUES (?, ?)", documents.items())
        return in_index(db, "afresh")


def test_what_is_much_is_taken_in_step_by_step(shared: Database) -> None:
    many = [f"word{number} " + "x" * 1000 for number in range(1000)]
    with holding(shared, beginning("s", *many, title="many")):
        assert ids(search(shared, "many")) == ids(search(shared, "word0")) == ["s"]
        assert search(shared, "word999") == []
        # What comes meanwhile is found at once, and once.
        said = Message(id=1001, role="user", content="meanwhile", created_at=AT)
        event = Event(2, AT, 1001, Submitted(1001), Cause())
        added = chained([said], 1000)
        assert shared.write([Commit(session_id="s", events=(event,), added=added)]) == [None]
        assert ids(search(shared, "meanwhile")) == ["s"]
        assert catch_up(shared) >= 4
        assert ids(search(shared, "word999")) == ["s"]
        check(shared)
        places = [place for word, place, _ in in_index(shared._db, "search") if word == "meanwhile"]
        assert len(places) == 1


async def test_a_server_takes_in_what_was_left_whoever_left_it(tmp_path: Path) -> None:
    with Database(tmp_path) as database:
        assert database.write([beginning("s", *["y" * 100_000] * 5, "left by another")]) == [None]
        assert search(database, "left") == []
        async with running(tmp_path) as server, asking(server) as ask:
            await eventually(lambda: search(database, "left"))
            await bring_in(ask.http, "t", [*["y" * 100_000] * 5, "left by itself"])
            await eventually(lambda: len(search(database, "left")) == 2)
            assert len((await ask("left"))["sessions"]) == 2


async def bring_in(http: httpx.AsyncClient, session_id: str, texts: list[str]) -> None:
    rows = [{"role": "user", "content": text} for text in texts]
    response = await http.post("/api/import", json={"session_id": session_id, "messages": rows})
    assert len(response.json()["imported"]) == 1


async def test_a_step_that_fails_holds_nothing_up_and_is_tried_again_a_while_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Database(tmp_path) as database:
        assert database.write([beginning("s", *["y" * 100_000] * 5, "left")]) == [None]
        database._db.execute(
            "CREATE TRIGGER broken BEFORE DELETE ON unsearched BEGIN SELECT RAISE(ABORT, 'broken'); END"
        )
    async with running(tmp_path) as server, client(server.ws()) as one, asking(server) as ask:
        await eventually(lambda: "a step of the index failed" in caplog.text)
        await one.say("goes on")
        await one.say("and on")
        assert caplog.text.count("a step of the index failed") == 1
        store = server.backchat._store

        def mend() -> None:
            store._writer._db.execute("DROP TRIGGER broken")

        store._jobs.put(mend)
        store._caught_up()  # the while is over
        await eventually(lambda: not store._writer.behind)
        assert len((await ask("left"))["sessions"]) == 1


def test_a_title_that_changes_is_found_by_its_new_words_only(shared: Database) -> None:
    def titled(revision: int, title: str) -> Commit:
        event = Event(revision, AT, 0, Titled(title), Cause())
        return Commit(session_id="s", events=(event,), listed=listed(lived([("title", title)]).state))

    with holding(shared, beginning("s", title="alpha")):
        assert shared.write([titled(2, "beta"), titled(3, "多语言 gamma")]) == [None, None]
        assert [ids(search(shared, query)) for query in ("alpha", "beta", "gamma", "语言")] == [[], [], ["s"], ["s"]]
        # The second is refused, and takes its title back.
        assert shared.write([titled(4, "delta"), titled(4, "omega")])[0] is None
        assert [ids(search(shared, query)) for query in ("gamma", "语言", "omega", "delta")] == [[], [], [], ["s"]]
        check(shared)


def test_a_session_that_the_index_lost_fails_no_commit_and_is_found_by_what_comes(shared: Database) -> None:
    with holding(shared, beginning("s", "before"), beginning("t", "before")):
        shared._db.execute("DELETE FROM searched WHERE session_id = 's'")
        said = Message(id=2, role="user", content="after", created_at=AT)
        added = chained([said], 1)
        later = [
            Commit(session_id=session_id, events=(Event(2, AT, 2, Submitted(2), Cause()),), added=added)
            for session_id in ("s", "t")
        ]
        assert shared.write(later) == [None, None]
        assert sorted(ids(search(shared, "after"))) == ["s", "t"]


def test_a_damaged_index_fails_no_commit_and_takes_what_came_once_it_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Database(tmp_path) as database:
        catch_up(database)
        assert database.write([beginning("s", "before", title="old")]) == [None]
        (whole,) = database._db.execute("SELECT block FROM search_data WHERE id = 10").fetchone()
    with contextlib.closing(sqlite3.connect(tmp_path / "backchat.db")) as db, db:
        db.execute("UPDATE search_data SET block = x'00' WHERE id = 10")
    with Database(tmp_path) as database:
        for commit in (
            Commit(session_id="s", events=(Event(2, AT, 1, Titled("next"), Cause()),), listed=titled_as("next")),
            Commit(session_id="s", events=(Event(3, AT, 1, Titled("last"), Cause()),), listed=titled_as("last")),
            beginning("t", "first", "second", title="named"),
            beginning("u", "untitled"),
        ):
            database.behind = False
            assert database.write([commit]) == [None]
            assert database.behind
        assert len(caplog.records) == caplog.text.count("the index of the search took nothing in") == 4
        with pytest.raises(sqlite3.Error):
            database.catch_up()
        database._db.execute("UPDATE search_data SET block = ? WHERE id = 10", (whole,))
        catch_up(database)
        words = ("before", "old", "next", "last", "first", "second", "named", "untitled")
        assert [ids(search(database, word)) for word in words] == [["s"], [], [], ["s"], ["t"], ["t"], ["t"], ["u"]]
        check(database)


def titled_as(title: str) -> Listed:
    return listed(lived([("title", title)]).state)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE search_data SET block = x'00' WHERE id = 1",
        "UPDATE search_data SET block = zeroblob(1000) WHERE id > 10",
        "DELETE FROM search_data",
        "DROP TABLE search_data",
        "DROP TABLE search",
        "DROP TABLE searched",
        "DROP TABLE unsearched",
    ],
)
def test_no_damage_to_the_index_fails_a_commit(tmp_path: Path, damage: str) -> None:
    with Database(tmp_path) as database:
        assert database.write([beginning("s", "before", title="old")]) == [None]
    with contextlib.closing(sqlite3.connect(tmp_path / "backchat.db")) as db, db:
        db.execute(damage)
    with Database(tmp_path) as database:
        titled = Commit(session_id="s", events=(Event(2, AT, 1, Titled("new"), Cause()),), listed=titled_as("new"))
        assert database.write([titled, beginning("t", "one", "two")]) == [None, None]
        assert database.write([beginning("u", *["x" * 100_000] * 2)]) == [None]
        listed = database.sessions("local", None, 9)
    assert sorted((one.session_id, one.title, one.message_count) for one in listed) == [
        ("s", "new", 1),
        ("t", None, 2),
        ("u", None, 2),
    ]


def test_a_failure_of_the_disk_under_the_index_fails_the_commit(tmp_path: Path) -> None:
    with Database(tmp_path) as database:
        # As SQLite does by itself where the disk is full.
        database._db.execute(
            "CREATE TEMP TRIGGER full BEFORE UPDATE ON searched BEGIN SELECT RAISE(ROLLBACK, 'disk full'); END"
        )
        (error,) = database.write([beginning("s", "x", title="y")])
        assert str(error) == "disk full"
        assert database.sessions("local", None, 9) == []
        assert database._db.execute("SELECT * FROM unsearched").fetchall() == []
        assert database.write([beginning("s", "x")]) == [None]


def test_what_could_not_be_committed_is_not_found(shared: Database) -> None:
    with holding(shared, beginning("s", "mine", title="ours")):
        failed, fine = shared.write([beginning("s", "yours", title="theirs"), beginning("t", "fine")])
        assert failed is not None
        assert fine is None
        assert [ids(search(shared, query)) for query in ("yours", "theirs", "mine", "fine")] == [[], [], ["s"], ["t"]]
        check(shared)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_what_is_in_an_older_database_is_found(tmp_path: Path, version: int) -> None:
    db = sqlite3.connect(tmp_path / "backchat.db")
    for script in MIGRATIONS[:version]:
        db.executescript(script)
    db.execute(f"PRAGMA user_version = {version}")
    contents = ('"old words"', '[{"type":"text","text":"多语言"}]', '{"damaged', '"nul \\u0000 here"')
    for session_id, title, deleted in (("a", "Entitled", None), ("b", None, None), ("c", "Gone", 6.0)):
        db.execute(
            "INSERT INTO session VALUES (?, 'local', 'l', 5.0, ?, ?, NULL, NULL, NULL)", (session_id, deleted, title)
        )
        for number, content in enumerate(contents, start=1):
            db.execute(
                "INSERT INTO message (session_id, id, parent, depth, role, content, created_at)"
                " VALUES (?, ?, ?, ?, 'user', ?, 5.0)",
                (session_id, number, number - 1, number, content),
            )
        db.execute(
            "INSERT INTO event (session_id, revision, type, v, at, head, body)"
            " VALUES (?, 1, 'created', 1, 5.0, 4, '{\"messages\":4}')",
            (session_id,),
        )
    db.commit()
    db.close()
    with Database(tmp_path) as database:
        catch_up(database)
        for query, number in (("word", 1), ("语言", 2), ("here", 4)):
            found = search(database, query)
            assert [(one.summary.session_id, one.match and one.match.message_id) for one in found] == [
                ("b", number), ("a", number),
            ]  # fmt: skip
        assert [(one.summary.session_id, one.match) for one in search(database, "entitled")] == [("a", None)]
        assert search(database, "gone") == []
        # And it goes on from there.
        assert database.write([beginning("d", "old words too")]) == [None]
        assert ids(search(database, "words")) == ["d", "b", "a"]
        check(database)


# Over HTTP.


@contextlib.asynccontextmanager
async def asking(server: Running) -> Any:
    async with httpx.AsyncClient(base_url=server.http, trust_env=False) as http:

        async def ask(query: str, **more: Any) -> Any:
            response = await http.get("/api/sessions", params={"q": query, **more})
            return response.json() if response.status_code == 200 else response.json()["error"]["data"]["code"]

        ask.http = http  # type: ignore[attr-defined]
        yield ask


async def test_a_search_is_answered_with_summaries_and_what_was_found(tmp_path: Path) -> None:
    async with running(tmp_path) as server, asking(server) as ask, client(server.ws()) as one:
        await one.say("Where do otters sleep?")
        await one.say("in rivers")
        await one.submit("/undo")
        answer = await ask("rivers")
        listing = (await ask.http.get("/api/sessions")).json()["sessions"]
        assert answer == {
            "sessions": [
                {**listing[0], "match": {"message_id": 3, "before": "in ", "match": "rivers", "after": ""}},
            ],
            "next": None,
        }
        await one.submit("/title Night quarters")
        assert [found["match"] for found in (await ask("quarters"))["sessions"]] == [None]
        assert (await ask("Night quarters", limit=1))["sessions"][0]["title"] == "Night quarters"
        assert (await ask("rivers quarters"))["sessions"] == []
        assert (await ask(""))["sessions"][0]["match"] is None


async def test_what_is_made_from_another_session_is_found_too_and_what_is_deleted_is_not(tmp_path: Path) -> None:
    async with running(tmp_path) as server, asking(server) as ask, client(server.ws()) as one:
        await one.say("otters")
        made = (await one.submit("/branch"))["data"]["session_id"]
        await one.submit("/drop 1")
        assert {found["session_id"] for found in (await ask("otters"))["sessions"]} == {made, one.session_id}
        await ask.http.delete(f"/api/sessions/{made}")
        assert [found["session_id"] for found in (await ask("otters"))["sessions"]] == [one.session_id]


async def test_a_reply_that_is_being_written_is_found_once_it_is_there(tmp_path: Path) -> None:
    async with running(tmp_path) as server, asking(server) as ask, client(server.ws()) as one:
        replies = Scripted(server)
        replies.say("otters sleep")
        await one.submit("where?")
        await one.until(lambda: one.view.run and one.view.run["text"])
        assert (await ask("otters"))["sessions"] == []
        await one.submit("/stop")
        (found,) = (await ask("otters"))["sessions"]
        assert found["match"]["message_id"] == 2


@pytest.mark.parametrize(
    "query", ['"', "'", "a\0b", "NEAR(", "* OR *", "a" * MOST_QUERY, "x " * (MOST_QUERY // 2), string.punctuation]
)
async def test_a_query_may_be_anything(tmp_path: Path, query: str) -> None:
    async with running(tmp_path) as server, asking(server) as ask:
        assert await ask(query) == {"sessions": [], "next": None}


async def test_a_search_is_bounded(tmp_path: Path) -> None:
    async with running(tmp_path) as server, asking(server) as ask:
        assert await ask("x" * (MOST_QUERY + 1)) == "invalid_params"
        assert await ask("x" * 10_000) == "invalid_params"
        for more in ({"limit": 0}, {"limit": 201}, {"after": "WzEsICJhIl0="}, {"page": 2}):
            assert await ask("x", **more) == "invalid_params"
