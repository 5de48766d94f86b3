from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmspellfs.service.outgoing import write_whole


def broken() -> Iterator[bytes]:
    yield b"half"
    raise RuntimeError("harmed")


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"precious")
    with pytest.raises(RuntimeError):
        write_whole(str(target), broken())
    assert target.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == ["out"]


def test_what_is_replaced_keeps_its_mode_and_owner(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"old")
    target.chmod(0o604)
    if os.getuid() == 0:
        os.chown(target, 1234, 1235)
    before = target.stat()
    write_whole(str(target), [b"n", b"ew"])
    after = target.stat()
    assert target.read_bytes() == b"new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_progress_is_told_in_bytes(tmp_path: Path) -> None:
    told: list[int] = []
    write_whole(str(tmp_path / ("ü" * 120)), [b"12", b"345"], told.append)
    assert told == [2, 5]


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    missing = str(tmp_path / "no" / "where")
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(missing, [b""])
    assert caught.value.filename == missing


def test_an_error_in_writing_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        write_whole("/dev/full", [b"content"])


def test_what_is_no_regular_file_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(str(pipe), [b"through"])
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    with pytest.raises(IsADirectoryError):
        write_whole(str(tmp_path), [b""])
