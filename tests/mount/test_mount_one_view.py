"""One file, one view: handles of this mount, other doors, and what the kernel keeps of a file's pages."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mount.live import Mounted, version, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

OLD, NEW = b"old " * 5000, b"NEW!" * 9000
SHORT = b"shrt"


def _store(live: Mounted, s: Path, content: bytes, name: str = "f") -> None:
    with live.open() as door:
        door.artifacts.put(s.name, name, content)


def test_a_reader_sees_a_writers_bytes_at_once(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(b"old")
    with open(s / "f", "rb", buffering=0) as reader, open(s / "f", "r+b", buffering=0) as writer:
        assert reader.read() == b"old"
        writer.write(b"newer bytes")
        reader.seek(0)
        assert reader.read() == b"newer bytes"
        assert os.fstat(reader.fileno()).st_size == (s / "f").stat().st_size == 11
        writer.truncate(2)
        reader.seek(0)
        assert reader.read() == b"ne"
        assert (s / "f").read_bytes() == b"ne"


def test_a_pending_file_is_seen_before_anything_is_committed(live: Mounted, s: Path) -> None:
    with open(s / "f", "wb", buffering=0) as writer:
        writer.write(b"pending")
        assert os.listdir(s) == ["f"]
        assert (s / "f").read_bytes() == b"pending"
        assert (s / "f").stat().st_size == 7
    assert (s / "f").stat().st_ino == os.lstat(s / "f").st_ino


def test_the_inode_number_stays_over_commit_and_remount(own: Mounted) -> None:
    own.mount()
    s = own.session("s")
    with open(s / "f", "wb", buffering=0) as writer:
        before = os.fstat(writer.fileno()).st_ino
        writer.write(b"x")
    assert (s / "f").stat().st_ino == before
    own.umount()
    own.mount()
    assert (s / "f").stat().st_ino == before


@pytest.mark.parametrize("new", [NEW, SHORT, OLD[:-1] + b"!"], ids=["longer", "shorter", "as long"])
@pytest.mark.parametrize("look", ["read", "stat", "list"])
def test_what_another_door_stored_is_seen_by_the_next_open_at_once(
    live: Mounted, s: Path, new: bytes, look: str
) -> None:
    (s / "f").write_bytes(OLD)
    with live.open() as door:
        looks: dict[str, Callable[[], object]] = {
            "read": (s / "f").read_bytes, "stat": (s / "f").stat, "list": lambda: list(os.scandir(s)),
        }  # fmt: skip
        looks[look]()
        door.artifacts.put(s.name, "f", new)
        assert (s / "f").read_bytes() == new
        with open(s / "f", "rb", buffering=0) as reader:
            assert b"".join(iter(lambda: reader.read(4096), b"")) == new
    time.sleep(1.1)
    assert (s / "f").stat().st_size == len(new)
    assert (s / "f").read_bytes() == new


def test_an_old_handle_keeps_the_old_bytes_and_a_new_one_never_mixes(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(OLD)
    assert (s / "f").read_bytes() == OLD
    with open(s / "f", "rb", buffering=0) as old:
        assert old.read(4) == OLD[:4]
        _store(live, s, NEW)
        for _ in range(3):
            assert (s / "f").read_bytes() == NEW
            old.seek(0)
            assert old.read() == OLD
    assert (s / "f").read_bytes() == NEW
    assert (s / "f").read_bytes() == NEW


def test_old_and_new_handles_read_their_own_bytes_in_turns(live: Mounted, s: Path) -> None:
    contents = [bytes([65 + number]) * 20_000 for number in range(4)]
    (s / "f").write_bytes(contents[0])
    handles = [open(s / "f", "rb", buffering=0)]  # noqa: SIM115
    for content in contents[1:]:
        _store(live, s, content)
        handles.append(open(s / "f", "rb", buffering=0))  # noqa: SIM115
    for offset in (0, 8192, 4096, 0):
        for handle, content in zip(handles, contents, strict=True):
            handle.seek(offset)
            assert handle.read(3000) == content[offset : offset + 3000]
    for handle in handles:
        handle.close()
    assert (s / "f").read_bytes() == contents[-1]


def test_pages_are_kept_while_the_content_is_the_same(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(NEW)
    for _ in range(3):
        assert (s / "f").read_bytes() == NEW
    (s / "f").write_bytes(OLD)
    assert (s / "f").read_bytes() == OLD
    os.rename(s / "f", s / "g")
    assert (s / "g").read_bytes() == OLD


def test_a_file_restored_to_earlier_content_is_read_as_that(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(OLD)
    (s / "f").write_bytes(NEW)
    assert (s / "f").read_bytes() == NEW
    _store(live, s, OLD)
    assert (s / "f").read_bytes() == OLD
    _store(live, s, NEW)
    assert (s / "f").read_bytes() == NEW


def test_a_file_replaced_by_rename_is_read_anew(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(OLD)
    assert (s / "f").read_bytes() == OLD
    (s / "t").write_bytes(NEW)
    os.rename(s / "t", s / "f")
    assert (s / "f").read_bytes() == NEW


def test_names_made_and_removed_elsewhere_are_seen_within_a_second(live: Mounted, s: Path) -> None:
    (s / "mine").write_text("x")
    assert os.listdir(s) == ["mine"]
    with live.open() as door:
        door.artifacts.put(s.name, "a/theirs", b"y")
        assert sorted(os.listdir(s)) == ["a", "mine"]
        assert (s / "a/theirs").read_bytes() == b"y"
        door.artifacts.delete(s.name, "a/theirs")
        wait_for(lambda: not (s / "a/theirs").exists(), seconds=1.2)
        door.artifacts.update(s.name, "mine", name="a/mine")
        wait_for(lambda: os.listdir(s / "a") == ["mine"] and not (s / "mine").exists(), seconds=1.2)


def test_control_files_are_never_stale(live: Mounted, s: Path) -> None:
    (s / "f").write_text("x")
    with live.open() as door:
        for number in range(5):
            door.sessions.update(s.name, description="d" * (number + 1), tags=[f"t{number}"])
            door.artifacts.put(s.name, "f", b"x" * (number + 2), tags=[f"t{number}"])
            assert (s / ".session/description").read_text() == "d" * (number + 1) + "\n"
            assert (s / ".session/tags").read_text() == f"t{number}\n"
            assert f'"size": {number + 2},' in (s / ".session/artifacts/f.json").read_text()
            trail = (s / ".session/events.jsonl").read_bytes()
            assert trail.count(b"\n") == door.sessions.get(s.name).seq
            assert os.getxattr(s / "f", "user.llmspell.tags") == f"t{number}".encode()


def test_tail_follows_the_trail(live: Mounted, s: Path) -> None:
    with open(s / ".session/events.jsonl", "rb", buffering=0) as trail:
        assert trail.read().count(b"\n") == 1
        (s / "d").mkdir()
        assert b'"folder.created"' in trail.read()
        assert os.fstat(trail.fileno()).st_size == trail.tell()


def test_a_state_changed_elsewhere_is_obeyed_at_once(live: Mounted, s: Path) -> None:
    (s / "f").write_text("x")
    with live.open() as door:
        door.sessions.suspend(s.name)
        with pytest.raises(OSError, match="Read-only"):
            (s / "f").write_text("y")
        door.sessions.resume(s.name)
        (s / "f").write_text("y")
        assert door.artifacts.read(door.artifacts.get(s.name, "f")) == b"y"


def test_writes_through_both_doors_make_versions_in_order(live: Mounted, s: Path) -> None:
    with live.open() as door:
        for number in range(5):
            (s / "f").write_bytes(b"m%d" % number)
            assert door.artifacts.read(door.artifacts.get(s.name, "f")) == b"m%d" % number
            door.artifacts.put(s.name, "f", b"d%d" % number)
            assert (s / "f").read_bytes() == b"d%d" % number
        assert version(s / "f") == 10


def test_a_writer_keeps_its_own_bytes_when_another_door_replaces_the_file(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(b"first")
    with open(s / "f", "r+b", buffering=0) as writer:
        writer.write(b"FIR")
        _store(live, s, b"theirs, in between")
    assert (s / "f").read_bytes() == b"FIRst"
    with live.open() as door:
        contents = [door.artifacts.read(a) for a in door.artifacts.history(s.name, "f")]
    assert contents == [b"first", b"theirs, in between", b"FIRst"]


def test_shared_and_private_mappings_work(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(OLD)
    with open(s / "f", "r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
        assert shared[:4] == OLD[:4]
        shared[:4] = b"mmap"
        shared.flush()
    wait_for(lambda: (s / "f").read_bytes() == b"mmap" + OLD[4:])
    with live.open() as door:
        assert door.artifacts.read(door.artifacts.get(s.name, "f"), 0, 4) == b"mmap"


def test_sparse_and_random_writes(live: Mounted, s: Path) -> None:
    expected = bytearray(3_000_000)
    with open(s / "f", "w+b", buffering=0) as file:
        for offset, content in ((2_999_000, b"end"), (10, b"begin"), (1_500_000, b"middle"), (300_000, b"x" * 70_000)):
            os.pwrite(file.fileno(), content, offset)
            expected[offset : offset + len(content)] = content
        file.truncate(3_000_000)
        assert os.pread(file.fileno(), 3_000_000, 0) == bytes(expected)
    assert (s / "f").read_bytes() == bytes(expected)
    with open(s / "f", "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"again", 2_000_000)
        expected[2_000_000:2_000_005] = b"again"
    assert (s / "f").read_bytes() == bytes(expected)


def is_of_the_old(got: bytes, known_size: int) -> bool:
    """Tell whether *got* is what OLD has within the size that the kernel knows, or all where it has asked again."""
    return got in {OLD[:known_size], OLD}


@pytest.mark.parametrize("new", [NEW, SHORT], ids=["longer", "shorter"])
@pytest.mark.parametrize("has_read", [True, False], ids=["read before", "not read before"])
def test_an_old_handle_keeps_the_old_bytes_after_the_kernel_has_learnt_the_new_size(
    live: Mounted, s: Path, new: bytes, has_read: bool
) -> None:
    (s / "f").write_bytes(OLD)
    with open(s / "f", "rb", buffering=0) as old:
        if has_read:
            assert old.read() == OLD
        _store(live, s, new)
        time.sleep(1.1)
        assert (s / "f").stat().st_size == len(new)
        assert is_of_the_old(os.pread(old.fileno(), 100_000, 0), len(new))
        assert (s / "f").read_bytes() == new
        assert is_of_the_old(os.pread(old.fileno(), 100_000, 0), len(new))
    assert (s / "f").read_bytes() == new


def test_a_file_deleted_elsewhere_is_read_on_by_its_handle(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(OLD)
    with open(s / "f", "rb", buffering=0) as old:
        live.command("artifact", "rm", f"{s.name}:f")
        wait_for(lambda: not (s / "f").exists(), seconds=1.5)
        assert old.read() == OLD


def test_a_file_renamed_elsewhere_is_written_on_by_its_handle(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(b"one ")
    with open(s / "f", "ab", buffering=0) as writer, live.open() as door:
        writer.write(b"two")
        door.artifacts.update(s.name, "f", name="moved/g")
        writer.write(b" three")
    wait_for(lambda: os.listdir(s) == ["moved"], seconds=1.5)
    assert (s / "moved/g").read_bytes() == b"one two three"


def test_a_mapping_follows_the_files_size(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(b"a" * 12_288)
    with open(s / "f", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        os.truncate(s / "f", 5000)
        assert mapped[4096:8192] == b"a" * 904 + bytes(3192), "behind the end there are zeros"
        mapped[4999] = ord("z")
        os.truncate(s / "f", 12_288)
        assert mapped[:] == b"a" * 4999 + b"z" + bytes(7288)
        mapped.flush()
    assert (s / "f").read_bytes() == b"a" * 4999 + b"z" + bytes(7288)


def test_a_private_mapping_changes_nothing_and_mappings_share_their_bytes(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(b"a" * 8192)
    with (
        open(s / "f", "r+b", buffering=0) as file,
        mmap.mmap(file.fileno(), 0) as one,
        mmap.mmap(file.fileno(), 0) as two,
        mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE) as private,
    ):
        private[:4] = b"mine"
        one[4:8] = b"both"
        assert two[:8] == b"aaaaboth"
        os.pwrite(file.fileno(), b"written", 4096)
        assert one[4096:4103] == b"written"
        assert private[:4] == b"mine"
        one.flush()
        assert os.pread(file.fileno(), 8, 0) == b"aaaaboth"
    assert (s / "f").read_bytes() == b"aaaaboth" + b"a" * 4088 + b"written" + b"a" * 4089


def test_what_was_truncated_by_its_path_can_be_mapped_at_once(live: Mounted, s: Path) -> None:
    (s / "f").write_bytes(b"a" * 100)
    os.truncate(s / "f", 50)
    with open(s / "f", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:4] = b"mmap"
    wait_for(lambda: (s / "f").read_bytes() == b"mmap" + b"a" * 46)
