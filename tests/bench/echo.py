"""What Backchat is compared with: a bare Starlette server under the uvicorn settings of `backchat serve`, in a process
of its own. It says back what it is sent on `/ws/NAME`, and to all that are on the same `/fan/NAME`. Prints its port.

Arguments: a port (0 takes a free one), and the settings of uvicorn as a JSON object. It imports nothing but Starlette
and uvicorn: what it takes to start, and its memory, are compared too.
"""

import json
import sys
from collections import defaultdict
from socket import AF_INET, IPPROTO_TCP, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from uvicorn import Config, Server

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
    app = Starlette(routes=[WebSocketRoute("/ws/{name}", _echo), WebSocketRoute("/fan/{name}", _fan)])
    config = Config(app, **json.loads(sys.argv[2]))
    # As Backchat's: the protocol is named, or the event loop would leave Nagle's algorithm on.
    with socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) as listening:
        listening.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", int(sys.argv[1])))
        listening.listen(config.backlog)
        print(listening.getsockname()[1], flush=True)
        Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
