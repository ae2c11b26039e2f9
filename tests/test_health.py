"""Seeing it run: `/healthz`, `/readyz`, `/metrics`, and a log that has ids and sizes, never contents."""

import asyncio
import contextlib
import json
import logging
import re
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from backchat.logs import set_up, tell
from backchat.store.sqlite import Database
from tests.support.client import Json, Refused, client, eventually
from tests.support.model_server import model_server, status
from tests.support.server import Running, running
from tests.test_cli import run, serving


@pytest.fixture
async def http(server: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with http_of(server) as http:
        yield http


def http_of(server: Running) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.http, trust_env=False)


# Ready.


async def test_a_server_that_works_is_healthy_and_ready(http: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await http.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_a_server_whose_disk_fails_is_healthy_and_not_ready_until_it_works_again(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backchat.health.PROBE_SECONDS", 0.0)

    def failing(_: Database) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as full:
        full.setattr(Database, "probe", failing)
        answer = await http.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "storage_failed"})
        assert (await http.get("/healthz")).status_code == 200
    assert (await http.get("/readyz")).status_code == 200


async def test_a_probe_really_writes_and_changes_nothing(server: Running, http: httpx.AsyncClient) -> None:
    wal = server.settings.data / "backchat.db-wal"
    before = wal.read_bytes()
    assert (await http.get("/readyz")).status_code == 200
    assert wal.read_bytes() != before
    with sqlite3.connect(server.settings.data / "backchat.db") as db:
        assert db.execute("SELECT count(*) FROM checkpoint").fetchone() == (0,)
        db.execute("CREATE TRIGGER full BEFORE INSERT ON checkpoint BEGIN SELECT RAISE(ABORT, 'full'); END")
    server.backchat._health._probe = None
    assert (await http.get("/readyz")).status_code == 503


async def test_a_store_that_does_not_answer_is_not_ready(
    server: Running, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backchat.health.PATIENCE_SECONDS", 0.05)
    stuck = threading.Event()
    monkeypatch.setattr(Database, "probe", lambda _: stuck.wait(20))
    try:
        assert (await http.get("/readyz")).status_code == 503
    finally:
        stuck.set()


async def test_many_who_ask_at_once_share_a_probe(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    probes = 0
    probe = Database.probe

    def counting(self: Database) -> None:
        nonlocal probes
        probes += 1
        probe(self)

    monkeypatch.setattr(Database, "probe", counting)
    monkeypatch.setattr("backchat.health.PROBE_SECONDS", 1e9)
    answers = await asyncio.gather(*(http.get("/readyz") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert probes == 1


async def test_a_server_that_goes_down_is_not_ready(server: Running, http: httpx.AsyncClient) -> None:
    await server.backchat.drain()
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "draining"})


# Metrics.


async def numbers(http: httpx.AsyncClient) -> dict[str, float]:
    """All samples, by name and labels."""
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


async def test_what_happens_is_counted(server: Running, http: httpx.AsyncClient) -> None:
    before = await numbers(http)
    assert before["backchat_connections"] == before["backchat_commits_total"] == 0
    async with client(server.ws()) as one, client(server.ws(one.session_id)):
        await one.say("hello")
        await one.submit("/undo")
        await one.submit("/status")
        await one.request("messages", before=5)
        await one.request("complete", text="/un")
        await one.request("render", messages=[1])
        with pytest.raises(Refused):
            await one.submit("/undo")
        await one.send("nonsense")
        await one.submit("/title x")
        after = await numbers(http)
        assert after["backchat_connections"] == 2
    assert after["backchat_connections_opened_total"] == 2
    assert after["backchat_frames_received_total"] == 9
    for command in ("message", "undo", "status", "messages", "complete", "render", "title"):
        assert after[f"backchat_requests_total {command}"] == 1
    assert after["backchat_errors_total nothing_to_undo"] == after["backchat_errors_total unknown_method"] == 1
    assert after["backchat_runs_total completed"] == 1
    # The session, the message, the reply, the undo, the title.
    assert after["backchat_commits_total"] == 5
    assert after["backchat_write_seconds_count"] == after["backchat_write_seconds_bucket +Inf"] >= 4
    assert after["backchat_write_seconds_sum"] > 0
    assert after["backchat_database_bytes wal"] > 0
    assert after["process_resident_memory_bytes"] > 0
    await eventually(lambda: server.backchat._hub.attached_connections == 0)
    end = await numbers(http)
    assert (end["backchat_connections"], end["backchat_sessions_idle"]) == (0, 1)
    assert all(end[name] >= value for name, value in after.items() if "_total" in name or "_bucket" in name)


async def test_commits_that_fail_are_counted(server: Running, http: httpx.AsyncClient) -> None:
    async with client(server.ws()) as one:
        db = sqlite3.connect(server.settings.data / "backchat.db")
        db.execute("CREATE TRIGGER broken BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'broken'); END")
        with pytest.raises(Refused):
            await one.submit("/title x")
        db.execute("DROP TRIGGER broken")
        db.close()
        after = await numbers(http)
    assert (after["backchat_commits_failed_total"], after["backchat_errors_total storage_failed"]) == (1, 1)


async def test_a_reply_that_was_stopped_and_one_that_lives_are_counted(tmp_path: Path) -> None:
    async with running(tmp_path, echo_delay=60) as server, client(server.ws()) as one, http_of(server) as http:
        await one.submit("hello")
        assert (await numbers(http))["backchat_runs_live"] == 1
        await one.submit("/stop")
        await eventually(lambda: server.backchat._runs is not None and server.backchat._runs.number == 0)
        after = await numbers(http)
    assert after["backchat_runs_total stopped"] == 1


async def test_the_numbers_are_for_whoever_runs_the_server(tmp_path: Path) -> None:
    ann = (await run("token", "add", "ann", "--data", tmp_path)).out.strip()
    async with running(tmp_path, token="the-operator") as server, http_of(server) as http:
        for token, expected in (("", 401), ("x", 401), (ann, 403), ("the-operator", 200)):
            answer = await http.get("/metrics", headers={"Authorization": f"Bearer {token}".strip()})
            assert answer.status_code == expected
        for path in ("/healthz", "/readyz"):
            assert (await http.get(path)).status_code == 200


# The log.

SECRET = "zqxj"
"""In all that a person or a model writes here, and in nothing else."""


async def say_secrets(served: Any, token: str, data: Path) -> None:
    """Has this word in everything that somebody could send."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=served.page, trust_env=False, headers=headers) as http:
        async with client(served.ws() + f"?name={SECRET}", additional_headers=headers) as one:
            await one.say(f"{SECRET} hello")
            for name in ("title", "system", "model", "edit", "branch --", "new"):
                await one.submit(f"/{name} {SECRET}", op_id=f"{SECRET} {name}")
            for line in ("/retry", "/undo"):
                await one.submit(line, op_id=f"{SECRET} {line}")
            for line in (f"/{SECRET}", f"/pick {SECRET}", f"/personality {SECRET}", f"/undo {SECRET}"):
                with contextlib.suppress(Refused):
                    await one.submit(line)
            await one.socket.send(f'{{"id": 1, "method": "{SECRET}", "params": {{}}}}')
            await one.socket.send(f'{{"{SECRET}')
            await one.socket.send(SECRET.encode())
            await one.request("complete", text=f"/model {SECRET}")
            session = f"/api/sessions/{one.session_id}"
        await http.get("/api/sessions", params={"q": SECRET})
        await http.get(session + "/export", params={"format": "json"})
        await http.post("/api/sessions", json={"title": SECRET, "messages": [{"role": "user", "content": SECRET}]})
        for content in (f'[{{"role": "user", "content": "{SECRET}"}}]', f'{{"{SECRET}": 1}}', f"{SECRET}["):
            await http.post("/api/import", params={"name": f"{SECRET}.json"}, content=content)
        await http.patch(session, json={"title": SECRET})
        await http.patch(session, json={SECRET: 1})
        await http.delete(session)
        await http.post(session + "/restore")
        await http.get(f"/{SECRET}", params={SECRET: SECRET})
    async with httpx.AsyncClient(base_url=served.page, trust_env=False) as stranger:
        await stranger.post("/api/login", json={"token": SECRET})
        await stranger.post("/api/login", json={"token": token})
        await stranger.get("/api/sessions", headers={"Authorization": f"Bearer {SECRET}"})
        await stranger.get("/api/sessions", headers={"Cookie": f"backchat_token={SECRET}"})


@pytest.mark.parametrize("form", ["text", "json"])
async def test_the_log_has_ids_and_sizes_and_neither_contents_nor_secrets(tmp_path: Path, form: str) -> None:
    token = f"{SECRET}-of-the-operator"
    async with serving(
        tmp_path, "--log-level", "debug", "--log-format", form, BACKCHAT_TOKEN=token, BACKCHAT_API_KEY=SECRET
    ) as served:
        await say_secrets(served, token, tmp_path)
        served.process.terminate()
        end = await served.ended()
    assert SECRET not in end.out + end.err
    for what in ("connection opened", "connection closed", "reply ended", "session created", "session deleted"):
        assert what in end.err
    for what in ("session restored", "import", "signed in", "sign-in refused"):
        assert what in end.err
    for line in end.err.splitlines():
        if form == "json":
            assert json.loads(line).keys() >= {"time", "level", "logger", "message"}
        else:
            assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z (debug|info|warning|error) [a-z.]+: ", line), line


async def test_a_provider_that_repeats_what_it_was_sent_does_not_have_it_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with model_server() as models:
        models.script(status(400, f"I do not like {SECRET}"))
        options: Json = {"backend": "openai", "base_url": models.url, "model": "m", "api_key": SECRET, "retries": 0}
        async with running(tmp_path, **options) as server, client(server.ws()) as one:
            with caplog.at_level(logging.DEBUG, "backchat"):
                await one.say(SECRET)
            await one.until(lambda: len(one.view.messages) == 2)
            assert SECRET in json.dumps(one.view.messages[1]), "the person is told"
    assert "reply failed" in caplog.text
    assert SECRET not in caplog.text + json.dumps([vars(record) for record in caplog.records], default=str)


async def test_a_server_that_has_nothing_to_complain_of_writes_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        async with client(served.ws()) as one:
            await one.say("hello")
        served.process.terminate()
        end = await served.ended()
    assert end.err == ""


def test_a_line_has_its_facts_and_a_trace_where_something_was_raised(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("backchat.test")
    monkeypatch.setattr(logging.root, "handlers", [])
    level = logging.root.level
    try:
        set_up("info", "json")
        tell(log, logging.DEBUG, "too little", size=1)
        tell(log, logging.INFO, "something\nhappened", session="s", size=3, nothing=None)
        try:
            raise ValueError("x")
        except ValueError:
            log.exception("a defect")
        first, second = map(json.loads, capsys.readouterr().err.splitlines())
        assert (first["message"], first["session"], first["size"], first["level"]) == (
            "something\nhappened", "s", 3, "info",
        )  # fmt: skip
        assert "nothing" not in first
        assert second["trace"].endswith("ValueError: x")
        set_up("info", "text")
        tell(log, logging.INFO, "something happened", session="s", seconds=0.12345)
        assert capsys.readouterr().err.endswith("info backchat.test: something happened session=s seconds=0.123\n")
    finally:
        logging.root.setLevel(level)
        logging.getLogger("backchat").setLevel(logging.NOTSET)
