"""Archives that are not what they say: refused with one line, and nothing of them is taken."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from zstandard import ZstdError

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import (
    Corrupt,
    LimitExceeded,
    SpellError,
    TooLarge,
)
from llmspellfs.model import archive as archive_model
from llmspellfs.model.archive import Limits
from tests.service.archives import (
    Forged,
    dump,
    export,
    fill,
    forged,
    header,
    members,
    packed,
    plain,
    take,
    tar,
    zst,
)

BOMB = 8 << 60


@pytest.fixture(scope="module")
def sound() -> bytes:
    """The archive of a session that has everything."""
    clock = [1_795_262_400 * 10**9]
    with open_store(None, config=Config(), backend="memory", now=lambda: clock[0]) as store:
        fill(store, clock)
        return export(store, "q4")


@pytest.fixture
def refused(other: Store) -> Callable[..., str]:
    """Sees that an archive is refused with one line and changes nothing; returns the line."""

    def check(archive: bytes, error: type[SpellError] = Corrupt, **how: Any) -> str:
        before = dump(other)
        with pytest.raises(error) as caught:
            take(other, archive, **how)
        assert dump(other) == before
        assert "\n" not in caught.value.message
        return caught.value.message

    return check


def test_a_forged_archive_without_a_change_is_taken(sound: bytes, other: Store) -> None:
    """So that what is refused below is refused for its change."""
    take(other, forged(sound))


def _swap(name: str, data: bytes) -> Callable[[bytes], bytes]:
    return lambda archive: packed([(name, data), *members(archive)[1:]])


def _first(kind: bytes, size: int = 0, **more: Any) -> Callable[[bytes], bytes]:
    def changed(archive: bytes) -> bytes:
        found = members(archive)
        return zst(tar(found[:1]) + header("sessions/x", size, kind, **more) + tar(found[1:]) + bytes(1024))

    return changed


def _with(name: str, data: bytes = b"x") -> Callable[[bytes], bytes]:
    return lambda archive: packed([*members(archive), (name, data)])


def _twice(archive: bytes) -> bytes:
    found = members(archive)
    return packed([*found, found[-1]])


def _parts_twice(archive: bytes) -> bytes:
    found = members(archive)
    return packed([*found[:2], *found[1:]])


def _other_bytes(archive: bytes) -> bytes:
    *found, (name, data) = members(archive)
    return packed([*found, (name, data[:-1] + bytes([data[-1] ^ 1]))])


def _flip_line(part: str) -> Callable[[bytes], bytes]:
    def changed(archive: bytes) -> bytes:
        return packed(
            [
                (name, data.replace(b'"seq', b'"sEq', 1) if name.endswith(part) else data)
                for name, data in members(archive)
            ]
        )

    return changed


def _huge_header(archive: bytes) -> bytes:
    return zst(tar(members(archive)[:1]) + header("contents/aa/x", 0)[:0] + _base256("manifest.json", BOMB))


def _base256(name: str, size: int) -> bytes:
    """Return a header that claims *size* bytes in base 256."""
    block = bytearray(header(name, 0))
    block[124:136] = b"\x80" + size.to_bytes(11, "big")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _long_pax(archive: bytes) -> bytes:
    return zst(_base256("././@PaxHeader", 1 << 40)[:156] + b"x" + _base256("x", 0)[157:] + bytes(1024))


def _pax(record: bytes) -> Callable[[bytes], bytes]:
    def changed(archive: bytes) -> bytes:
        line = b"%d %s\n" % (len(record) + 4, record)
        return zst(header("x", len(line), b"x") + line + bytes(-len(line) % 512) + tar(members(archive)) + bytes(1024))

    return changed


HOSTILE_FILES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "not zstd": lambda _: b"PK\x03\x04 and so on",
    "not tar": lambda _: zst(b"x" * 4096),
    "no members": lambda _: zst(bytes(10240)),
    "cut by a byte": lambda archive: archive[:-1],
    "cut in the middle": lambda archive: archive[: len(archive) // 2],
    "tar cut": lambda archive: zst(plain(archive)[:-20000]),
    "tar without an end": lambda archive: zst(tar(members(archive))),
    "garbage after": lambda archive: archive + b"x",
    "a second frame": lambda archive: archive + zst(b"more"),
    "an empty frame after": lambda archive: archive + zst(b""),
    "garbage in the tar's end": lambda archive: zst(plain(archive) + b"x" * 512),
    "zeros without end": lambda archive: zst(plain(archive) + bytes(1 << 24)),
    "a byte flipped": lambda archive: archive[:5000] + bytes([archive[5000] ^ 4]) + archive[5001:],
    "absolute path": _with("/etc/passwd"),
    "parent path": _with("contents/../../x"),
    "unknown member": _with("contents/aa/readme"),
    "content nobody has": _with("contents/ff/" + "f" * 64),
    "a member twice": _twice,
    "a part twice": _parts_twice,
    "symlink": _first(b"2", linkname="/etc/passwd"),
    "hard link": _first(b"1", linkname="../x"),
    "device": _first(b"3"),
    "block device": _first(b"4"),
    "fifo": _first(b"6"),
    "sparse": _first(b"S"),
    "long name": _first(b"L"),
    "global header": _first(b"g"),
    "folder with content": _first(b"5", size=512),
    "size below zero": lambda _: zst(_base256("manifest.json", 0)[:124] + b"\xff" * 12 + bytes(376) + bytes(1024)),
    "extended header without end": _long_pax,
    "extended path": _pax(b"path=/etc/passwd"),
    "extended sparse": _pax(b"GNU.sparse.map=0,1"),
    "extended size below zero": _pax(b"size=-1"),
    "content with other bytes": _other_bytes,
    "content left out": lambda archive: packed(members(archive)[:-1]),
    "part left out": lambda archive: packed(members(archive)[:3] + members(archive)[4:]),
    "manifest not first": lambda archive: packed(members(archive)[1:]),
    "manifest not JSON": _swap("manifest.json", b"{"),
    "manifest not UTF-8": _swap("manifest.json", b"\xff\xfe"),
    "manifest a number": _swap("manifest.json", b"1"),
    "manifest deep": _swap("manifest.json", b"[" * 100_000),
    "manifest deep and whole": _swap("manifest.json", b"[" * 500 + b"]" * 500),
    "manifest of another kind": _swap("manifest.json", b'{"format":"zip"}'),
    "a huge number": _swap("manifest.json", b'{"version":' + b"9" * 5000 + b"}"),
    "not a number": _swap("manifest.json", b'{"version":NaN}'),
    "altered rows": _flip_line("rows.jsonl"),
    "altered trail": _flip_line("events.jsonl"),
    "altered entries": _flip_line("entries.jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE_FILES)
def test_a_file_that_is_no_sound_archive_is_refused(what: str, sound: bytes, refused: Callable[..., str]) -> None:
    assert refused(HOSTILE_FILES[what](sound)).startswith("corrupt: archive: ")


def _manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def changed(archive: bytes) -> bytes:
        (name, data), *rest = members(archive)
        said = json.loads(data)
        change(said)
        return packed([(name, json.dumps(said).encode()), *rest])

    return changed


def _set(where: dict[str, Any], **values: Any) -> None:
    where.update(values)


HOSTILE_MANIFESTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "newer": lambda m: _set(m, version=2),
    "a true version": lambda m: _set(m, version=True),
    "history a number": lambda m: _set(m, history=1),
    "more fields": lambda m: _set(m, more=1),
    "no sessions": lambda m: _set(m, sessions=[]),
    "sessions an object": lambda m: _set(m, sessions={}),
    "a session a list": lambda m: _set(m, sessions=[[]]),
    "a session twice": lambda m: _set(m, sessions=m["sessions"] * 2),
    "no history": lambda m: _set(m, history=False),
    "another id": lambda m: _set(m["sessions"][0], id="x" * 36),
    "an id of another": lambda m: _set(m["sessions"][0], id="00000000-0000-4000-8000-000000000000"),
    "another head": lambda m: _set(m["sessions"][0], head="0" * 64),
    "another seq": lambda m: _set(m["sessions"][0], seq=3),
    "dirname with a slash": lambda m: _set(m["sessions"][0], dirname="../x"),
    "parts in another order": lambda m: m["sessions"][0]["parts"].reverse(),
    "a part of another size": lambda m: _set(m["sessions"][0]["parts"][2], size=1),
    "a part of a size below zero": lambda m: _set(m["sessions"][0]["parts"][2], size=-1),
    "a part with another hash": lambda m: _set(m["sessions"][0]["parts"][2], blake3="0" * 64),
    "contents of another count": lambda m: _set(m["contents"], count=1),
    "contents of other bytes": lambda m: _set(m["contents"], bytes=1),
}


@pytest.mark.parametrize("what", HOSTILE_MANIFESTS)
def test_a_manifest_that_says_otherwise_is_refused(what: str, sound: bytes, refused: Callable[..., str]) -> None:
    refused(_manifest(HOSTILE_MANIFESTS[what])(sound))


def _add(records: list[dict[str, Any]], like: dict[str, Any], **values: Any) -> None:
    records.append({**like, **values})


def _cycle(f: Forged) -> None:
    outer, inner = f.entry("d"), f.entry("e")
    outer["folder"] = inner["ino"]


def _deep(f: Forged) -> None:
    """Nest three thousand folders; their rows have no events, so the seq is that of one that is there."""
    folder = f.entry("empty")
    for number in range(3000):
        ino = 10_000_000 + number
        _add(f.events, f.events[-1], seq=len(f.events) + 1, kind="folder.created")
        seq = len(f.events)
        _add(f.entries, folder, folder=folder["ino"] if not number else ino - 1, ino=ino, name="x", seq_from=seq)
        _add(f.inodes, f.inodes[0], ino=ino)
    f.session["seq"] = len(f.events)


def _far_apart(f: Forged) -> None:
    ino = f.session["ino"] + (1 << 40) + 1
    f.inodes.pop(next(n for n, one in enumerate(f.inodes) if one["ino"] == f.entry("b")["ino"]))
    _set(f.entry("b"), ino=ino)
    _add(f.inodes, f.inodes[0], ino=ino)


def _event(f: Forged, kind: str) -> dict[str, Any]:
    return next(one for one in f.events if one["kind"] == kind)


HOSTILE_RECORDS: dict[str, Callable[[Forged], object]] = {
    "name with a slash": lambda f: _set(f.entry("b"), name="x/y"),
    "name of two dots": lambda f: _set(f.entry("b"), name=".."),
    "name with NUL": lambda f: _set(f.entry("b"), name="x\0"),
    "no name": lambda f: _set(f.entry("b"), name=""),
    "a long name": lambda f: _set(f.entry("b"), name="x" * 256),
    "a name of half a character": lambda f: _set(f.entry("b"), name="\ud800"),
    "a name that is a number": lambda f: _set(f.entry("b"), name=1),
    "the control directory": lambda f: _set(f.entry("b"), name=".session"),
    "kind unknown": lambda f: _set(f.entry("b"), kind=3),
    "kind true": lambda f: _set(f.entry("empty"), kind=True),
    "a row twice": lambda f: _add(f.entries, f.entry("b")),
    "two at one place": lambda f: _set(f.entry("empty"), name="b"),
    "one inode twice": lambda f: _set(f.entry("empty"), ino=f.entry("d")["ino"]),
    "the top's inode": lambda f: _set(f.entry("b"), ino=f.session["ino"]),
    "one sequence twice": lambda f: _set(f.entry("b"), sequence=f.entry("big")["sequence"]),
    "a sequence to come": lambda f: _set(f.session, next_sequence=1),
    "ends before it begins": lambda f: _set(f.entries[0], seq_to=f.entries[0]["seq_from"]),
    "begins beyond the end": lambda f: _set(f.entry("b"), seq_from=1000),
    "ends beyond the end": lambda f: _set(f.entry("b"), seq_to=1000),
    "begins at another's event": lambda f: _set(f.entry("b"), seq_from=1),
    "seq below zero": lambda f: _set(f.entry("b"), seq_from=-1),
    "a huge seq": lambda f: _set(f.entry("b"), seq_from=1 << 70),
    "a huge inode": lambda f: _set(f.entry("b"), ino=1 << 70),
    "inodes far apart": _far_apart,
    "in no folder": lambda f: _set(f.entry("b"), folder=999_999),
    "in a file": lambda f: _set(f.entry("b"), folder=f.entry("big")["ino"]),
    "folders in a circle": _cycle,
    "a folder in itself": lambda f: _set(f.entry("d"), folder=f.entry("d")["ino"]),
    "too deep": _deep,
    "no attributes": lambda f: f.inodes.pop(),
    "attributes of nobody": lambda f: _add(f.inodes, f.inodes[0], ino=999_999),
    "attributes twice": lambda f: f.inodes.append(f.inodes[0]),
    "a mode of more bits": lambda f: _set(f.inodes[0], mode=0o100644),
    "an owner below zero": lambda f: _set(f.inodes[0], uid=-1),
    "a size of its own": lambda f: _set(f.entry("b"), size=4),
    "content that is not there": lambda f: f.contents.popitem(),
    "content beside": lambda f: _set(f.contents, **{blake3(b"more").hexdigest(): b"more"}),
    "content under another hash": lambda f: _set(f.contents, **{f.entry("b")["hash"]: b"other"}),
    "tags no JSON": lambda f: _set(f.entry("b"), tags="["),
    "tags a list": lambda f: _set(f.entry("b"), tags=["x"]),
    "a bad tag": lambda f: _set(f.entry("b"), tags='["a\\nb"]'),
    "custom deep": lambda f: _set(f.entry("b"), custom='{"a":' + "[" * 100 + "]" * 100 + "}"),
    "custom very deep": lambda f: _set(f.entry("b"), custom='{"a":' + "[" * 100_000),
    "custom not canonical": lambda f: _set(f.entry("b"), custom='{"a": 1}'),
    "custom infinite": lambda f: _set(f.entry("b"), custom='{"a":1e999}'),
    "type unknown": lambda f: _set(f.entry("b"), type="A B"),
    "a long description": lambda f: _set(f.entry("b"), description="x" * (1 << 17)),
    "a symlink to nothing": lambda f: _set(f.entry("link"), target=""),
    "a symlink with NUL": lambda f: _set(f.entry("link"), target="a\0b"),
    "a folder with a size": lambda f: _set(f.entry("empty"), size=1),
    "status unknown": lambda f: _set(f.rows[0], status="open"),
    "metadata a list": lambda f: _set(f.rows[0], metadata="[]"),
    "no live row": lambda f: _set(f.rows[-1], seq_to=f.session["seq"]),
    "dirname with a slash": lambda f: _set(f.rows[0], dirname="a/b"),
    "parent no id": lambda f: _set(f.rows[0], parent="x"),
    "a huge time": lambda f: _set(f.rows[0], ended_ns=1 << 80),
    "a row beyond the end": lambda f: _add(f.rows, f.rows[0], seq_from=1000),
    "a horizon beyond the end": lambda f: _set(f.session, horizon_seq=1000),
    "another seq": lambda f: _set(f.session, seq=3),
    "another last time": lambda f: _set(f.session, last_ns=0),
    "numbering empty": lambda f: _set(f.session, numbering=[]),
    "numbering out of order": lambda f: _set(
        f.session, numbering=[{"until": 4, "shift": 0}, {"until": 2, "shift": 0}, {"until": None, "shift": 0}]
    ),
    "numbering shifted": lambda f: _set(f.session, numbering=[{"until": None, "shift": 5}]),
    "checkpoint of no save": lambda f: _set(f.checkpoints[0], seq=1),
    "checkpoint twice": lambda f: f.checkpoints.append(f.checkpoints[0]),
    "checkpoint zero": lambda f: _set(f.checkpoints[0], number=0),
    "checkpoint of another number": lambda f: _set(f.checkpoints[0], number=9),
    "made at another time": lambda f: _set(f.session, created_ns=1),
    "a row left out": lambda f: f.entries.remove(f.entry("link")),
    "an event left out": lambda f: f.events.pop(3),
    "events swapped": lambda f: f.events.insert(2, f.events.pop(3)),
    "an event more": lambda f: _add(f.events, f.events[-1], seq=len(f.events) + 1),
    "an event of an unknown kind": lambda f: _set(f.events[-1], kind="session.exploded"),
    "an event of another version": lambda f: _set(f.events[-1], v=2),
    "an event that goes back in time": lambda f: _set(f.events[-1], at="2001-01-01T00:00:00.000000Z"),
    "an event at no time": lambda f: _set(f.events[-1], at="soon"),
    "an event in the year 9999": lambda f: _set(f.events[-1], at="9999-01-01T00:00:00.000000Z"),
    "an event that is true": lambda f: _set(f.events[0], seq=True),
    "an event of nobody": lambda f: f.events[1].pop("actor"),
    "an event by a list": lambda f: _set(f.events[1], actor=["uid:0"]),
    "an event through no door": lambda f: f.events[1].pop("door"),
    "an event about a number": lambda f: _set(f.events[1], name=1),
    "an event that names half a character": lambda f: _set(f.events[1], name="\udcff"),
    "an event that is not a number": lambda f: _set(f.events[1], more=float("nan")),
    "a deep event": lambda f: _set(f.events[1], more=json.loads("[" * 100 + "]" * 100)),
    "a deletion of nothing": lambda f: _event(f, "artifact.deleted").pop("sequence"),
    "a deletion of a huge sequence": lambda f: _set(_event(f, "artifact.deleted"), sequence=1 << 64),
    "moved in from nowhere": lambda f: _set(_event(f, "artifact.deleted"), kind="artifact.moved_in"),
    "moved out to a number": lambda f: _set(_event(f, "artifact.deleted"), kind="artifact.moved_out", to=7),
    "moved out to half a place": lambda f: _set(
        _event(f, "artifact.deleted"), kind="artifact.moved_out", to={"session": "x"}
    ),
    "a fork of nothing": lambda f: _set(_event(f, "artifact.deleted"), kind="session.forked"),
    "a version that is almost the last": lambda f: _set(f.entry("b"), version=(1 << 63) - 2),
    "a sequence that is almost the last": lambda f: _set(f.session, next_sequence=(1 << 63) - 2),
    "a checkpoint that is almost the last": lambda f: _set(f.checkpoints[-1], number=(1 << 63) - 2),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE_RECORDS)
def test_records_that_cannot_be_are_refused_though_all_hashes_fit(
    what: str, sound: bytes, refused: Callable[..., str]
) -> None:
    assert refused(forged(sound, HOSTILE_RECORDS[what])).startswith("corrupt: archive: ")


def test_the_inode_numbers_of_all_sessions_together_are_bounded(
    sound: bytes, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_model, "MAX_SPANS", 3)
    assert "too far apart" in refused(sound)


def test_no_import_takes_the_inode_numbers_that_new_files_need(sound: bytes, refused: Callable[..., str]) -> None:
    with open_store(None, config=Config(), backend="memory") as other:
        with other.engine.index.write() as db:
            db.execute("UPDATE store SET value = ? WHERE key = 'next_ino'", (archive_model.MAX_INO - 3,))
        before = dump(other)
        with pytest.raises(LimitExceeded, match="inode numbers"):
            take(other, sound)
        assert dump(other) == before
        other.sessions.create("new")
        other.artifacts.put("new", "a", b"a")
        assert other.upkeep.fsck().problems == ()


def test_numberings_as_far_from_one_another_as_they_may_be_are_taken(sound: bytes) -> None:
    """Neither they nor what is added to them is beyond 63 bits."""
    far = archive_model.MAX_INO - 1000

    def change(f: Forged) -> None:
        by = -far - f.session["ino"]
        for record in (*f.inodes, *f.entries, f.session):
            record |= {key: record[key] + by for key in ("ino", "folder") if key in record}
        f.numbering_shift = archive_model.MAX_INO

    with open_store(None, config=Config(), backend="memory") as other:
        take(other, forged(sound, change))
        assert other.upkeep.fsck().problems == ()


@pytest.mark.parametrize("how", [{}, {"dry_run": True}, {"name": "copy"}, {"name": "copy", "dry_run": True}])
def test_each_content_is_held_against_its_hash_whether_it_is_needed_or_not(
    sound: bytes, refused: Callable[..., str], how: dict[str, Any]
) -> None:
    """What a dry run does not store, and what only the past has that a copy does not take."""
    found = members(sound)
    contents = [number for number, (name, _) in enumerate(found) if name.startswith("contents/")]
    assert len(contents) == 4
    for number in contents:
        name, data = found[number]
        wrong = [*found[:number], (name, bytes([data[0] ^ 1]) + data[1:]), *found[number + 1 :]]
        assert "hash" in refused(packed(wrong), **how), name


def test_a_rewritten_line_is_refused(sound: bytes, refused: Callable[..., str]) -> None:
    found = dict(members(sound))
    name = next(name for name in found if name.endswith("events.jsonl"))
    trail = found[name].replace(b'"door":"api"', b'"door":"cli"', 1)
    said = json.loads(found["manifest.json"])
    part = next(part for part in said["sessions"][0]["parts"] if part["name"] == "events.jsonl")
    part |= {"size": len(trail), "blake3": blake3(trail).hexdigest()}
    found |= {name: trail, "manifest.json": json.dumps(said).encode()}
    assert "does not follow" in refused(packed(list(found.items())))


def test_bombs_are_refused_by_what_they_claim(sound: bytes, refused: Callable[..., str]) -> None:
    before = _memory()
    refused(_huge_header(sound), TooLarge)
    refused(zst(_base256("manifest.json", BOMB)), TooLarge)
    refused(_manifest(lambda m: _set(m["contents"], bytes=1 << 62))(sound), TooLarge)
    refused(_manifest(lambda m: _set(m["sessions"][0]["parts"][1], size=1 << 50))(sound), TooLarge)
    refused(sound, TooLarge, limits=Limits(size=1 << 20))
    refused(sound, LimitExceeded, limits=Limits(entries=12))
    refused(zst(header("manifest.json", 1 << 30) + bytes(1 << 28)))
    assert _memory() - before < 400 << 20


def test_a_billion_entries_are_not_counted_to_the_end(refused: Callable[..., str]) -> None:
    folders = header("x", 0, b"5") * 20_000
    refused(zst(folders), LimitExceeded, limits=Limits(entries=10_000))


def test_a_line_without_end_is_not_read_to_its_end(sound: bytes, refused: Callable[..., str]) -> None:
    found = members(sound)
    data = b"x" * (20 << 20)
    said = json.loads(found[0][1])
    said["sessions"][0]["parts"][1] |= {"size": len(data), "blake3": blake3(data).hexdigest()}
    assert "a line of more" in refused(
        packed([("manifest.json", json.dumps(said).encode()), found[1], (found[2][0], data), *found[3:]])
    )


def test_a_frame_that_asks_for_much_memory_is_refused(refused: Callable[..., str]) -> None:
    from zstandard import ZstdCompressionParameters, ZstdCompressor

    wide = ZstdCompressionParameters(window_log=27, compression_level=3)
    packer = ZstdCompressor(compression_params=wide)
    out = io.BytesIO()
    with packer.stream_writer(out, closefd=False) as writer:
        writer.write(os.urandom(10 << 20))
    assert refused(out.getvalue()).startswith("corrupt: archive: zstd")


def _memory() -> int:
    """Return the most memory that this process has had, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _says_the_same(one: bytes, other: bytes) -> bool:
    """Tell whether two zstd frames are of the same bytes: runs of zeros can be said in several ways."""
    try:
        return plain(one) == plain(other)
    except ZstdError:
        return False


def test_every_cut_and_flipped_bit_of_an_archive_is_refused(store: Store, refused: Callable[..., str]) -> None:
    store.sessions.create("q4")
    store.artifacts.put("q4", "a", b"one")
    archive = export(store, "q4")
    for end in range(0, len(archive), 17):
        refused(archive[:end])
    for spot in range(0, len(archive), 11):
        altered = archive[:spot] + bytes([archive[spot] ^ 0x10]) + archive[spot + 1 :]
        if not _says_the_same(altered, archive):
            refused(altered)


def test_what_a_refused_archive_brought_is_unlinked_at_once(sqlite_store: Store, other: Store) -> None:
    other.sessions.create("q4")
    for number in range(3):
        other.artifacts.put("q4", f"f{number}", os.urandom(2 << 20))
    archive = export(other, "q4")
    *found, (name, data) = members(archive)
    bad = packed([*found, (name, bytes([data[0] ^ 1]) + data[1:])])
    before = dump(sqlite_store)
    with pytest.raises(Corrupt, match="another hash"):
        take(sqlite_store, bad)
    with pytest.raises(Corrupt):
        take(sqlite_store, archive[:-3_000_000])
    assert dump(sqlite_store) == before
    blobs = (sqlite_store.path or Path()) / "blobs"
    assert [path for path in blobs.rglob("*") if path.is_file()] == []


def test_an_import_that_is_refused_takes_nothing_from_another_that_is_under_way(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with open_store(tmp_path / "from") as origin:
        origin.sessions.create("s")
        for number in range(80):
            origin.artifacts.put("s", f"f{number}", os.urandom(100_000 if number % 4 == 0 else 100))
        origin.archive.export(["s"], archive)
    has_placed, is_ready, is_refused = threading.Event(), threading.Event(), threading.Event()

    def refuse(done: int, total: int) -> None:
        if done == total:
            has_placed.set()
            assert is_ready.wait(30)
            raise InterruptedError

    def go_on(done: int, total: int) -> None:
        if done == total:
            is_ready.set()
            assert is_refused.wait(30)

    with (
        open_store(tmp_path / "into") as store, open_store(tmp_path / "into") as other, ThreadPoolExecutor() as threads
    ):  # fmt: skip
        first = threads.submit(store.archive.import_, io.BytesIO(archive.getvalue()), progress=refuse)
        assert has_placed.wait(30)
        second = threads.submit(other.archive.import_, io.BytesIO(archive.getvalue()), progress=go_on)
        with pytest.raises(InterruptedError):
            first.result(60)
        is_refused.set()
        assert [one.dirname for one in second.result(60).sessions] == ["s"]
        assert len(other.artifacts.list("s")) == 80
        assert other.upkeep.fsck().problems == ()
