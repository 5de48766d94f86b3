"""One contract for every blob store, and what files alone can get wrong."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from blake3 import blake3

from llmspellfs.errors import Corrupt, NoSpace, StoreUnusable
from llmspellfs.storage import disk
from llmspellfs.storage.blobs import BlobStore, FileBlobs, MemoryBlobs
from llmspellfs.storage.disk import disk_errors

DATA = b"0123456789" * 1000
NAME = blake3(DATA).hexdigest()


@pytest.fixture(params=["file", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return FileBlobs(tmp_path) if request.param == "file" else MemoryBlobs()


def blob_path(root: Path, name: str = NAME) -> Path:
    return root / "blobs" / name[:2] / name


def test_what_is_put_is_got(blobs: BlobStore) -> None:
    blobs.put(NAME, DATA)
    blobs.sync()
    assert blobs.get(NAME) == DATA


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_taken_and_copied(blobs: BlobStore, kind: type) -> None:
    source = bytearray(DATA)
    blobs.put(NAME, source if kind is bytearray else kind(source))
    source[0] ^= 1
    assert blobs.get(NAME) == DATA


def test_ranges(blobs: BlobStore) -> None:
    blobs.put(NAME, DATA)
    assert blobs.get(NAME, 5, 10) == DATA[5:15]
    assert blobs.get(NAME, 9990) == DATA[9990:]
    assert blobs.get(NAME, len(DATA)) == b""


@pytest.mark.parametrize(("offset", "size"), [(9995, 10), (10001, None), (10001, 0 + 1)])
def test_range_beyond_the_end_is_corrupt_never_short(blobs: BlobStore, offset: int, size: int | None) -> None:
    blobs.put(NAME, DATA)
    with pytest.raises(Corrupt, match="too short"):
        blobs.get(NAME, offset, size)


def test_missing_is_corrupt(blobs: BlobStore) -> None:
    assert not blobs.exists(NAME)
    assert blobs.put_ns(NAME) is None
    with pytest.raises(Corrupt, match=NAME):
        blobs.get(NAME)


def test_put_again_keeps_one_and_renews_its_age(blobs: BlobStore) -> None:
    blobs.put(NAME, DATA)
    first = blobs.put_ns(NAME)
    blobs.put(NAME, DATA)
    again = blobs.put_ns(NAME)
    assert first is not None
    assert again is not None
    assert again >= first
    assert list(blobs.iterate()) == [(NAME, len(DATA))]


def test_delete(blobs: BlobStore) -> None:
    blobs.put(NAME, DATA)
    blobs.delete(NAME)
    blobs.delete(NAME)
    blobs.sync()
    assert not blobs.exists(NAME)
    assert list(blobs.iterate()) == []


def test_iterate_lists_all(blobs: BlobStore) -> None:
    contents = [bytes([number]) * (number + 1) for number in range(40)]
    for data in contents:
        blobs.put(blake3(data).hexdigest(), data)
    blobs.sync()
    assert sorted(blobs.iterate()) == sorted((blake3(data).hexdigest(), len(data)) for data in contents)


def test_empty_blob(blobs: BlobStore) -> None:
    name = blake3(b"").hexdigest()
    blobs.put(name, b"")
    assert blobs.get(name) == b""


def test_threads_put_the_same_and_different_ones(blobs: BlobStore) -> None:
    contents = [os.urandom(2000) for _ in range(30)]

    def put_all() -> None:
        for data in contents:
            blobs.put(blake3(data).hexdigest(), data)
            blobs.sync()

    threads = [threading.Thread(target=put_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(blobs.get(blake3(data).hexdigest()) == data for data in contents)
    assert len(list(blobs.iterate())) == len(contents)


def test_files_and_folders_are_private(tmp_path: Path) -> None:
    FileBlobs(tmp_path).put(NAME, DATA)
    path = blob_path(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.parent.parent.stat().st_mode & 0o777 == 0o700


def test_truncated_file_is_corrupt_and_healed_by_the_next_put(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    blobs.put(NAME, DATA)
    os.truncate(blob_path(tmp_path), 10)
    with pytest.raises(Corrupt):
        blobs.get(NAME, 0, len(DATA))
    blobs.put(NAME, DATA)
    assert blobs.get(NAME) == DATA


def test_harmed_bytes_of_the_same_length_are_healed_by_the_next_put(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    blobs.put(NAME, DATA)
    blob_path(tmp_path).write_bytes(bytes(len(DATA)))
    blobs.put(NAME, DATA)
    assert blobs.get(NAME) == DATA


def test_symlink_is_not_followed(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    blobs.put(NAME, DATA)
    blob_path(tmp_path).rename(tmp_path / "elsewhere")
    blob_path(tmp_path).symlink_to(tmp_path / "elsewhere")
    assert not blobs.exists(NAME)
    with pytest.raises(Corrupt):
        blobs.get(NAME)


def test_left_over_temporary_files_are_not_listed_and_go_when_old(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    blobs.put(NAME, DATA)
    old, young = (blob_path(tmp_path).parent / f".part-1-{number}" for number in (1, 2))
    old.write_bytes(b"x")
    young.write_bytes(b"y")
    os.utime(old, (1, 1))
    assert list(blobs.iterate()) == [(NAME, len(DATA))]
    assert blobs.remove_leftovers(60) == 1
    assert not old.exists()
    assert young.exists()


def test_each_dirty_folder_is_synced_once_and_again_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = FileBlobs(tmp_path)
    synced: list[str] = []
    fails = True

    def sync_folder(_step: str, path: str) -> None:
        if fails:
            raise NoSpace(path)
        synced.append(os.path.relpath(path, tmp_path))

    monkeypatch.setattr(disk, "sync_folder", sync_folder)
    blobs.put("ab" * 32, b"1")
    blobs.put("ab" * 31 + "cd", b"2")
    blobs.put("cd" * 32, b"3")
    with pytest.raises(NoSpace):
        blobs.sync()
    fails = False
    blobs.sync()
    assert sorted(synced) == [".", "blobs", "blobs/ab", "blobs/cd"]
    synced.clear()
    blobs.sync()
    assert synced == []
    blobs.put("ab" * 32, b"1")
    blobs.sync()
    assert synced == ["blobs/ab"]


def test_what_could_not_be_synced_counts_as_missing_until_it_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system may have dropped what it could not write, and the next fsync would not say so."""
    blobs, another = FileBlobs(tmp_path), "ab" * 32
    blobs.put(NAME, DATA)

    def fails(name: str) -> None:
        if name == "blob.folder_sync":
            raise OSError(errno.EIO, "lost")

    with monkeypatch.context() as broken:
        broken.setattr(disk, "hook", fails)
        with pytest.raises(Corrupt):
            blobs.sync()
    first = blob_path(tmp_path).stat().st_ino
    blobs.put(another, b"another")
    blobs.sync()
    assert (blobs.exists(NAME), blobs.exists(another)) == (False, True)
    blobs.put(NAME, DATA)
    assert blobs.exists(NAME)
    assert blob_path(tmp_path).stat().st_ino != first
    blobs.sync()
    blobs.put(NAME, DATA)
    assert blobs.exists(NAME)


def test_sync_waits_for_another_thread_that_syncs_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = FileBlobs(tmp_path)
    blobs.put(NAME, DATA)
    entered, go_on = threading.Event(), threading.Event()

    def slow(_step: str, _path: str) -> None:
        entered.set()
        assert go_on.wait(60)

    monkeypatch.setattr(disk, "sync_folder", slow)
    first, second = (threading.Thread(target=blobs.sync) for _ in range(2))
    first.start()
    assert entered.wait(60)
    second.start()
    second.join(0.05)
    assert second.is_alive()
    go_on.set()
    first.join()
    second.join()


@pytest.mark.parametrize("step", ["blob.write", "blob.fsync", "blob.rename"])
def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    blobs = FileBlobs(tmp_path)

    def full(name: str) -> None:
        if name == step:
            raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(disk, "hook", full)
    with pytest.raises(NoSpace):
        blobs.put(NAME, DATA)
    assert not blobs.exists(NAME)
    assert list(blob_path(tmp_path).parent.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EIO, Corrupt),
        (errno.EACCES, StoreUnusable),
        (errno.EMFILE, StoreUnusable),
        (errno.ENOENT, FileNotFoundError),
    ],
)
def test_what_the_disk_says_becomes_the_projects_error(code: int, expected: type[Exception]) -> None:
    with pytest.raises(expected), disk_errors("x"):
        raise OSError(code, "why")
