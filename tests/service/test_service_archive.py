"""Sessions out into archives and in again, and archives that are not what they say."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from zstandard import ZstdError

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import (
    AlreadyExists,
    Corrupt,
    InvalidValue,
    LimitExceeded,
    NotFound,
    SpellError,
    TooLarge,
    Vanished,
)
from llmspellfs.model import archive as archive_model
from llmspellfs.model.archive import Limits
from llmspellfs.model.artifact import Ownership
from llmspellfs.service import arrival, parents
from llmspellfs.service.creation import NewSession
from llmspellfs.service.paths import Place
from llmspellfs.storage import sessions
from tests.service.archives import Forged, export, forged, header, joined, members, packed, plain, take, tar, zst
from tests.service.histories import Histories, at, live, place

BIG = os.urandom(1 << 20) * 3
OWN = Ownership(0o750, os.getuid(), os.getgid())
BOMB = 8 << 60


@pytest.fixture
def other() -> Iterator[Store]:
    """Another store, in which numbers are taken; whole at the end."""
    with open_store(None, config=Config(), backend="memory") as store:
        store.sessions.create("there")
        store.artifacts.put("there", "some/where", b"else")
        yield store
        assert store.upkeep.fsck().problems == ()


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


def test_a_session_goes_to_another_store_with_all_of_its_past(store: Store, other: Store, clock: list[int]) -> None:
    ref = fill(store, clock)
    archive = export(store, "q4")
    report = take(other, archive)
    assert [(one.id, one.dirname) for one in report.sessions] == [(ref, "q4")]
    assert (report.history, report.known) == (True, 0)
    assert live(other, ref) == live(store, ref)
    for seq in range(1, store.sessions.get(ref).seq + 1):
        assert at(other, ref, seq) == at(store, ref, seq)
    assert [event.line for event in other.sessions.events(ref)] == [event.line for event in store.sessions.events(ref)]
    assert other.sessions.checkpoints(ref) == store.sessions.checkpoints(ref)
    assert [other.artifacts.read(one) for one in other.artifacts.history(ref, "a")] == [b"one", b"two"]
    assert other.artifacts.read(other.artifacts.get(ref, "d/e/big")) == BIG
    assert [other.upkeep.verify(ref)[0].problem, other.upkeep.fsck().problems] == [None, ()]


def test_an_archive_comes_out_as_it_went_in(store: Store, other: Store, clock: list[int]) -> None:
    fill(store, clock)
    store.sessions.create("kid", parent="q4")
    store.sessions.complete("kid")
    archive = export(store, "q4", "kid")
    assert archive == export(store, "kid", "q4", "kid")
    take(other, archive)
    assert export(other, "q4", "kid") == archive


def test_what_came_in_is_changed_and_goes_on_to_a_third_store(store: Store, other: Store, clock: list[int]) -> None:
    ref = fill(store, clock)
    take(other, export(store, "q4"))
    other.artifacts.put("q4", "d/new", b"here")
    other.entries.rename(place(other, "q4", "b"), place(other, "q4", "empty/b"))
    archive = export(other, "q4")
    with open_store(None, config=Config(), backend="memory") as third:
        third.sessions.create("there")
        take(third, archive)
        assert export(third, "q4") == archive
        third.artifacts.put("q4", "d/newer", b"third")
        assert live(third, ref).tree.keys() == live(other, ref).tree.keys() | {"d/newer"}
        assert third.upkeep.fsck().problems == ()


class Travelling(Histories):
    """Whatever was done to two sessions: elsewhere they show the same at every moment, and come out the same."""

    def teardown(self) -> None:
        for name, ref in self.ids.items():
            if not self.is_there(name):
                self.store.sessions.restore(ref)
        archive = export(self.store, *self.ids.values())
        with open_store(None, config=Config(), backend="memory") as other:
            other.sessions.create("there")
            take(other, archive)
            for name, ref in self.ids.items():
                assert live(other, ref) == live(self.store, ref)
                for seq, state in self.seen[name].items():
                    assert at(other, ref, seq) == state, (name, seq)
            if os.getuid() == 0:  # others may not give files away
                assert export(other, *self.ids.values()) == archive
            assert other.upkeep.fsck().problems == ()
            new = take(other, archive if len(self.ids) == 1 else export(self.store, self.ids["s"]), name="copy")
            assert live(other, new.sessions[0].id).tree.keys() == live(self.store, self.ids["s"]).tree.keys()
            assert other.upkeep.fsck().problems == ()
        super().teardown()


def test_any_history_travels() -> None:
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    setting = settings(max_examples=20, stateful_step_count=15, deadline=None, suppress_health_check=checks)
    run_state_machine_as_test(Travelling, settings=setting)


def test_pruned_and_purged_history_travels(store: Store, other: Store, clock: list[int]) -> None:
    ref = fill(store, clock)
    store.artifacts.put("q4", "gone", b"secret")
    store.artifacts.purge("q4", "gone")
    store.artifacts.put("q4", "swap", b"fleeting")
    store.artifacts.delete("q4", "swap")
    clock[0] += 40 * 86400 * 10**9
    store.artifacts.put("q4", "b", b"four")
    store.upkeep.gc(grace_seconds=0)
    archive = export(store, "q4")
    take(other, archive)
    assert export(other, "q4") == archive
    with pytest.raises(NotFound):
        at(other, ref, 2)
    assert b"secret" not in plain(archive)


def test_without_history_a_new_session_begins_with_what_it_comes_from(
    store: Store, other: Store, clock: list[int]
) -> None:
    ref = fill(store, clock)
    archive = export(store, "q4", history=False)
    assert b"one" not in [data for _, data in members(archive)]
    for dirname in ("q4", "q4~2"):
        made = take(other, archive).sessions[0]
        assert made.id != ref
        assert (made.dirname, made.was) == (dirname, ref)
    events = other.sessions.events(made.id)
    told = {"session": ref, "name": "q4", "seq": store.sessions.get(ref).seq, "head": store.sessions.get(ref).head}
    assert [event.kind for event in events[:2]] == ["session.created", "session.imported"]
    assert events[1].fields["from"] == told
    assert live(other, made.id).tree.keys() == live(store, ref).tree.keys()
    mine, its = other.artifacts.get(made.id, "b"), store.artifacts.get("q4", "b")
    assert (mine.content_hash, mine.tags, mine.version) == (its.content_hash, its.tags, 1)
    assert other.sessions.get(made.id).metadata == {"k": [1, 2.5, None]}


def test_without_metadata_none_is_in_it(store: Store, other: Store, clock: list[int]) -> None:
    fill(store, clock)
    store.artifacts.put("q4", "c", b"c", tags=["tagged"], custom={"secret": "value"}, description="described")
    archive = export(store, "q4", history=False, metadata=False)
    assert not [word for word in (b"tagged", b"secret", b"described", b"[1,2.5,") if word in plain(archive)]
    made = take(other, archive).sessions[0]
    assert (other.sessions.get(made.id).tags, other.artifacts.get(made.id, "c").custom) == ((), {})
    with pytest.raises(InvalidValue, match="history"):
        export(store, "q4", metadata=False)


def test_under_another_name_it_is_a_new_session(store: Store, clock: list[int]) -> None:
    ref = fill(store, clock)
    made = take(store, export(store, "q4"), name="copy").sessions[0]
    assert (made.dirname, made.was, made.id == ref) == ("copy", ref, False)
    assert live(store, "copy").tree.keys() == live(store, "q4").tree.keys()
    store.sessions.create("more")
    with pytest.raises(InvalidValue, match="2 sessions"):
        take(store, export(store, "q4", "more"), name="x")


@pytest.mark.parametrize("end", ["there", "delete", "purge"])
def test_a_session_that_the_store_has_or_had_is_refused_by_its_id(store: Store, clock: list[int], end: str) -> None:
    ref = fill(store, clock)
    archive = export(store, "q4")
    if end != "there":
        getattr(store.sessions, end)("q4")
    before = dump(store)
    with pytest.raises(AlreadyExists, match=ref):
        take(store, archive)
    assert dump(store) == before


def test_a_taken_directory_name_and_a_parent_left_behind_are_told_in_the_trail(store: Store, other: Store) -> None:
    store.sessions.create("above")
    kid = store.sessions.create("there", parent="above")
    store.sessions.suspend("there")
    take(other, export(store, "there"))
    found = other.sessions.get(kid.id)
    assert (found.name, found.dirname, found.parent_session_id, found.status) == ("there", "there~2", None, "suspended")
    kinds = [event.kind for event in other.sessions.events(kid.id)]
    assert kinds == ["session.created", "session.suspended", "session.updated", "session.updated"]
    assert other.upkeep.verify(kid.id)[0].problem is None


def test_thousands_of_one_name_are_not_looked_up_thousands_of_times_each(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in (store, other):
        each.sessions.create_many([NewSession("x")] * 100)
    looked = _counted(monkeypatch, sessions, "dirname_taken")
    made = take(other, export(store, *(session.id for session in store.sessions.list()))).sessions
    assert {one.dirname for one in made} == {f"x~{number}" for number in range(101, 201)}
    assert len(looked) <= 400


def test_long_names_that_are_cut_to_one_are_not_looked_up_quadratically(
    store: Store, other: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in (store, other):
        each.sessions.create_many([NewSession("x" * 300 + str(number)) for number in range(100)])
    looked = _counted(monkeypatch, sessions, "dirname_taken")
    take(other, export(store, *(session.id for session in store.sessions.list())))
    assert len(looked) <= 400


def test_a_long_line_of_ancestors_is_gone_up_once(store: Store, other: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    above = None
    for number in range(100):
        above = store.sessions.create(f"s{number}", parent=above).id
    archive = export(store, *(session.id for session in store.sessions.list()))
    looked = _counted(monkeypatch, parents, "_find")
    take(other, archive)
    assert len(looked) <= 300
    assert [other.sessions.get(f"s{number}").parent_session_id is None for number in (0, 1, 99)] == [True, False, False]


def _counted(monkeypatch: pytest.MonkeyPatch, room: Any, name: str) -> list[object]:
    """Return a list that grows with each call of the function *name* in *room*."""
    calls: list[object] = []
    real = getattr(room, name)

    def counted(*args: Any, **how: Any) -> Any:
        calls.append(args)
        return real(*args, **how)

    monkeypatch.setattr(room, name, counted)
    return calls


@pytest.mark.parametrize("tail", [0, 3])
def test_one_session_of_a_circle_is_left_without_a_parent(store: Store, other: Store, tail: int) -> None:
    ids = [store.sessions.create(f"s{number}").id for number in range(4 + tail)]
    above = {one: ids[(number + 1) % 4] if number < 4 else ids[number - 1] for number, one in enumerate(ids)}

    def below(one: str) -> Callable[[Forged], object]:
        return lambda f: f.rows[0].update(parent=above[one])

    archive = joined([forged(export(store, one), below(one)) for one in ids])
    take(other, archive)
    found = {one: other.sessions.get(one).parent_session_id for one in ids}
    parted = min(ids[:4])
    assert found == {**above, parted: None}


def test_what_the_store_has_is_not_stored_again(store: Store, clock: list[int]) -> None:
    fill(store, clock)
    before = store.upkeep.stats().stored_bytes
    report = take(store, export(store, "q4"), name="copy")
    assert report.known == 2
    assert store.upkeep.stats().stored_bytes == before


@pytest.mark.parametrize("ends", [False, True])
def test_content_that_is_condemned_just_before_it_is_used_stays_or_is_missed(
    store: Store, other: Store, clock: list[int], monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    ref = fill(store, clock)
    find = arrival._find_contents

    def find_and_condemn(engine: Any, staging: Any, **how: Any) -> None:
        find(engine, staging, **how)
        with other.engine.index.write() as db:
            db.execute("UPDATE content SET condemned_ns = 1")
            if ends:
                db.execute("DELETE FROM content WHERE size = 5")

    monkeypatch.setattr(arrival, "_find_contents", find_and_condemn)
    if ends:
        with pytest.raises(Vanished):
            take(other, export(store, "q4"))
        assert [session.dirname for session in other.sessions.list()] == ["there"]
        with other.engine.index.write() as db:
            db.execute("UPDATE content SET condemned_ns = NULL")
        return
    take(other, export(store, "q4"))
    with other.engine.index.read() as db:
        assert db.execute("SELECT size FROM content WHERE condemned_ns IS NOT NULL").fetchall() == [(4,)]
    assert live(other, ref) == live(store, ref)


def test_a_dry_run_verifies_and_makes_nothing(store: Store, other: Store, clock: list[int]) -> None:
    fill(store, clock)
    before = dump(other)
    assert take(other, export(store, "q4"), dry_run=True).dry_run
    assert dump(other) == before
    with pytest.raises(Corrupt):
        take(other, export(store, "q4")[:-1], dry_run=True)


def test_limits_of_the_configuration_hold(store: Store, clock: list[int]) -> None:
    fill(store, clock)
    archive = export(store, "q4")
    limits: list[tuple[Config, type[SpellError]]] = [
        (Config(max_artifact_size=1 << 20), TooLarge),
        (Config(max_artifacts_per_session=1), LimitExceeded),
        (Config(max_sessions=1), LimitExceeded),
    ]
    for config, error in limits:
        with open_store(None, config=config, backend="memory") as other:
            other.sessions.create("there")
            before = dump(other)
            for name in (None, "copy"):
                with pytest.raises(error):
                    take(other, archive, name=name)
            assert dump(other) == before


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


def test_an_export_of_nothing_or_of_harmed_content_says_so(sqlite_store: Store) -> None:
    store = sqlite_store
    with pytest.raises(NotFound):
        export(store, "nobody")
    store.sessions.create("q4")
    store.artifacts.put("q4", "big", os.urandom(2 << 20))
    blob = next(path for path in ((store.path or Path()) / "blobs").rglob("*") if path.is_file())
    aside = blob.rename(blob.with_name("aside"))
    with pytest.raises(Corrupt):
        export(store, "q4")
    aside.rename(blob)


HARM = {
    "a row of the past that is gone": ("DELETE FROM entry WHERE version = 1", True),
    "a row of the past that says otherwise": ("UPDATE entry SET mime_type = 'x/y' WHERE version = 1", True),
    "a session's row that says otherwise": ("UPDATE session_row SET description = 'other'", True),
    "a line that says otherwise": ("UPDATE event SET line = replace(line, 'stored', 'Stored') WHERE seq = 2", True),
    "an event that is gone": ("DELETE FROM event WHERE seq = 2", True),
    "attributes that are gone": ("DELETE FROM inode WHERE ino = (SELECT ino FROM entry WHERE name = 'a')", False),
    "another size": ("UPDATE entry SET size = 5", False),
    "another size of a content": ("UPDATE content SET size = 5", False),
    "a row of no content": ("UPDATE entry SET content = NULL", False),
    "a name that is none": ("UPDATE entry SET name = 'a/b'", False),
}
"""SQL that harms a session, and whether what there is now can be exported all the same."""


@pytest.mark.parametrize("what", HARM)
def test_what_no_import_would_take_is_not_exported(what: str, other: Store) -> None:
    harm, is_sound_now = HARM[what]
    with open_store(None, config=Config(), backend="memory") as store:
        store.sessions.create("q4")
        store.artifacts.put("q4", "a", b"one")
        store.artifacts.put("q4", "a", b"two")
        with store.engine.index.write() as db:
            db.execute(harm)
        out = io.BytesIO()
        with pytest.raises(Corrupt, match=r"^corrupt: q4: no import would take it: ") as caught:
            store.archive.export(["q4"], out)
        assert out.getvalue() == b""
        assert ("--no-history" in str(caught.value)) == is_sound_now
        if is_sound_now:
            take(other, export(store, "q4", history=False))
            assert other.artifacts.read(other.artifacts.get("q4", "a")) == b"two"
        else:
            with pytest.raises(Corrupt, match="no import would take it"):
                export(store, "q4", history=False)


def test_a_content_whose_chunks_make_up_another_is_not_exported(store: Store) -> None:
    store.sessions.create("q4")
    store.artifacts.put("q4", "a", BIG)
    with store.engine.index.write() as db:
        db.execute("UPDATE content SET hash = ?", (bytes(32),))
    with pytest.raises(Corrupt, match="its bytes have another hash"):
        export(store, "q4", history=False)
    with store.engine.index.write() as db:
        db.execute("UPDATE content SET hash = ?", (blake3(BIG).digest(),))
