"""What the kernel hears while a rename is under way, without a kernel."""

from __future__ import annotations

import ctypes
import errno
import struct
import threading
from types import SimpleNamespace

import pytest

from llmspellfs.fuse import replacing
from llmspellfs.fuse.answers import Answers
from llmspellfs.fuse.channel import Channel
from llmspellfs.fuse.replacing import Replacing

GETATTR, SETXATTR, OPEN, LOOKUP, RENAME = 3, 21, 14, 1, 12
_SEND = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class Device:
    """A channel whose answers are heard here; `opcode` is that of the request being served."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.opcode, self.caller = 0, 7
        self.folder, self.body = 0, bytearray(600)
        self.listened: list[bool] = []
        self._plain = _SEND(self._hear)
        address = ctypes.cast(self._plain, ctypes.c_void_p).value
        self.channel = Channel(send=address)
        self.answers = Replacing(Answers(self.channel), self._request, self.listened.append)
        self.plain = address

    def _request(self) -> memoryview:
        header = struct.pack("=IIQQIIII", 40, self.opcode, 0, self.folder, 0, 0, self.caller, 0)
        self.body[: len(header)] = header
        return memoryview(self.body)

    def _hear(self, _channel: int, pieces: int | None, count: int) -> int:
        assert (pieces is None) == (count == 0)
        if pieces is not None:
            header = ctypes.c_size_t.from_address(pieces).value
            self.heard.append(-ctypes.c_int32.from_address(header + 4).value)
        return 0

    def ask(self, opcode: int, caller: int = 7, heard: threading.Event | None = None) -> None:
        """Have a request come in, and set *heard* when it goes on."""
        self.opcode, self.caller = opcode, caller
        self.answers.heard()
        if heard is not None:
            heard.set()

    def answer(self, opcode: int, error: int) -> int:
        """Answer a request as libfuse does, and return the errno that arrives."""
        self.opcode, self.caller = opcode, 7
        header = ctypes.create_string_buffer(struct.pack("=IiQ", 16, -error, 1))
        pieces = (ctypes.c_size_t * 2)(ctypes.addressof(header), 16)
        assert _SEND(self.channel.send)(None, ctypes.addressof(pieces), 1) == 0
        return self.heard.pop()


def test_an_inode_that_is_gone_is_looked_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1.0]
    monkeypatch.setattr(replacing, "time", SimpleNamespace(monotonic=lambda: now[0]))
    device = Device()
    assert device.answer(OPEN, errno.ENOENT) == errno.ENOENT
    with device.answers.one(), device.answers.one():
        for opcode, error, heard in (
            (OPEN, errno.ENOENT, errno.ESTALE), (GETATTR, errno.ENOENT, errno.ESTALE), (OPEN, errno.EIO, errno.EIO),
            (LOOKUP, errno.ENOENT, errno.ENOENT), (SETXATTR, errno.ENOENT, errno.ENOENT), (OPEN, 0, 0),
        ):  # fmt: skip
            assert device.answer(opcode, error) == heard
    now[0] += 1.0
    assert device.answer(OPEN, errno.ENOENT) == errno.ESTALE
    now[0] += 0.01
    assert device.channel.send != device.plain
    device.answer(OPEN, 0)
    assert device.channel.send == device.plain
    assert device.answer(OPEN, errno.ENOENT) == errno.ENOENT


def test_a_request_without_an_answer_passes() -> None:
    device = Device()
    with device.answers.one():
        assert _SEND(device.channel.send)(None, None, 0) == 0
    assert device.heard == []


def test_a_rename_waits_for_whoever_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "_HOLD", 120.0)
    device = Device()
    with device.answers.one():
        assert device.answer(OPEN, errno.ENOENT) == errno.ESTALE
    device.ask(LOOKUP)
    device.answer(LOOKUP, 0)
    heard = threading.Event()
    waiting = threading.Thread(target=device.ask, args=(RENAME, 8, heard))
    waiting.start()
    assert not heard.wait(0.05)
    device.answer(OPEN, 0)
    assert heard.wait(60)
    waiting.join()


def test_whoever_looks_again_waits_for_the_rename_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "_HOLD", 120.0)
    device, heard = Device(), threading.Event()
    with device.answers.one():
        device.answer(OPEN, errno.ENOENT)
        waiting = threading.Thread(target=device.ask, args=(LOOKUP, 7, heard))
        waiting.start()
        assert not heard.wait(0.05)
    assert heard.wait(60)
    waiting.join()


def test_a_rename_waits_for_a_moment_only_for_who_does_not_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "_HOLD", 0.05)
    device = Device()
    with device.answers.one():
        device.answer(OPEN, errno.ENOENT)
    device.ask(LOOKUP)
    device.ask(RENAME, 8)
    device.answer(RENAME, 0)


def test_requests_are_heard_only_while_renames_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacing, "_AFTER", 0.0)
    device = Device()
    device.ask(RENAME)
    with device.answers.one():
        pass
    device.answer(RENAME, 0)
    device.answer(OPEN, 0)
    assert device.listened == [True, False]


def test_a_rename_of_a_name_to_itself_locks_no_path_twice_and_succeeds() -> None:
    device = Device()
    device.folder = 7
    struct.pack_into("=Q10s", device.body, 40, 7, b"same\0same\0")
    device.ask(RENAME)
    assert device.body[48:58] == b"same\0\1\1\1\1\0"
    with pytest.raises(OSError, match="already"), device.answers.one():
        pytest.fail("it is not to be tried")
    assert device.answer(RENAME, errno.EALREADY) == 0
    struct.pack_into("=Q11s", device.body, 40, 7, b"same\0other\0")
    device.ask(RENAME)
    with device.answers.one():
        pass
    assert device.answer(RENAME, errno.EALREADY) == errno.EALREADY
