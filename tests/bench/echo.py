"""What Backchat is compared with: a bare Starlette echo under the uvicorn settings of `backchat serve`, in a process
of its own. Prints its port."""

from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from uvicorn import Server

from backchat.config import Settings
from backchat.server import listen, uvicorn_config


async def _echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


def main() -> None:
    """Serves until it is told to stop by a signal."""
    listening = listen("127.0.0.1", 0)
    bare = uvicorn_config(Starlette(routes=[WebSocketRoute("/ws/{name}", _echo)]), Settings().max_frame)
    # Everything as Backchat has it, but for what Backchat adds to the protocol.
    bare.ws = "websockets-sansio"
    print(listening.getsockname()[1], flush=True)
    Server(bare).run(sockets=[listening])


if __name__ == "__main__":
    main()
