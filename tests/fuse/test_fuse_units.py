"""The adapter's parts that need no mount: structures, options, the log, requests."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import fuse
import pytest

from llmspellfs.errors import InvalidValue
from llmspellfs.fuse.binding import hidden_by
from llmspellfs.fuse.layout import put_stat, put_text, times_at
from llmspellfs.fuse.log import SafeFormatter
from llmspellfs.fuse.mountpoint import daemon_of, live_mounts
from llmspellfs.fuse.notify import notify
from llmspellfs.fuse.options import MountOptions, parse_options
from llmspellfs.fuse.processes import daemons
from llmspellfs.tree.api import Attr

ATTR = Attr(0o100644, 77, 3, 1000, 1001, 1 << 40, 9, 1_500_000_000_000_000_001, 2, 3_000_000_003)


def test_attributes_land_in_the_fields_of_struct_stat() -> None:
    found = fuse.c_stat()
    put_stat(ATTR, ctypes.addressof(found))
    assert (found.st_mode, found.st_ino, found.st_nlink) == (0o100644, 77, 3)
    assert (found.st_uid, found.st_gid) == (1000, 1001)
    assert (found.st_size, found.st_blocks) == (1 << 40, 9)
    assert (found.st_atimespec.tv_sec, found.st_atimespec.tv_nsec) == (1_500_000_000, 1)
    assert (found.st_mtimespec.tv_sec, found.st_mtimespec.tv_nsec) == (0, 2)
    assert (found.st_ctimespec.tv_sec, found.st_ctimespec.tv_nsec) == (3, 3)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="offsets of another machine")
def test_the_flags_of_libfuse_stand_where_it_reads_them() -> None:
    table = fuse.fuse_operations(flag_nullpath_ok=1, flag_nopath=1, flag_utime_omit_ok=1)
    raw = ctypes.string_at(ctypes.addressof(table), ctypes.sizeof(table))
    assert struct.unpack_from("=I", raw, 38 * 8) == (0b111,)  # after the 38 pointers from getattr to bmap
    assert fuse.fuse_operations.ioctl.offset == 39 * 8


def test_a_link_is_cut_to_the_buffer() -> None:
    buffer = ctypes.create_string_buffer(b"#" * 8, 8)
    put_text(b"target", ctypes.addressof(buffer), 4)
    assert buffer.raw == b"tar\0####"


def test_times_may_be_given_left_or_now() -> None:
    now, omit = (1 << 30) - 1, (1 << 30) - 2
    times = (ctypes.c_long * 4)(5, 7, 0, omit)
    assert times_at(ctypes.addressof(times)) == (5_000_000_007, None)
    before = time.time_ns()
    times = (ctypes.c_long * 4)(0, now, 0, now)
    atime, mtime = times_at(ctypes.addressof(times))
    assert atime == mtime
    assert atime is not None
    assert before <= atime <= time.time_ns()
    assert None not in times_at(None)


def _request(opcode: int, *names: bytes) -> memoryview:
    body = bytes(32) + bytes(8) + b"".join(name + b"\0" for name in names)
    return memoryview(struct.pack("=II", 8 + len(body), opcode) + body + b"left over from before\0")


def test_the_request_tells_hiding_from_renaming() -> None:
    hidden = b"/d/.fuse_hidden0001"
    assert hidden_by(_request(10, b"a"), hidden) == 10
    assert hidden_by(_request(12, b"a", b"b"), hidden) == 12
    assert hidden_by(_request(12, b"a", b".fuse_hidden0001"), hidden) is None
    assert hidden_by(_request(1), hidden) is None
    assert hidden_by(memoryview(b""), hidden) is None


def test_options_are_told_apart_from_the_trees() -> None:
    assert parse_options({}) == (MountOptions(), {})
    options, words = parse_options({"attr_timeout": "0", "allow_other": "", "threads": "3", "type": "x"})
    assert options == MountOptions(allow_other=True, attr_timeout=0, threads=3)
    assert words == {"type": "x"}


def test_options_for_libfuse_keep_their_order_and_those_for_fstab_are_overlooked() -> None:
    said = ["defaults", "rw", "dev", "nofail", "user", "x-systemd.automount", "nosuid", "relatime", "ro", "_netdev"]
    options, words = parse_options(dict.fromkeys(said, "") | {"comment": "x", "X-mount.mkdir": "0755"})
    assert options == MountOptions(flags=("rw", "dev", "nosuid", "ro"))
    assert options.is_read_only
    assert not MountOptions(flags=("ro", "rw")).is_read_only
    assert words == {}
    assert parse_options({"dev": "/dev/x"}) == (MountOptions(), {})


def test_owners_are_numbers_or_names_and_the_mask_is_octal() -> None:
    options, words = parse_options({"uid": "root", "gid": "0", "umask": "027", "show_session": ""})
    assert (options.uid, options.gid, options.umask) == (0, 0, 0o27)
    assert words == {"show_session": ""}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"colour": "red"}, "-o colour: unknown option"),
        ({"threads": "0"}, "-o threads: expected 1 to 64"),
        ({"attr_timeout": "inf"}, "-o attr_timeout: expected seconds"),
        ({"attr_timeout": ""}, "-o attr_timeout: expected seconds"),
        ({"allow_other": "yes"}, "-o allow_other: takes no value"),
        ({"show_session": "no"}, "-o show_session: takes no value"),
        ({"ro": "1"}, "-o ro: takes no value"),
        ({"uid": ""}, "-o uid: expected a user's number or name"),
        ({"uid": "4294967295"}, "-o uid: expected a user's number"),
        ({"gid": "no such group"}, "-o gid: expected a group's number or name"),
        ({"umask": "028"}, "-o umask: expected an octal number"),
        ({"umask": "1000"}, "-o umask: expected an octal number"),
        ({"type": "Of My Own"}, "-o type: expected one of user_input"),
        ({"threads": "²"}, "-o threads: expected 1 to 64"),
    ],
)
def test_a_bad_option_is_named(words: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidValue, match=said):
        parse_options(words)


@pytest.mark.parametrize("is_abstract", [False, True])
def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_abstract: bool) -> None:
    name = f"@llmspellfs-units-{os.getpid()}" if is_abstract else str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("READY=1")
        assert manager.recv(100) == b"READY=1"
    for nobody in (str(tmp_path / "none"), "nonsense", ""):
        monkeypatch.setenv("NOTIFY_SOCKET", nobody)
        notify("READY=1")


def test_a_daemon_is_known_by_its_command_line_alone() -> None:
    words = [
        "-c",
        "import time; time.sleep(600)",
        "-m",
        "llmspellfs.fuse.daemon",
        "/a place",
        "/store",
        "-otype=a=b",
        "-oro=",
    ]
    with subprocess.Popen([sys.executable, *words]) as process:
        try:
            give_up = time.monotonic() + 60
            while not (found := [daemon for daemon in daemons() if daemon.pid == process.pid]):
                assert time.monotonic() < give_up
            (daemon,) = found
            assert (daemon.mountpoint, daemon.store) == ("/a place", "/store")
            assert daemon.options == {"type": "a=b", "ro": ""}
            assert abs(daemon.since_ns / 1e9 - time.time()) < 30
            assert daemon_of("/a place") == process.pid
            assert process.pid not in {live.pid for live in live_mounts()}
        finally:
            process.kill()


def test_no_name_forges_a_line_of_the_log() -> None:
    error = ValueError("a\n2026 1 INFO forged\x1b[2J")
    record = logging.LogRecord("n", logging.ERROR, "", 1, "x\ny\x07é", None, (ValueError, error, None))
    lines = SafeFormatter("%(levelname)s %(message)s").format(record).split("\n")
    assert lines[0] == r"ERROR x\ny\x07é"
    assert all(line.startswith("    ") for line in lines[1:])
    assert "\x1b" not in "".join(lines)


def test_the_daemon_module_explains_its_usage() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "llmspellfs.fuse.daemon", "--help"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env={**os.environ}, check=True)
    assert "mountpoint" in done.stdout
