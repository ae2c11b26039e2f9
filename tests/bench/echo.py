"""What Backchat is compared with: a bare Starlette server under the uvicorn settings of `backchat serve`, in a process
of its own. It says back what it is sent on `/ws/NAME`, and to all that are on the same `/fan/NAME`. Prints its port."""

from collections import defaultdict

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from uvicorn import Server

from backchat.config import Settings
from backchat.server import listen, uvicorn_config

_attached: defaultdict[str, list[WebSocket]] = defaultdict(list)


async def _echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def _fan(websocket: WebSocket) -> None:
    attached = _attached[websocket.path_params["name"]]
    attached.append(websocket)
    await websocket.accept()
    async for text in websocket.iter_text():
        for one in attached:
            await one.send_text(text)
    attached.remove(websocket)


def main() -> None:
    """Serves until it is told to stop by a signal."""
    listening = listen("127.0.0.1", 0)
    routes = [WebSocketRoute("/ws/{name}", _echo), WebSocketRoute("/fan/{name}", _fan)]
    bare = uvicorn_config(Starlette(routes=routes), Settings().max_frame)
    # Everything as Backchat has it, but for what Backchat adds to the protocol.
    bare.ws = "websockets-sansio"
    print(listening.getsockname()[1], flush=True)
    Server(bare).run(sockets=[listening])


if __name__ == "__main__":
    main()
