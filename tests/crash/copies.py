"""What is interrupted beside a store: backups, stores that are brought back, archives written and read."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.service.outgoing import write_whole
from llmspellfs.service.restoring import restore_store
from llmspellfs.storage.destination import Destination
from tests.crash import state
from tests.crash.scenarios import CHUNK, CHUNKS, SMALL, Scenario, common, void
from tests.tree.trees import Walker

BACKUP, RESTORED, ARCHIVE = "backup", "restored", "archive.tar.zst"


def _beside(store: Store, name: str) -> Path:
    assert store.path is not None
    return store.path.parent / name


def _whole(path: Path) -> Any:
    """Return what the store at *path* shows and what fsck finds there, asked of a copy; None where there is none."""
    if not (path / "index.db").exists():
        return None
    probe = path.with_name("probe")
    shutil.copytree(path, probe)
    probe.chmod(0o700)
    with open_store(probe, config=Config(), create=False) as store:
        shown, report = state.shown(store), store.upkeep.fsck(quick=True)
    shutil.rmtree(probe)
    return [{**shown, "trails": None}, [str(problem) for problem in report.problems]]


def _back_up(hardlink: bool, store: Store) -> None:
    store.upkeep.backup(_beside(store, BACKUP), hardlink=hardlink)


def _backup_of(folder: Path) -> Any:
    return _whole(folder / BACKUP)


def _changed_since(hardlink: bool, store: Store) -> None:
    """Have a backup, and since then: a content purged, one that is new, and other things lost."""
    common(store)
    store.intake.lose(b"bytes", Destination(None, "bytes"), "a test")
    _back_up(hardlink, store)
    store.artifacts.purge("s", "old")
    store.artifacts.put("s", "later", CHUNKS)
    store.upkeep.recover(store.upkeep.lost()[0].id, "s", "found")
    store.intake.lose(CHUNK, Destination(None, "others"), "a test")


def _left_since(store: Store) -> None:
    """Have a backup, with what a kill has left there."""
    _changed_since(False, store)
    chunk = max((_beside(store, BACKUP) / "blobs").glob("*/*"))
    part = chunk.with_name(f".part-{chunk.name}")
    part.write_bytes(b"half")
    part.chmod(0o600)


def _backed_up(store: Store) -> None:
    common(store)
    store.intake.lose(b"bytes", Destination(None, "bytes"), "a test")
    _back_up(True, store)


def _backed_up_with_another(store: Store) -> None:
    """Have a backup, and another store in the place where it is restored."""
    _backed_up(store)
    with open_store(_beside(store, RESTORED), config=Config()) as other:
        other.sessions.create("another")
    (_beside(store, RESTORED) / "was").write_bytes(b"here before")


def _restore(force: bool, store: Store) -> None:
    restore_store(_beside(store, BACKUP), _beside(store, RESTORED), force=force)


def _restored_of(folder: Path) -> Any:
    return [_whole(folder / RESTORED), len(list(folder.glob(f"{RESTORED}*/was")))]


def _export(store: Store) -> None:
    """Export a session with a file that is being written."""
    walker = Walker(store)
    try:
        handle = walker.create("/sessions/s/draft", CHUNK)
        handle.flush()
        path = _beside(store, ARCHIVE)
        with path.with_name("exporting").open("w+b") as file:
            store.archive.export(["s"], file)
            file.seek(0)
            write_whole(str(path), iter(lambda: file.read(1 << 20), b""))
        handle.release()
    finally:
        walker.tree.destroy()


def _exported_of(folder: Path) -> Any:
    if not (folder / ARCHIVE).exists():
        return None
    with open_store(folder / "another", config=Config()) as store, (folder / ARCHIVE).open("rb") as file:
        found = store.archive.import_(file, dry_run=True)
    shutil.rmtree(folder / "another")
    return [found.contents, found.content_bytes]


def _archived(history: bool, store: Store) -> None:
    """Have an archive of a session of another store, some of whose content is here already."""
    common(store)
    with open_store(_beside(store, "another"), config=Config()) as other:
        common(other)
        other.sessions.update("s", name="t")
        other.sessions.save("t", "first")
        for name, data in (("in/small", SMALL), ("in/chunk", CHUNK), ("in/chunks", CHUNKS)):
            other.artifacts.put("t", name, data, tags=["of another"])
        other.artifacts.delete("t", "in/chunk")
        other.artifacts.put("t", "in/chunk", CHUNK[::-1])
        with _beside(store, ARCHIVE).open("wb") as file:
            other.archive.export(["t"], file, history=history)
    shutil.rmtree(_beside(store, "another"))


def _import(store: Store) -> None:
    with _beside(store, ARCHIVE).open("rb") as file:
        void(store.archive.import_(file))


SCENARIOS: dict[str, Scenario] = {
    "backup": Scenario(partial(_back_up, True), is_one=False, beside=_backup_of),
    "backup again": Scenario(partial(_back_up, True), partial(_changed_since, True), is_one=False, beside=_backup_of),
    "backup by copies": Scenario(partial(_back_up, False), _left_since, is_one=False, beside=_backup_of),
    "restore a store": Scenario(partial(_restore, False), _backed_up, is_one=False, beside=_restored_of),
    "restore over": Scenario(partial(_restore, True), _backed_up_with_another, is_one=False, beside=_restored_of),
    "export": Scenario(_export, is_one=False, written=("draft", (b"", CHUNK)), beside=_exported_of),
    "import": Scenario(_import, partial(_archived, True)),
    "import without history": Scenario(_import, partial(_archived, False)),
}
