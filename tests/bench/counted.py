"""`python -m tests.bench.counted serve …`: Backchat, with its event loop's bytecodes counted from the first SIGUSR1 on;
each prints how many there were."""

import signal
import sys
from types import FrameType
from typing import Any

from backchat import cli


class _Counter:
    def __init__(self) -> None:
        self._count = 0

    def tell(self, number: int, frame: FrameType | None) -> None:
        """What the signal does."""
        del number, frame
        sys.settrace(None)
        print(self._count, flush=True)
        sys.settrace(self._called)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._traced

    def _traced(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            self._count += 1
        return self._traced


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _Counter().tell)
    sys.exit(cli.main())
