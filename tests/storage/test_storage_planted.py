"""What somebody put into a folder before it became a store: nothing is read or written through it."""

from __future__ import annotations

import contextlib
import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from llmspellfs import open_store
from llmspellfs.config import Config
from llmspellfs.errors import Corrupt, SpellError, StoreUnusable
from llmspellfs.model.event import Origin
from llmspellfs.service.repair import repair
from llmspellfs.service.restoring import restore_store
from llmspellfs.storage import destination, mounts
from llmspellfs.storage.destination import Destination

SECRET = b"the owner's own, and nobody's business"
LARGE = random.Random(0).randbytes(300_000)
HASH = blake3(LARGE).hexdigest()
ROOT = Path(__file__).parents[2]


@pytest.fixture
def treasure(tmp_path: Path) -> Path:
    """A folder of the later owner's, with files that a link might lead to."""
    folder = tmp_path / "treasure"
    folder.mkdir()
    for name in ("file", "1", "1.json", "lock", "index.db", HASH):
        (folder / name).write_bytes(SECRET)
        (folder / name).chmod(0o640)
    return folder


def untouched(folder: Path) -> list[tuple[str, bytes, int, int]]:
    return [
        (path.name, path.read_bytes(), path.stat().st_mode, path.stat().st_mtime_ns)
        for path in sorted(folder.iterdir())
    ]


def use(path: Path, name: str = "desk") -> None:
    """Do with the store at *path* what writes to every part of its folder."""
    with open_store(path, config=Config()) as store:
        session = store.sessions.create(name)
        store.artifacts.put(session.id, "large", LARGE)
        store.artifacts.put(session.id, "small", b"x")
        lost = store.engine.rooms.lost
        assert lost is not None
        lost.add(b"bytes", Destination(session.id, "name"), "why", 1)
        store.artifacts.delete(session.id, "small")
        store.upkeep.gc(grace_seconds=0)
        store.upkeep.gc(grace_seconds=0)
        store.artifacts.purge(session.id, "large")


FILES = (
    "index.db", "index.db-wal", "index.db-shm", "index.db-journal", "index.db.ready", "opening.lock", "erasing.lock",
    "scrub.lock", "reading.lock", "mount.log",
)  # fmt: skip
FOLDERS = (
    "blobs",
    f"blobs/{HASH[:2]}",
    "spool",
    "spool/123-abc",
    "lost+found",
    "reserve",
    "quarantine",
    "quarantine/x",
)


@pytest.mark.parametrize("name", [*FILES, *FOLDERS])
@pytest.mark.parametrize("kind", ["to what is there", "to nothing"])
def test_a_store_with_a_link_under_a_name_of_its_own_is_refused(
    tmp_path: Path, treasure: Path, name: str, kind: str
) -> None:
    path = tmp_path / "store"
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    target = treasure / ("nothing" if kind == "to nothing" else "file" if name in FILES else "")
    (path / name).symlink_to(target)
    before = untouched(treasure)
    with pytest.raises(StoreUnusable) as refused:
        use(path)
    assert name in refused.value.message or "not empty, and no store" in refused.value.message
    assert (path / name).is_symlink()
    assert untouched(treasure) == before


@pytest.mark.parametrize("name", FILES)
def test_a_link_that_comes_later_is_refused_too(tmp_path: Path, treasure: Path, name: str) -> None:
    path = tmp_path / "store"
    use(path)
    (path / name).unlink(missing_ok=True)
    (path / name).symlink_to(treasure / "file")
    before = untouched(treasure)
    with pytest.raises(StoreUnusable, match=r"should be a file and is a symbolic link"):
        use(path)
    assert untouched(treasure) == before


@pytest.mark.parametrize("name", ["index.db", "opening.lock", "mount.log"])
def test_a_fifo_is_no_reason_to_wait_for_ever(tmp_path: Path, name: str) -> None:
    path = tmp_path / "store"
    path.mkdir()
    os.mkfifo(path / name)
    with pytest.raises(StoreUnusable):
        use(path)


FURTHER_DOWN = (
    f"blobs/{HASH[:2]}/{HASH}",
    f"lost+found/{'ab' * 8}",
    f"lost+found/{'ab' * 8}.json",
    "reserve/room",
    "reserve/1",
    "spool/999999-0123456789abcdef/lock",
    "spool/999999-0123456789abcdef/1",
    f"quarantine/20260101T000000Z/blobs/{HASH[:2]}/{HASH}",
)


@pytest.mark.parametrize("name", FURTHER_DOWN)
def test_a_fifo_further_down_is_harm_and_no_reason_to_wait_for_ever(tmp_path: Path, name: str) -> None:
    path = tmp_path / "store"
    with open_store(path, config=Config()) as store:
        session = store.sessions.create("desk")
        artifact = store.artifacts.put(session.id, "large", LARGE)
    (path / name).unlink(missing_ok=True)
    if name.startswith("quarantine"):  # where a repair looks for what is missing
        (path / f"blobs/{HASH[:2]}/{HASH}").unlink()
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path / name)
    with open_store(path, config=Config()) as store:
        if name.startswith("blobs"):
            with pytest.raises(Corrupt, match="not a file"):
                store.artifacts.read(artifact)
            assert store.upkeep.scrub().harmed
        for item in store.upkeep.lost():
            with pytest.raises(Corrupt, match="not a file"):
                list(store.upkeep.read_lost(item.id))
        store.upkeep.fsck()
    repair(path, Config(), origin=Origin("uid:0", "cli"))
    use(path, "chair")


@pytest.mark.parametrize(
    "name",
    [f"blobs/{HASH[:2]}/{HASH}", "reserve/room", "reserve/1", f"lost+found/{'ab' * 8}", f"lost+found/{'ab' * 8}.json"],
)
def test_a_link_further_down_is_replaced_or_left_and_never_written_through(
    tmp_path: Path, treasure: Path, name: str
) -> None:
    path = tmp_path / "store"
    (path / name).parent.mkdir(parents=True, exist_ok=True)
    (path / name).symlink_to(treasure / "file")
    before = untouched(treasure)
    use(path)
    with open_store(path, config=Config()) as store:
        session = store.sessions.get("desk")
        artifact = store.artifacts.put(session.id, "large", LARGE)
        assert store.artifacts.read(artifact) == LARGE
        for item in store.upkeep.lost():
            with contextlib.suppress(SpellError):
                assert SECRET not in b"".join(store.upkeep.read_lost(item.id))
    assert not (path / f"blobs/{HASH[:2]}/{HASH}").is_symlink()
    assert untouched(treasure) == before


@pytest.mark.parametrize("name", ["lock", "1", "1.json", "hold"])
def test_a_dead_process_folder_with_links_takes_nothing_from_where_they_lead(
    tmp_path: Path, treasure: Path, name: str
) -> None:
    path = tmp_path / "store"
    folder = path / "spool/999999-0123456789abcdef"
    folder.mkdir(parents=True)
    for each in ("lock", "1", "1.json"):
        (folder / each).write_bytes(b"left behind" if each == "1" else b"")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(treasure / "file")
    before = untouched(treasure)
    use(path)
    assert untouched(treasure) == before
    with open_store(path, config=Config()) as store:
        for item in store.upkeep.lost():
            assert b"".join(store.upkeep.read_lost(item.id)) in {b"left behind", b"bytes"}


def test_a_description_is_not_read_through_a_link_or_from_a_fifo(tmp_path: Path) -> None:
    (tmp_path / "real").write_text('{"session": "x"}')
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "fifo")
    assert destination.read(tmp_path / "real") == (Destination("x"), {"session": "x"})
    assert destination.read(tmp_path / "link") == destination.read(tmp_path / "fifo") == (Destination(), {})


COMMANDS = (
    ("init",),
    ("session", "create", "desk"),
    ("run", "-e", "Session.create({name = 'x'})"),
    ("artifact", "put", "desk", "LARGE"),
    ("lost", "list"),
    ("gc",),
    ("backup", "DEST"),
    ("fsck", "--repair"),
)


@pytest.mark.parametrize("umask", [0, 0o077])
def test_only_the_owner_reads_what_any_command_makes_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    (tmp_path / "LARGE").write_bytes(LARGE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(tmp_path), "LLMSPELL_CONFIG": ""}
    for first, create in enumerate(
        (("init",), ("run", "-e", "Session.create({name = 'x'})"), ("session", "create", "x"))
    ):
        store = tmp_path / f"new{first}"
        run(store, create, umask, environment)
        if store.exists():
            check_modes(store)
    store = tmp_path / "store"
    for words in COMMANDS:
        named = {"LARGE": tmp_path / "LARGE", "DEST": tmp_path / "copy"}
        run(store, tuple(str(named.get(word, word)) for word in words), umask, environment)
        check_modes(store)
    check_modes(tmp_path / "copy")
    run(tmp_path / "restored", ("restore-store", str(tmp_path / "copy")), umask, environment)
    check_modes(tmp_path / "restored")
    with open_store(store, config=Config()) as opened:  # while it is open: the WAL, its memory, the spool
        assert opened.engine.rooms.spool is not None
        spooled = opened.engine.rooms.spool.new()
        spooled.describe(Destination(None, "name"))
        check_modes(store)
        spooled.discard()


def run(store: Path, words: tuple[str, ...], umask: int, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "llmspellfs", "--store", str(store), *words]
    done = subprocess.run(command, umask=umask, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or words[0] == "session", (words, done.stderr)


def check_modes(store: Path) -> None:
    for path in [store, *store.rglob("*")]:
        mode = path.lstat().st_mode
        assert not stat.S_ISDIR(mode) or stat.S_IMODE(mode) == 0o700, (path, oct(mode))
        assert stat.S_IMODE(mode) & 0o077 == 0, (path, oct(mode))


def test_a_folder_that_others_could_read_is_closed_to_them_when_it_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o755)
    (tmp_path / "store/blobs").mkdir(mode=0o755)
    (tmp_path / "store/lost+found").mkdir(mode=0o755)
    use(tmp_path / "store")
    check_modes(tmp_path / "store")


@pytest.mark.parametrize("mode", [0o755, 0o711, 0o770])
def test_a_store_that_others_may_look_into_is_closed_to_them_by_who_opens_it_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    path = tmp_path / "store"
    use(path)
    path.chmod(mode)
    open_store(path, config=Config()).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert f"others than its owner could use it ({mode:04o})" in caplog.text
    caplog.clear()
    open_store(path, config=Config()).close()
    assert caplog.text == ""


def test_a_store_whose_mode_cannot_be_set_is_used_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chmod(name: str, path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    path = tmp_path / "store"
    use(path)
    path.chmod(0o755)
    monkeypatch.setattr("llmspellfs.storage.disk.chmod", chmod)
    open_store(path, config=Config()).close()
    assert "others than its owner could use it (0755)" in caplog.text
    assert "cannot now" not in caplog.text


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give something to another user")
@pytest.mark.parametrize("name", ["", "index.db"])
def test_a_store_of_another_user_is_refused_and_root_hears_whose_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "store"
    use(path)
    os.chown(path / name, 65534, 65534)
    use(path, "chair")
    assert "belongs to another user (uid 65534), who cannot use what root adds" in caplog.text
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    os.chown(path / {"": "index.db", "index.db": ""}[name], 1000, 1000)
    with pytest.raises(StoreUnusable, match=r"belongs to another user \(uid 65534\)"):
        open_store(path, config=Config())


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give something to another user")
@pytest.mark.parametrize("name", ["", "blobs", "opening.lock"])
def test_no_store_is_made_of_what_belongs_to_another_user(tmp_path: Path, name: str) -> None:
    (tmp_path / "store/blobs").mkdir(parents=True, mode=0o755)
    (tmp_path / "store/opening.lock").touch()
    os.chown(tmp_path / "store" / name, 65534, 65534)
    with pytest.raises(StoreUnusable, match="belongs to another user"):
        use(tmp_path / "store")


TABLE = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 22 0:40 / /net/home rw - nfs4 server:/home rw,vers=4.2
31 22 0:41 / /net/with\\040space rw - cifs //server/x rw
32 30 0:42 / /net/home/local rw - xfs /dev/vdb ro,attr2
33 22 0:43 / /mnt/agent rw - fuse.llmspellfs /store rw
34 22 0:44 / /ssh rw - fuse.sshfs host:/ rw
35 22 0:45 / /guest rw - 9p share rw
36 22 0:46 / /over rw - nfs server:/x rw
37 36 0:47 / /over rw - tmpfs tmpfs rw
38 22 0:48 / /run/gvfs rw - fuse.gvfsd-fuse gvfsd-fuse rw
39 22 0:49 / /plain rw - fuse someone rw
40 22 0:50 / /cluster rw - ocfs2 /dev/sdb rw
41 22 0:51 / /crypt rw - fuse.gocryptfs /home/x rw
42 22 0:52 / /stick rw - fuseblk /dev/sdc rw
"""


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/net/home/jane/store", "nfs4"),
        ("/net/with space/store", "cifs"),
        ("/ssh/store", "fuse.sshfs"),
        ("/guest", "9p"),
        ("/mnt/agent/sessions/x", "inside the mount"),
        ("/run/gvfs/smb-share/x", r"may be a network file system \(fuse.gvfsd-fuse\)"),
        ("/plain/store", r"may be a network file system \(fuse\)"),
        ("/cluster/store", "ocfs2"),
        ("/crypt/store", None),
        ("/stick/store", None),
        ("/net/home/local/store", None),
        ("/net/homeless/store", None),
        ("/over/store", None),
        ("/store", None),
    ],
)
def test_a_store_on_a_network_file_system_is_refused_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, why: str | None
) -> None:
    (tmp_path / "mountinfo").write_text(TABLE)
    monkeypatch.setattr(mounts, "TABLE", str(tmp_path / "mountinfo"))
    if why is None:
        mounts.check_place(Path(path), allow_network=False)
        return
    with pytest.raises(StoreUnusable, match=why):
        mounts.check_place(Path(path), allow_network=False)
    with contextlib.nullcontext() if "inside" not in why else pytest.raises(StoreUnusable):
        mounts.check_place(Path(path), allow_network=True)
    assert mounts.is_superblock_read_only(Path("/net/home/local/x"))


def test_the_configuration_lets_a_network_file_system_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mountinfo").write_text(f"1 1 0:1 / {tmp_path} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr(mounts, "TABLE", str(tmp_path / "mountinfo"))
    with pytest.raises(StoreUnusable, match=r"network file system \(nfs4\).*allow_network_store"):
        open_store(tmp_path / "store", config=Config())
    assert not (tmp_path / "store").exists()
    open_store(tmp_path / "store", config=Config(allow_network_store=True)).close()


def test_no_store_is_restored_to_where_none_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(tmp_path / "store", config=Config()) as store:
        store.upkeep.backup(tmp_path / "copy")
    (tmp_path / "mountinfo").write_text(
        f"1 1 0:1 / {tmp_path}/net rw - nfs4 server:/x rw\n2 1 0:2 / {tmp_path}/agent rw - fuse.llmspellfs /store rw\n"
    )
    monkeypatch.setattr(mounts, "TABLE", str(tmp_path / "mountinfo"))
    with pytest.raises(StoreUnusable, match="nfs4"):
        restore_store(tmp_path / "copy", tmp_path / "net/store")
    for allowed in (False, True):
        with pytest.raises(StoreUnusable, match="inside the mount"):
            restore_store(tmp_path / "copy", tmp_path / "agent/store", allow_network=allowed)
    assert not (tmp_path / "net").exists()
    restore_store(tmp_path / "copy", tmp_path / "net/store", allow_network=True)
    open_store(tmp_path / "net/store", config=Config(allow_network_store=True), create=False).close()


@pytest.mark.parametrize("name", ["backup.json", "index.db-wal"])
def test_a_pipe_in_a_backup_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    with open_store(tmp_path / "store", config=Config()) as store:
        store.upkeep.backup(tmp_path / "copy")
        (tmp_path / "copy" / name).unlink(missing_ok=True)
        os.mkfifo(tmp_path / "copy" / name)
        with pytest.raises(StoreUnusable, match=f"{name} should be a file and is not"):
            store.upkeep.backup(tmp_path / "copy")
    with pytest.raises(StoreUnusable, match=f"{name} should be a file and is not"):
        restore_store(tmp_path / "copy", tmp_path / "restored")
    assert not (tmp_path / "restored").exists()
