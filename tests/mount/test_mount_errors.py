"""A full disk, limits, and a harmed store: who writes or reads hears of it, and nothing is lost silently."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mount.live import Mounted, refused, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
TRIES = 5


class Small(Mounted):
    """A store on a file system of its own of a few MiB."""

    @property
    def ballast(self) -> Path:
        return self.store / "ballast"

    def fill(self, spare: int) -> None:
        """Leave *spare* bytes of space."""
        with open(self.ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(65_536))
        os.truncate(self.ballast, max(0, self.ballast.stat().st_size - spare))

    def lost(self) -> list[Path]:
        """The bytes that lost+found holds."""
        return [path for path in (self.store / "lost+found").iterdir() if path.suffix != ".json"]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Small]:
    """A mount of a store that 24 MiB are all for."""
    (tmp_path / "store").mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(tmp_path / "store")]
    if os.getuid() != 0 or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system")
    try:
        mounted = Small(tmp_path)
        mounted.mount()
        yield mounted
        mounted.ballast.unlink(missing_ok=True)
        mounted.end()
        mounted.check(is_whole=True)
    finally:
        subprocess.run(["umount", str(tmp_path / "store")], check=True)


def write_all(path: Path, content: bytes, step: int = MIB) -> None:
    """Write as a program does that looks at what each call says, close included."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    try:
        for start in range(0, len(content), step):
            os.write(descriptor, content[start : start + step])
    except OSError:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        raise
    os.close(descriptor)


def make_folders(folder: Path, name: str, count: int) -> None:
    for number in range(count):
        (folder / f"{name}{number}").mkdir()


def test_a_full_disk_fails_the_writer_and_the_mount_goes_on(small: Small) -> None:
    s = small.session("s")
    (s / "before").write_bytes(content := os.urandom(MIB))
    small.fill(3 * MIB)
    small.may_fail = True
    with refused(errno.ENOSPC):
        write_all(s / "large", os.urandom(8 * MIB))
    assert (s / "before").read_bytes() == content
    assert sorted(os.listdir(s)) in (["before"], ["before", "large"])
    small.ballast.unlink()
    for path in small.lost():
        path.unlink()
    write_all(s / "large", content * 2)
    assert (s / "large").read_bytes() == content * 2
    (s / "after").write_text("x")
    assert sorted(os.listdir(s)) == ["after", "before", "large"]


@pytest.mark.parametrize("spare", [MIB, 0])
def test_what_a_full_disk_refuses_at_close_is_in_lost_and_found(small: Small, spare: int) -> None:
    s = small.session("s")
    content = os.urandom(6 * MIB)
    descriptor = os.open(s / "f", os.O_CREAT | os.O_WRONLY)
    os.write(descriptor, content)
    small.fill(spare)
    small.may_fail = True
    with refused(errno.ENOSPC):
        os.close(descriptor)
    assert [path.read_bytes() == content for path in small.lost()] == [True]
    assert "f" in small.command("lost", "list").stdout
    small.ballast.unlink()
    (s / "f").write_bytes(content[:10])
    assert (s / "f").read_bytes() == content[:10]


def refused_for_room(small: Small, change: Callable[[int], object]) -> None:
    """Expect that *change*, which gets the number of the try, is refused where no room is left.

    An idle mount folds its WAL, and that frees some: what this let pass is tried again, once that room is taken too.
    """
    for number in range(TRIES):
        small.fill(0)
        try:
            change(number)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return
    raise AssertionError(f"nothing was refused, {TRIES} times")


def open_and_close(path: Path, flags: int) -> None:
    """Raise what the close says; no more is asked of the disk until then."""
    try:
        descriptor = os.open(path, os.O_WRONLY | flags)
    except OSError as error:
        raise AssertionError("refused when it was opened") from error
    os.close(descriptor)


def test_on_a_full_disk_every_change_is_refused_and_every_read_works(small: Small) -> None:
    s = small.session("s")
    (s / "f").write_text("text")
    (s / "d").mkdir()
    small.may_fail = True
    refused_for_room(small, lambda number: write_all(s / f"new{number}", os.urandom(100_000)))
    refused_for_room(small, lambda _: write_all(s / "f", os.urandom(100_000)))
    refused_for_room(small, lambda number: make_folders(s, f"d{number}.", 2000))
    assert (s / "d").is_dir()
    assert "f" in os.listdir(s)
    small.ballast.unlink()
    (s / "e").mkdir()
    write_all(s / "f", b"again")
    assert (s / "f").read_text() == "again"


def test_a_file_that_is_only_created_or_cut_on_a_full_disk_fails_at_its_close(small: Small) -> None:
    s = small.session("s")
    for number in range(TRIES):
        (s / f"old{number}").write_text("kept")
    refused_for_room(small, lambda number: open_and_close(s / f"new{number}", os.O_CREAT))
    refused_for_room(small, lambda number: open_and_close(s / f"old{number}", os.O_TRUNC))
    small.may_fail = True
    small.ballast.unlink()
    (s / "later").write_text("x")
    assert (s / "later").read_text() == "x"


def test_growing_beyond_the_limit_is_refused_in_every_way(tmp_path: Path) -> None:
    mounted = Mounted(tmp_path, "max_artifact_size = 1000\n")
    mounted.mount()
    try:
        s = mounted.session("s")
        (s / "f").write_bytes(bytes(1000))
        with open(s / "f", "r+b", buffering=0) as file:
            with refused(errno.EFBIG):
                file.truncate(1001)
            with refused(errno.EFBIG):
                os.pwrite(file.fileno(), b"x", 1000)
        with refused(errno.EFBIG):
            os.truncate(s / "f", 5000)
        with open(s / "f", "ab", buffering=0) as file, refused(errno.EFBIG):
            file.write(b"x")
        assert (s / "f").read_bytes() == bytes(1000)
    finally:
        mounted.end()
        mounted.check(is_whole=True)


@pytest.mark.parametrize("way", ["changed", "cut", "gone"])
def test_harmed_content_is_an_error_for_who_reads_it_and_for_nobody_else(own: Mounted, way: str) -> None:
    own.mount()
    s = own.session("s")
    content = os.urandom(6 * MIB)
    (s / "f").write_bytes(content)
    (s / "sound").write_bytes(content[:1000])
    blobs = [path for path in (own.store / "blobs").rglob("*") if path.is_file()]
    blob = max(blobs, key=lambda path: path.stat().st_size)
    whole = blob.read_bytes()
    if way == "gone":
        blob.unlink()
    else:
        blob.write_bytes(whole[: len(whole) // 2] if way == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))
    own.umount()
    own.mount()
    own.may_fail = True
    with refused(errno.EIO):
        (s / "f").read_bytes()
    read, failures = bytearray(), 0
    with open(s / "f", "rb", buffering=0) as file:
        for start in range(0, len(content), 65_536):
            try:
                piece = os.pread(file.fileno(), 65_536, start)
                assert piece == content[start : start + len(piece)], "never zeros"
                assert piece
                read += piece
            except OSError as error:
                assert error.errno == errno.EIO  # noqa: PT017
                failures += 1
    assert failures
    assert read, "what is sound is read"
    assert (s / "sound").read_bytes() == content[:1000]
    with open(s / "f", "r+b", buffering=0) as file, refused(errno.EIO):
        file.write(b"x")
    assert "f" in os.listdir(s)
    write_all(s / "f", b"new")
    assert (s / "f").read_bytes() == b"new"
    blob.write_bytes(whole)
    blob.chmod(0o600)
    wait_for(lambda: not own.spooled())
