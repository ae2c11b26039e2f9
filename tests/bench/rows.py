"""The rows: all that is measured, in the order of the table. To add one is to add it here."""

from typing import Final

from tests.bench import growth
from tests.bench.bytecodes import Bytecodes
from tests.bench.fan import Fan
from tests.bench.figures import micros, millis
from tests.bench.first import FirstDelta
from tests.bench.growth import Growth, long_among_many, long_sessions, many_sessions
from tests.bench.importing import Import
from tests.bench.loads import Durable, Limit, Load
from tests.bench.memory import Memory
from tests.bench.plan import Plan
from tests.bench.stage import Row
from tests.bench.starts import Start
from tests.bench.talk import Message

NOTIFIED: Final = 2
"""How many notifications each client is sent for an undo."""


def rows(plan: Plan) -> list[Row]:
    """Every row of a plan. The targets are those of DESIGN section 8."""
    one, many, most = plan.crowds
    few_clients, some_clients, most_clients = plan.fans
    each = "connections on as many sessions"
    return [
        Load(name=f"status-{one}", words="`/status`, 1 connection", text="/status", links=one, p50=1.25),
        Load(
            name=f"status-{many}",
            words=f"`/status`, {many} connections",
            text="/status",
            links=many,
            rate=0.70,
            limit=f"driver-{many}",
        ),
        Durable(name=f"undo-{one}", words="durable `/undo`, 1 connection", text="/undo", links=one, floor=1.5),
        Load(
            name=f"undo-{many}",
            words=f"durable `/undo`, {many} {each}",
            text="/undo",
            links=many,
            rate=0.50,
            p99=3,
            limit=f"driver-{many}",
        ),
        Load(
            name=f"undo-{most}",
            words=f"durable `/undo`, {most} {each}",
            text="/undo",
            links=most,
            rate=0.50,
            limit=f"driver-{most}",
        ),
        Load(
            name="undo-shared",
            words=f"durable `/undo`, {many} connections on one session",
            text="/undo",
            links=many,
            shared=True,
            rate=0.45,
            limit="driver-shared",
        ),
        Load(name=f"retry-{one}", words="durable `/retry`, 1 connection", text="/retry", links=one),
        Load(
            name=f"retry-{many}",
            words=f"durable `/retry`, {many} {each}",
            text="/retry",
            links=many,
            limit=f"driver-{many}",
        ),
        Load(
            name=f"retry-{most}",
            words=f"durable `/retry`, {most} {each}",
            text="/retry",
            links=most,
            limit=f"driver-{most}",
        ),
        Limit(name=f"driver-{many}", words=f"the load driver's own limit: {many} bare sockets", links=many),
        Limit(name=f"driver-{most}", words=f"the load driver's own limit: {most} bare sockets", links=most),
        Limit(
            name="driver-shared",
            words=f"the load driver's own limit: {many} bare sockets, with {NOTIFIED * many} notifications before each"
            " reply",
            links=many,
            notifications=NOTIFIED * many,
        ),
        Message(name=f"message-{one}", words="message and `echo` backend's reply, 1 connection", links=one),
        Message(name=f"message-{many}", words=f"message and `echo` backend's reply, {many} {each}", links=many),
        FirstDelta(
            name="first-delta",
            words="message to first `run.delta`, 1 connection, beside asking the same model server directly",
        ),
        Growth(
            name="undo-messages",
            words="`/undo` on a session, p50",
            measure=growth.undo,
            sizes=long_sessions(plan.lengths, "turns"),
            show=micros,
            echo=True,
        ),
        Growth(
            name="attach-messages",
            words="attaching to a session in memory, p50",
            measure=growth.attach,
            sizes=long_sessions(plan.lengths, "turns"),
            show=millis,
            echo=True,
        ),
        Growth(
            name="attach-cold",
            words="attaching to a session not in memory, p50",
            measure=growth.attach_cold,
            sizes=long_sessions(plan.lengths, "cold"),
            show=millis,
            echo=True,
        ),
        Growth(
            name="undo-stored",
            words="`/undo` among stored sessions, p50",
            measure=growth.undo,
            sizes=many_sessions(plan.stored),
            show=micros,
            echo=True,
        ),
        Growth(
            name="attach-stored",
            words="attaching among stored sessions, p50",
            measure=growth.attach,
            sizes=many_sessions(plan.stored),
            show=millis,
            echo=True,
        ),
        Growth(
            name="list-stored",
            words="`GET /api/sessions`, p50",
            measure=growth.list_sessions,
            sizes=many_sessions(plan.stored),
            show=millis,
        ),
        Growth(
            name="start-stored",
            words="start to first accepted socket",
            measure=growth.start,
            sizes=many_sessions(plan.stored, "started"),
            show=millis,
            fresh=True,
        ),
        Growth(
            name="undo-grown",
            words="`/undo`, p50",
            measure=growth.undo,
            sizes=long_among_many(*plan.grown),
            show=micros,
            target=1.1,
        ),
        Bytecodes(name="bytecodes-status", words="bytecodes of the loop for `/status`", text="/status", links=one),
        Bytecodes(name="bytecodes-undo", words="bytecodes of the loop for `/undo`", text="/undo", links=one),
        Bytecodes(
            name="bytecodes-shared",
            words=f"bytecodes of the loop for `/undo` on a session with {many} connections",
            text="/undo",
            links=many,
        ),
        Import(name="import", words="`backchat import`"),
        Memory(name="memory", words="memory", idle=45, connection=30),
        Start(name="start", words="start to first accepted socket", target=1.3),
        Fan(name=f"delta-{few_clients}", words="one delta to 1 client, until it has it", clients=few_clients),
        Fan(
            name=f"delta-{some_clients}",
            words=f"one delta to {some_clients:,} clients, until the last has it",
            clients=some_clients,
        ),
        Fan(
            name=f"delta-{most_clients}",
            words=f"one delta to {most_clients:,} clients, until the last has it",
            clients=most_clients,
            target=1.3,
            limit=True,
        ),
    ]


def chosen(plan: Plan, names: list[str]) -> list[Row]:
    """The rows with these names; all where there is none. Raises NoSuchRow."""
    every = rows(plan)
    unknown = set(names) - {row.name for row in every}
    if unknown:
        raise NoSuchRow(f"There is no row {min(unknown)}; there are {', '.join(row.name for row in every)}.")
    return [row for row in every if not names or row.name in names]


class NoSuchRow(Exception):
    """No row has that name."""
