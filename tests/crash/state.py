"""What a store holds, as JSON that two moments can be compared by: what its doors show, and what lies on the disk."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path
from typing import Any

from blake3 import blake3

from llmspellfs import Store
from llmspellfs.model.artifact import Artifact

_MOVING = "key NOT IN ('next_ino', 'synced_ns', 'indexed_eid')"
"""Numbers that are given out ahead, or catch up, in transactions of their own."""


def shown(store: Store) -> dict[str, Any]:
    """Return all that the doors show but times and ids; every byte of every version is read."""
    sessions = {session.dirname: _session(store, session.dirname) for session in store.sessions.list()}
    with store.engine.index.read() as db:
        trails = [
            [row[0] for row in db.execute("SELECT kind FROM event WHERE sid = ? ORDER BY seq", (sid,))]
            for (sid,) in db.execute("SELECT sid FROM session ORDER BY sid").fetchall()
        ]
    lost = [[item.name, blake3(b"".join(store.upkeep.read_lost(item.id))).hexdigest()] for item in store.upkeep.lost()]
    return {"sessions": sessions, "trails": trails, "lost": sorted(lost, key=str)}


def _session(store: Store, ref: str) -> dict[str, Any]:
    session = store.sessions.get(ref)
    artifacts = store.artifacts.list(ref)
    return {
        "about": [session.name, session.status, list(session.tags), session.metadata, session.artifact_count],
        "checkpoints": [[made.number, made.seq, made.label] for made in store.sessions.checkpoints(ref)],
        "artifacts": {one.name: _artifact(store, ref, one) for one in artifacts},
    }


def _artifact(store: Store, ref: str, artifact: Artifact) -> list[Any]:
    versions = store.artifacts.history(ref, artifact.name)
    for version in versions:
        read = blake3(store.artifacts.read(version)).hexdigest()
        assert read == version.content_hash, f"{ref}:{artifact.name} is not what was written"
    return [[each.version, each.content_hash, each.size] for each in versions] + [
        artifact.artifact_type, artifact.description, list(artifact.tags), artifact.custom,
    ]  # fmt: skip


def on_disk(path: Path) -> dict[str, Any]:
    """Return what the store at *path* consists of: its rows, a hash for each table, and the names of its files.

    Left out are chunks that no row names, which may stay after a failure, and the folders of living processes.
    """
    with sqlite3.connect(path / "index.db") as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        found: dict[str, Any] = {name: _rows(db, name) for name in tables}
        chunks = {row[0].hex() for row in db.execute("SELECT hash FROM chunk WHERE data IS NULL")}
    db.close()
    names = [file.name for file in (path / "blobs").glob("*/*")]
    found["blobs"] = sorted(name for name in names if name in chunks or name.startswith("."))
    found["lost+found"] = len(os.listdir(path / "lost+found")) if (path / "lost+found").exists() else 0
    return found


def _rows(db: sqlite3.Connection, table: str) -> str:
    if table.startswith(("entry_text", "sqlite_")):
        return ""  # full text follows behind the entries
    where = f"WHERE {_MOVING}" if table == "store" else ""
    rows = db.execute(f"SELECT * FROM {table} {where}").fetchall()
    return hashlib.sha256(repr(sorted(rows, key=repr)).encode()).hexdigest()[:12]


def unexplained(path: Path) -> list[str]:
    """Return the files of the store at *path*, collected and closed, that nothing accounts for."""
    with sqlite3.connect(path / "index.db") as db:
        chunks = {row[0].hex() for row in db.execute("SELECT hash FROM chunk WHERE data IS NULL")}
    db.close()
    blobs = {file.name for file in (path / "blobs").glob("*/*")}
    lost = {file.name.partition(".")[0] for file in (path / "lost+found").glob("*")}
    pairs = {file.name for file in (path / "lost+found").glob("*") if "." not in file.name}
    spool = list((path / "spool").glob("[0-9]*"))
    return [*map(str, spool), *sorted(blobs ^ chunks), *(f"lost+found/{name}" for name in sorted(lost - pairs))]
