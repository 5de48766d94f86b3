"""Archives taken apart and put together again, as somebody with bad intentions would."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from tarfile import PAX_FORMAT, TarInfo
from typing import Any

from blake3 import blake3
from zstandard import ZstdCompressor, ZstdDecompressor

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.model.archive import Limits
from llmspellfs.model.artifact import Ownership
from llmspellfs.model.event import FIRST_PREV, line_hash, state_hash
from llmspellfs.model.values import is_text
from llmspellfs.service.arrival import new_entry, session_row
from llmspellfs.service.paths import Place
from llmspellfs.storage.archive import ArchiveReader

Records = list[dict[str, Any]]
BIG = Random(1).randbytes(1 << 20) * 3  # three chunks
OWN = Ownership(0o750, os.getuid(), os.getgid())


def export(store: Store, *refs: str, **how: Any) -> bytes:
    """Return the archive of the sessions *refs*."""
    out = io.BytesIO()
    store.archive.export(refs, out, **how)
    return out.getvalue()


def export_one(session: str, name: str, content: bytes) -> bytes:
    """Return the archive of a new *session* with one artifact."""
    with open_store(backend="memory", config=Config()) as source:
        source.sessions.create(session)
        source.artifacts.put(session, name, content)
        return export(source, session)


def take(store: Store, archive: bytes, **how: Any) -> Any:
    """Import *archive* into *store*."""
    return store.archive.import_(io.BytesIO(archive), **how)


def members(archive: bytes) -> list[tuple[str, bytes]]:
    """Return the members of a sound *archive*, in order."""
    reader = ArchiveReader(io.BytesIO(archive), Limits())
    found = []
    while (member := reader.next()) is not None:
        found.append((member.name, b"".join(reader.blocks())))
    return found


def header(name: str, size: int, kind: bytes = b"0", **more: Any) -> bytes:
    """Return a member's header."""
    info = TarInfo(name)
    info.size, info.type, info.mode = size, kind, 0o600
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(PAX_FORMAT, "utf-8", "surrogateescape")


def tar(found: list[tuple[str, bytes]]) -> bytes:
    """Return *found* as a tar without its end."""
    return b"".join(header(name, len(data)) + data + bytes(-len(data) % 512) for name, data in found)


def zst(plain: bytes) -> bytes:
    """Return *plain* as a zstd frame."""
    return ZstdCompressor(write_checksum=True, write_content_size=False).compress(plain)


def plain(archive: bytes) -> bytes:
    """Return the tar in *archive*."""
    return ZstdDecompressor().decompressobj().decompress(archive)


def packed(found: list[tuple[str, bytes]]) -> bytes:
    """Return *found* as an archive."""
    return zst(tar(found) + bytes(1024))


@dataclass
class Forged:
    """A one-session archive as records that a test changes; all hashes are made right again by `archive`."""

    manifest: dict[str, Any]
    session: dict[str, Any]
    events: Records
    rows: Records
    inodes: Records
    entries: Records
    checkpoints: Records
    contents: dict[str, bytes] = field(default_factory=dict)
    numbering_shift: int = 0
    """What all events hashed is that far from the numbers in the records."""

    def entry(self, name: str) -> dict[str, Any]:
        """Return the live record of *name*."""
        return next(one for one in self.entries if one["name"] == name and one["seq_to"] is None)

    def archive(self) -> bytes:
        """Return it as an archive in which every hash fits."""
        self._cover()
        parts = {
            "session.json": _lines([self.session]), "events.jsonl": self._trail(), "rows.jsonl": _lines(self.rows),
            "inodes.jsonl": _lines(self.inodes), "entries.jsonl": _lines(self.entries),
            "checkpoints.jsonl": _lines(self.checkpoints),
        }  # fmt: skip
        parts["session.json"] = _lines([self.session])
        plan = self.manifest["sessions"][0]
        plan |= {key: self.session[key] for key in ("id", "seq", "head")}
        plan["parts"] = [
            {"name": name, "size": len(data), "blake3": blake3(data).hexdigest()} for name, data in parts.items()
        ]
        self.manifest["contents"] = {"count": len(self.contents), "bytes": sum(map(len, self.contents.values()))}
        found = [("manifest.json", json.dumps(self.manifest).encode())]
        found += [(f"sessions/{plan['id']}/{name}", data) for name, data in parts.items()]
        found += [(f"contents/{key[:2]}/{key}", data) for key, data in sorted(self.contents.items())]
        return packed(found)

    def _cover(self) -> None:
        """Have each event cover the row that begins with it, as far as that can be a row."""
        if self.numbering_shift:
            self.session["numbering"] = [{"until": None, "shift": self.numbering_shift}]
        for record, state in self._states():
            if 0 < record["seq_from"] <= len(self.events):
                self.events[record["seq_from"] - 1]["state"] = state

    def _states(self) -> Iterator[tuple[dict[str, Any], str]]:
        shift = self.numbering_shift
        for record in self.rows + self.entries:
            try:
                if "kind" in record:
                    state = new_entry(record, 0, record["folder"] + shift, record["ino"] + shift).state
                else:
                    state = session_row(record).state
                yield record, state_hash(state)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                continue

    def _trail(self) -> bytes:
        prev, lines = FIRST_PREV, []
        for event in self.events:
            event["prev"] = prev
            line = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
            lines.append(line if is_text(line) else json.dumps(event, separators=(",", ":")))
            prev = line_hash(lines[-1])
        self.session["head"] = prev
        return "".join(f"{line}\n" for line in lines).encode()


def forged(archive: bytes, change: Callable[[Forged], object] = lambda _: None) -> bytes:
    """Return the one-session *archive* after *change*, with all of its hashes made right."""
    (_, manifest), *rest = members(archive)
    parts = {name.rpartition("/")[2]: data for name, data in rest if name.startswith("sessions/")}
    contents = {name.rpartition("/")[2]: data for name, data in rest if name.startswith("contents/")}
    records = {name: [json.loads(line) for line in data.splitlines()] for name, data in parts.items()}
    made = Forged(
        json.loads(manifest), records["session.json"][0], records["events.jsonl"], records["rows.jsonl"],
        records["inodes.jsonl"], records["entries.jsonl"], records["checkpoints.jsonl"], contents,
    )  # fmt: skip
    change(made)
    return made.archive()


def joined(archives: list[bytes]) -> bytes:
    """Return one archive of all sessions in *archives*, each of one session."""
    found = sorted(members(archive) for archive in archives)
    found.sort(key=lambda one: one[1][0])
    manifest = json.loads(found[0][0][1])
    manifest["sessions"] = [json.loads(one[0][1])["sessions"][0] for one in found]
    contents = {name: data for one in found for name, data in one if name.startswith("contents/")}
    manifest["contents"] = {"count": len(contents), "bytes": sum(map(len, contents.values()))}
    parts = [part for one in found for part in one[1:] if part[0].startswith("sessions/")]
    return packed([("manifest.json", json.dumps(manifest).encode()), *parts, *sorted(contents.items())])


def _lines(records: Records) -> bytes:
    return b"".join(json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n" for record in records)


def fill(store: Store, clock: list[int]) -> str:
    """Make a session with all that a session can have; return its id."""
    made = store.sessions.create("q4", description="d\u00e9", tags=["t", "u"], metadata={"k": [1, 2.5, None]})
    store.artifacts.put("q4", "a", b"one", tags=["x"], custom={"n": 1, "b": "\udcff"}, description="it")
    store.artifacts.put("q4", "d/e/big", BIG)
    clock[0] += 10**9 + 123
    store.artifacts.put("q4", "a", b"two")
    store.sessions.save("q4", label="first")
    top = Place(made.sid, made.ino, "link")
    store.entries.make_symlink(top, "../../etc/passwd", OWN)
    store.entries.make_folder(Place(made.sid, made.ino, "empty"), OWN)
    store.artifacts.delete("q4", "a")
    store.artifacts.put("q4", "b", b"three")
    clock[0] += 10**9 + 456
    store.sessions.save("q4")
    return made.id


def dump(store: Store) -> tuple[list[Any], list[str], int]:
    """Return what a refused import must leave as it was."""
    with store.engine.index.snapshot() as db:
        tables = ("session", "session_row", "entry", "event", "inode", "content", "chunk", "checkpoint", "numbering")
        rows = [list(db.execute(f"SELECT * FROM {name} ORDER BY 1, 2")) for name in tables]
    return rows, sorted(name for name, _ in store.engine.rooms.blobs.iterate()), len(store.sessions.list())
