"""A child process for what a script's text can make endless: templates, patterns, queries, schemas.

The child serves one call after another, a line of JSON each. Before each it sets an alarm whose default action ends
the process, even inside C and even when the parent has died; its address space is bounded. So a call that takes too
long, or the memory of a runaway one, costs its own failure and the next call a new child. A Worker belongs to one
thread.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping

from llmspellfs.errors import InvalidValue
from llmspellfs.tools.outcome import Outcome

SECONDS = 10.0
"""Time that one call may take."""
MEMORY = 1 << 29
"""Bytes of address space that calls may take in the child."""
_START = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from llmspellfs.tools.child import serve
serve(**json.loads(sys.argv[2]))
"""


class Worker:
    """The child, started at the first call and again after one that ended it."""

    def __init__(self, *, seconds: float = SECONDS, memory: int = MEMORY, installed: bool = True) -> None:
        """Allow each call *seconds*, and all *memory* bytes; *installed* is whether it may be a package's tool."""
        self._seconds = seconds
        self._bounds = json.dumps({"seconds": seconds, "memory": memory, "installed": installed})
        self._child: subprocess.Popen[bytes] | None = None

    def call(self, name: str, arguments: Mapping[str, object]) -> Outcome:
        """Run the tool *name* with *arguments*, checked already, and return its outcome."""
        try:
            request = json.dumps([name, arguments]).encode() + b"\n"
        except (TypeError, ValueError):
            raise InvalidValue(name, "its parameters cannot be said in JSON") from None
        try:
            answer = self._asked(request)
        except BaseException:
            self._abandon()  # or its answer would be taken for that of the next call
            raise
        if not answer.endswith(b"\n"):
            return Outcome(success=False, error=self._why_ended())
        return Outcome(**json.loads(answer))

    def _asked(self, request: bytes) -> bytes:
        """Return the child's answer; where it ended before (nothing was begun), ask a new one."""
        child = self._child
        if child is None or child.poll() is not None:
            child = self._child = self._started()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(request)
            child.stdin.flush()
        except BrokenPipeError:
            return b""
        return child.stdout.readline()

    def _started(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", _START, json.dumps(sys.path), self._bounds]
        child = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=-1
        )
        weakref.finalize(self, _end, child)
        return child

    def _abandon(self) -> None:
        if self._child is not None:
            self._child.kill()
            _end(self._child)

    def _why_ended(self) -> str:
        assert self._child is not None
        status = _end(self._child)
        if status == -signal.SIGALRM:
            return f"took more than {self._seconds:g} s"
        return f"its process ended early ({status}), most likely for want of memory"


def _end(child: subprocess.Popen[bytes]) -> int:
    """End *child* and return how it ended; one that has ended already is only waited for."""
    for pipe in (child.stdin, child.stdout):
        try:
            if pipe is not None:
                pipe.close()
        except BrokenPipeError:
            pass
    try:
        return child.wait(timeout=1)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
