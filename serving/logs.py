"""What a worker prints, passed on line by line, and cut at the function's limit with the platform's notice."""

import sys
import threading
from typing import Literal

Stream = Literal["stdout", "stderr"]
_NOTICE = "Logs were truncated because the total bytes size exceeds the limit of {} bytes.\n"
_writing = threading.Lock()


class Logs:
    """The two streams of one worker; both share what one call may print."""

    def __init__(self, limit: int) -> None:
        """`limit` in bytes a call."""
        self._limit = limit
        self._left = limit
        self._parts: dict[Stream, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}

    def feed(self, stream: Stream, data: bytes) -> None:
        """Pass on what makes whole lines; what is over the limit is gone."""
        if self._left < 0:
            return
        allowed = data[: self._left]
        self._left -= len(allowed)
        whole, newline, part = (bytes(self._parts[stream]) + allowed).rpartition(b"\n")
        self._parts[stream][:] = part
        self._pass_on(stream, whole + newline)
        if len(allowed) < len(data):
            self._end_lines()
            self._left = -1
            self._pass_on("stderr", _NOTICE.format(self._limit).encode())

    def end_call(self) -> None:
        """Pass on what has no line end yet; the next call has the whole limit again."""
        self._end_lines()
        self._left = self._limit

    def _end_lines(self) -> None:
        for stream, part in self._parts.items():
            if part:
                self._pass_on(stream, bytes(part) + b"\n")
                part.clear()

    @staticmethod
    def _pass_on(stream: Stream, lines: bytes) -> None:
        if lines:
            target = sys.stdout if stream == "stdout" else sys.stderr
            with _writing:
                target.write(lines.decode("utf-8", "replace"))
                target.flush()
