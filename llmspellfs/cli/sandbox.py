"""`run --sandbox`: a script that is not trusted runs in a child process, which is killed when its time is up.

The parent opens no store. It tells the child what to do through its standard input, waits until the child says that
the script begins, and ends the child and whatever that has started: at its end, after the time that is allowed, or at
a signal. What the script had committed by then stays; nothing is there by half, since each call is one transaction.
The child is told first, so that it writes the record of the run, and has a moment for it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from typing import NoReturn

from llmspellfs.cli import render
from llmspellfs.errors import ScriptFailed

TIMED_OUT = 124
"""Exit status where the time is up, as timeout(1) has it."""
SIGNALLED = 128
"""Added to the number of a signal that ended the child, as shells do."""
GRACE = 3.0
"""Seconds that a script's process has for writing the record of its run."""
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from llmspellfs.cli.sandbox import serve; serve()"


@dataclass(frozen=True, slots=True)
class Order:
    """What the child is to run: *code* called *name* with *args*, on which store, within which bounds."""

    code: bytes
    name: str
    args: tuple[str, ...]
    store: str | None
    config: str | None
    session: str | None
    read_only: bool
    max_artifacts: int | None
    seconds: float
    memory: int
    record: bool
    debug: bool

    def to_json(self) -> bytes:
        """Return it as the child reads it; names keep bytes that are not UTF-8."""
        return json.dumps({**asdict(self), "code": self.code.decode("latin-1")}).encode("ascii")


def run_in_child(order: Order) -> int:
    """Run *order* in a child process and return the exit status; say on stderr why it had to be ended."""
    begun, begins = os.pipe()
    with open(begun, "rb") as begun_file:
        try:
            child = _started(begins)
        finally:
            os.close(begins)
        try:
            with _heeding():
                _tell(child, order)
                begun_file.read(1)  # nothing, where it ends before
                return _status(_awaited(child, order.seconds))
        except subprocess.TimeoutExpired:
            _ask(child, signal.SIGALRM)
            return _say(f"the script was ended after {order.seconds:g} s (--timeout)", TIMED_OUT)
        except KeyboardInterrupt:
            _ask(child, signal.SIGINT)
            raise
        except _Told as told:
            _ask(child, told.number)
            return SIGNALLED + told.number
        finally:
            _end(child)


class _Told(BaseException):
    """Raised where this process is told to end, by the signal *number*."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _heeding() -> Iterator[None]:
    """Raise _Told where this process is told to end."""

    def hear(number: int, _: object) -> NoReturn:
        raise _Told(number)

    heeded = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is not signal.SIG_IGN]
    before = {number: signal.signal(number, hear) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ask(child: subprocess.Popen[bytes], number: int) -> None:
    """Tell *child* to end by the signal *number*, and give it a moment."""
    with suppress(subprocess.TimeoutExpired, ProcessLookupError):
        child.send_signal(number)
        _awaited(child, GRACE)


def _awaited(child: subprocess.Popen[bytes], seconds: float | None) -> int:
    """Return the status of *child* once it has ended; raise TimeoutExpired after *seconds*.

    Popen's own wait with a bound takes a lock that it keeps where a signal's handler raises at the wrong moment, and
    nobody could wait for the child then.
    """
    handle = os.pidfd_open(child.pid)
    try:
        if not select.select([handle], [], [], seconds)[0]:
            raise subprocess.TimeoutExpired(child.args, seconds or 0.0)
    finally:
        os.close(handle)
    return child.wait()


def _started(begins: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", _START, json.dumps(sys.path), str(begins), str(os.getpid())]
    return subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=(begins,), process_group=0)


def _tell(child: subprocess.Popen[bytes], order: Order) -> None:
    assert child.stdin is not None
    with suppress(BrokenPipeError), child.stdin:
        child.stdin.write(order.to_json())


def _status(status: int) -> int:
    if status >= 0:
        return status
    why = f"the script's process ended by signal {-status}, most likely for want of memory (--memory)"
    return _say(why, SIGNALLED - status)


def _say(why: str, status: int) -> int:
    render.failure(ScriptFailed(why))
    return status


def _end(child: subprocess.Popen[bytes]) -> None:
    """End *child*'s whole process group."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def serve() -> NoReturn:
    """Be the child: run the order on standard input and exit with its status."""
    told = json.load(sys.stdin.buffer)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    order = Order(**{**told, "code": told["code"].encode("latin-1"), "args": tuple(told["args"])})
    render.prepare()
    try:
        status = _run(order)
        sys.stdout.flush()
    except BrokenPipeError:
        status = render.silence()
    except Exception as error:  # noqa: BLE001 - the last handler: whatever it is becomes a message
        status = render.failure(error, debug=order.debug)
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(status)  # no finalizer of the script runs any more


def _run(order: Order) -> int:
    from llmspellfs.cli.ending import Ending
    from llmspellfs.config import load_config
    from llmspellfs.lua.limits import Bounds, bind_process, is_orphan
    from llmspellfs.lua.runtime import Script
    from llmspellfs.model.event import Origin
    from llmspellfs.service.confined import confine
    from llmspellfs.service.fence import Fence
    from llmspellfs.service.store import open_store

    origin, bounds = Origin(f"uid:{os.getuid()}", "cli"), Bounds(order.seconds, order.memory)
    with open_store(order.store, config=load_config(order.config), origin=origin) as store:
        session = None if order.session is None else store.sessions.get(order.session).id
        fence = Fence(
            session, others_readable=order.read_only, max_artifacts=order.max_artifacts, max_read=order.memory
        )
        within = confine(store, fence)
        script = Script(within, session=session, args=order.args, record=order.record, bounds=bounds)
        bind_process(bounds)
        if is_orphan(int(sys.argv[3])):
            return SIGNALLED + signal.SIGKILL
        os.write(int(sys.argv[2]), b".")
        os.close(int(sys.argv[2]))
        with Ending(store) if order.record else nullcontext():
            return script.run_code(order.code, order.name)
