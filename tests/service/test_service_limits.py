"""Limits and quotas: never one too many, at whichever door and however many try at once; and never in the way."""

from __future__ import annotations

import io
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import LimitExceeded, SpellError, TooLarge
from llmspellfs.lua.runtime import Script
from llmspellfs.model.artifact import Attributes
from llmspellfs.service.batches import NewArtifact
from llmspellfs.service.creation import NewSession
from llmspellfs.service.intake import MemoryFile
from llmspellfs.service.paths import Place
from llmspellfs.service.versions import Given, Writer
from llmspellfs.storage import contents, disk, usage
from llmspellfs.storage.destination import Destination
from llmspellfs.storage.lost import taken
from llmspellfs.storage.spool import SpoolFile
from tests.tree.trees import Walker

KEYS = ("max_sessions", "max_artifacts_per_session", "storage_quota", "session_quota")
_processes = multiprocessing.get_context("spawn")


@contextmanager
def opened(path: Path, backend: str = "sqlite", **limits: int) -> Iterator[Store]:
    with open_store(path, config=Config(**limits), backend=backend) as store:  # type: ignore[arg-type]
        yield store
        assert store.upkeep.fsck().problems == ()


def noise(seed: int, size: int) -> bytes:
    """Bytes that no compression makes smaller."""
    return random.Random(seed).randbytes(size)


def tried(*doings: Callable[[], object]) -> list[str]:
    """Do each and return the keys of the limits that refused it."""
    keys = []
    for doing in doings:
        with pytest.raises((LimitExceeded, TooLarge)) as caught:
            doing()
        assert isinstance(caught.value, LimitExceeded | TooLarge)
        keys.append(caught.value.key)
    return keys


def holds(store: Store) -> None:
    """What is counted bit by bit is what there is."""
    with store.engine.index.read() as db:
        assert usage.total(db) == contents.totals(db)[1]
        until = db.execute("SELECT until FROM counted WHERE what = 'entry'").fetchone()
        late = "SELECT 1 FROM entry WHERE sid = ? AND content IS NOT NULL AND (seq_from IS NULL OR eid > ?"
        late += " OR eid IN (SELECT eid FROM session_use_due))"
        for sid, size in db.execute("SELECT sid, bytes FROM session_use").fetchall():
            if not db.execute(late, (sid, until[0])).fetchone():
                assert size == usage.session_bytes(db, sid), sid


def commit(store: Store, sid: int, name: str, data: bytes, eid: int | None = None, owner: str = "memory") -> int:
    """Commit *data* as an open handle does at a flush; return the draft."""
    session = store.sessions.load_sid(sid)
    assert session is not None
    inode = (store.entries.reserve_ino(), Attributes(0o644, 0, 0, 1, 1, None))
    staged = store.intake.stage(data)
    row = store.entries.commit(Place(sid, session.ino, name), staged, Given(), inode, Writer(owner, eid))
    return row.eid


def puts(store: Store, session: str, data: bytes) -> list[Callable[[], object]]:
    """Every way in for *data* as something new."""
    half = len(data) // 2
    put = store.artifacts.put
    return [
        lambda: put(session, "x", data),
        lambda: put(session, "x", io.BytesIO(data)),
        lambda: put(session, "x/y", data),
        lambda: store.artifacts.put_many(session, [NewArtifact("x", data[:half]), NewArtifact("y", data[half:])]),
        lambda: commit(store, store.sessions.get(session).sid, "x", data),
    ]


def rename(store: Store, session: str, old: str, new: str) -> None:
    its = store.sessions.get(session)
    store.entries.rename(Place(its.sid, its.ino, old), Place(its.sid, its.ino, new))


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_the_last_artifact_is_refused_at_every_door(tmp_path: Path, backend: str) -> None:
    with opened(tmp_path / "s", backend, max_artifacts_per_session=2, max_artifact_size=100) as store:
        full, other = store.sessions.create("full"), store.sessions.create("other")
        put = store.artifacts.put
        for name in ("a", "b"):
            put("full", name, b"x")
        put("other", "c", b"y")
        checkpoint = store.sessions.save("full")
        move = (Place(other.sid, other.ino, "c"), Place(full.sid, full.ino, "c"))
        refused = tried(*puts(store, "full", b"xy"), lambda: store.entries.rename(*move))
        assert set(refused) == {"max_artifacts_per_session"}
        store.artifacts.delete("full", "b")
        put("full", "c", b"z")
        assert tried(lambda: store.artifacts.restore("full", "b")) == ["max_artifacts_per_session"]
        put("full", "c", b"again")
        assert [a.name for a in store.artifacts.list("full")] == ["a", "c"]
        store.past.rollback(f"full@{checkpoint.seq}")
        assert set(tried(*puts(store, "other", b"x" * 202))) == {"max_artifact_size"}
        assert [a.name for a in store.artifacts.list("other")] == ["c"]


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_a_session_too_many_is_refused_at_every_door(tmp_path: Path, backend: str) -> None:
    with opened(tmp_path / "s", backend, max_sessions=2) as store:
        store.sessions.create("gone")
        store.sessions.delete("gone")
        store.sessions.create("one")
        archive = io.BytesIO()
        store.archive.export(["one"], archive)
        store.sessions.create("two")
        assert set(tried(
            lambda: store.sessions.create("three"),
            lambda: store.sessions.create_many([NewSession("three")]),
            lambda: store.sessions.restore("gone"),
            lambda: store.past.fork("one", "three"),
            lambda: store.archive.import_(io.BytesIO(archive.getvalue()), name="three"),
        )) == {"max_sessions"}  # fmt: skip
        store.sessions.complete("two")
        assert tried(lambda: store.sessions.create_many([NewSession("x"), NewSession("y")])) == ["max_sessions"]
        assert [s.name for s in store.sessions.list()] == ["one", "two"]


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_bytes_beyond_a_quota_are_refused_at_every_door_and_nothing_is_left(tmp_path: Path, backend: str) -> None:
    with opened(tmp_path / "s", backend, storage_quota=400_000, session_quota=300_000) as store:
        a, b = store.sessions.create("a"), store.sessions.create("b")
        put = store.artifacts.put
        put("a", "big", noise(1, 200_000))
        put("b", "own", noise(2, 150_000))
        before = store.upkeep.stats()
        assert set(tried(*puts(store, "a", noise(3, 110_000)))) <= {"session_quota", "storage_quota"}
        assert set(tried(*puts(store, "b", noise(3, 60_000)))) == {"storage_quota"}
        move = (Place(b.sid, b.ino, "own"), Place(a.sid, a.ino, "own"))
        assert tried(lambda: store.entries.rename(*move)) == ["session_quota"]
        after = store.upkeep.stats()
        assert (after.stored_bytes, after.versions) == (before.stored_bytes, before.versions)
        assert [x.name for x in store.artifacts.list("b")] == ["own"]
        holds(store)


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_what_adds_no_bytes_is_possible_beyond_a_quota(tmp_path: Path, backend: str) -> None:
    with opened(tmp_path / "s", backend, storage_quota=300_000, session_quota=250_000) as store:
        store.sessions.create("a")
        store.artifacts.put("a", "f", noise(1, 200_000))
        store.artifacts.put("a", "again", noise(1, 200_000))
        store.artifacts.put("a", "zeros", bytes(40_000))
        store.past.fork("a", "b")
        rename(store, "a", "again", "else")
        store.artifacts.update("a", "f", description="d")
        store.artifacts.delete("a", "else")
        store.artifacts.restore("a", "else")
        assert tried(lambda: store.artifacts.put("a", "f", noise(2, 80_000))) == ["session_quota"]
        holds(store)


def test_a_quota_below_what_is_used_lets_everything_go_on_but_growth(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as store:
        for name in ("a", "b"):
            store.sessions.create(name)
            store.artifacts.put(name, "f", noise(ord(name), 200_000))
    with opened(tmp_path / "s", storage_quota=100_000, session_quota=50_000) as store:
        assert tried(lambda: store.artifacts.put("a", "g", b"small"))[0] in {"storage_quota", "session_quota"}
        assert store.artifacts.read(store.artifacts.get("a", "f")) == noise(ord("a"), 200_000)
        rename(store, "a", "f", "h")
        store.sessions.create("c")
        assert store.sessions.purge("b").freed == 200_000
        store.artifacts.purge("a", "h")
        store.artifacts.put("a", "g", b"small")
        holds(store)
    with opened(tmp_path / "s") as store:
        store.artifacts.put("a", "more", noise(5, 90_000))
    with opened(tmp_path / "s", storage_quota=95_000, session_quota=80_000) as store:
        rename(store, "a", "more", "renamed")
        assert tried(lambda: store.artifacts.put("a", "x", b"y")) == ["session_quota"]
        holds(store)


def test_replaced_content_counts_until_history_lets_it_go(tmp_path: Path) -> None:
    clock = [10**18]
    config = Config(storage_quota=250_000, session_quota=250_000, history_days=1)
    with open_store(tmp_path / "s", config=config, now=lambda: clock[0]) as store:
        store.sessions.create("a")
        store.artifacts.put("a", "f", noise(1, 200_000))
        assert tried(lambda: store.artifacts.put("a", "f", noise(2, 60_000)))
        store.artifacts.put("a", "f", b"small")
        assert tried(lambda: store.artifacts.put("a", "f", noise(2, 60_000)))
        for _ in range(2):
            clock[0] += 2 * 86400 * 10**9
            store.upkeep.gc()
        assert store.sessions.stored_bytes("a") == store.upkeep.stats().stored_bytes == 5
        store.artifacts.put("a", "f", noise(2, 60_000))
        holds(store)
        assert store.upkeep.fsck().problems == ()


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_a_handles_commits_count_for_what_the_last_one_left(tmp_path: Path, backend: str) -> None:
    with opened(tmp_path / "s", backend, session_quota=100_000) as store:
        a = store.sessions.create("a")
        owner = store.intake.owner
        draft = commit(store, a.sid, "log", noise(1, 30_000), owner=owner)
        for seed in range(2, 8):
            assert commit(store, a.sid, "log", noise(seed, 30_000), draft, owner) == draft
        assert tried(lambda: commit(store, a.sid, "log", noise(9, 110_000), draft, owner)) == ["session_quota"]
        assert tried(lambda: store.artifacts.put("a", "x", noise(9, 80_000))) == ["session_quota"]
        store.artifacts.put("a", "y", noise(10, 60_000))
        assert tried(lambda: commit(store, a.sid, "log", noise(12, 60_000), draft, owner)) == ["session_quota"]
        store.sessions.save("a")
        assert store.sessions.stored_bytes("a") == 90_000
        assert tried(lambda: store.artifacts.put("a", "x", noise(11, 20_000))) == ["session_quota"]
        store.artifacts.put("a", "x", noise(11, 9_000))
        holds(store)
        with store.engine.index.read() as db:
            assert db.execute("SELECT count(*) FROM session_use_due").fetchone() == (0,)
            assert db.execute("SELECT bytes FROM session_use").fetchone() == (99_000,)


def test_counting_bit_by_bit_gives_what_counting_anew_gives(tmp_path: Path) -> None:
    chance = random.Random(7)
    with opened(tmp_path / "s", storage_quota=3_000_000, session_quota=1_200_000, history_days=0) as store:
        names = [store.sessions.create(f"s{n}").dirname for n in range(3)]
        for _ in range(150):
            with suppress(SpellError):
                _something(store, chance, chance.choice(names), f"f{chance.randrange(6)}")
            holds(store)


def _something(store: Store, chance: random.Random, session: str, name: str) -> None:
    data = noise(chance.randrange(12), chance.choice((100, 5_000, 70_000, 150_000)))
    doings: list[Callable[[], object]] = [
        lambda: store.artifacts.put(session, name, data),
        lambda: commit(store, store.sessions.get(session).sid, name, data),
        lambda: store.artifacts.delete(session, name),
        lambda: store.artifacts.restore(session, name),
        lambda: store.artifacts.purge(session, name),
        lambda: store.sessions.save(session),
        lambda: store.upkeep.gc(grace_seconds=0),
    ]
    chance.choices(doings, (8, 4, 2, 1, 1, 1, 1))[0]()


def _sized(name: str) -> bytes:
    """Content of 7,000 bytes that is no other name's, and too small to be compressed."""
    return (name.encode() + bytes(7_000))[:7_000]


def _by_script(store: Store, name: str, *, is_session: bool) -> None:
    data = f'("{name}" .. string.rep("\\0", 7000)):sub(1, 7000)'
    call = f'Artifact.store, "s", "user_input", "{name}", {data}'
    if is_session:
        call = f'Session.create, {{name = "{name}"}}'
    code = f"local ok, why = pcall({call}) assert(ok or tostring(why):find('='), why)"
    Script(store, stdout=io.BytesIO()).run_code(code)


def _by_door(path: Path, limits: dict[str, int], door: str, gate: Barrier) -> None:
    """Make as many as there may be in all, and a few more, through *door*."""
    is_session = "max_sessions" in limits
    config = path.with_name("llmspell.toml")
    with open_store(path, config=Config(**limits)) as store:  # type: ignore[arg-type]
        walker = Walker(store)
        for turn in range(3 if door == "command" else 28):
            name = f"{door}{turn}"
            if turn < 2:  # each door has made one before any makes its second
                gate.wait(100)
            if door == "script":
                _by_script(store, name, is_session=is_session)
            elif door == "command":
                words = ["session", "create", name] if is_session else ["artifact", "put", "s", "-", "--name", name]
                subprocess.run(
                    [sys.executable, "-m", "llmspellfs", "--store", str(path), *words], input=_sized(name), check=False,
                    capture_output=True, env={**os.environ, "LLMSPELL_CONFIG": str(config)},
                )  # fmt: skip
            else:
                time.sleep(0.02)  # the others are slower, and it is to be a race
                with suppress(LimitExceeded):
                    if is_session:
                        walker.tree.mkdir(f"/sessions/{name}", 0o700, walker.caller)
                    else:
                        walker.write(f"/sessions/s/{name}", _sized(name))
        walker.tree.destroy()


def _limited(folder: Path, key: str) -> tuple[Path, dict[str, int]]:
    """Make a store with a session; return where, and the limit *key* that lets 25 be there."""
    with open_store(folder / "s", config=Config()) as store:
        store.sessions.create("s")
    return folder / "s", {key: 25 if key.startswith("max") else 25 * 7_000}


def _run_at_once(work: Callable[..., None], arguments: Iterable[tuple[object, ...]]) -> None:
    """Run *work* with each of *arguments* in a process of its own, to a good end."""
    racers = [_processes.Process(target=work, args=words) for words in arguments]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(120)
        assert racer.exitcode == 0


@pytest.mark.parametrize("key", ["max_sessions", "session_quota"])
def test_doors_that_race_never_get_one_too_many_together(tmp_path: Path, key: str) -> None:
    path, limits = _limited(tmp_path, key)
    (tmp_path / "llmspell.toml").write_text(f"[runtime.sessions]\n{key} = {limits[key]}\n")
    doors = ("tree", "script", "command")
    gate = _processes.Barrier(len(doors))
    _run_at_once(_by_door, [(path, limits, door, gate) for door in doors])
    with opened(path) as store:
        found = [s.dirname for s in store.sessions.list()] if key == "max_sessions" else [
            artifact.name for artifact in store.artifacts.list("s")
        ]  # fmt: skip
    assert len(found) == 25
    assert {name.rstrip("0123456789") for name in found} >= set(doors)


def _race(path: Path, limits: dict[str, int], worker: int) -> None:
    with open_store(path, config=Config(**limits)) as store:  # type: ignore[arg-type]
        gate = threading.Barrier(8)

        def run(thread: int) -> None:
            gate.wait()
            for turn in range(6):
                name = f"{worker}-{thread}-{turn}"
                with suppress(LimitExceeded):
                    if "max_sessions" in limits:
                        store.sessions.create(name)
                    else:
                        store.artifacts.put("s", name, noise(hash((worker, thread, turn)) & 0xFFFF_FFFF, 7_000))

        threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()


@pytest.mark.parametrize("key", KEYS)
def test_sixteen_threads_of_two_processes_never_get_one_too_many(tmp_path: Path, key: str) -> None:
    path, limits = _limited(tmp_path, key)
    _run_at_once(_race, [(path, limits, n) for n in range(2)])
    with opened(path) as store:
        found = len(store.sessions.list()) if key == "max_sessions" else len(store.artifacts.list("s"))
        assert found == 25


class Endless(io.RawIOBase):
    given = 0

    def read(self, size: int = -1) -> bytes:
        self.given += size
        return os.urandom(size) if self.given < 1 << 28 else b""


def test_content_that_cannot_fit_is_refused_before_it_is_stored(tmp_path: Path) -> None:
    with opened(tmp_path / "s", storage_quota=16 << 20) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "there", noise(1, 12 << 20))
        source = Endless()
        assert tried(lambda: store.artifacts.put("s", "f", source)) == ["storage_quota"]  # type: ignore[arg-type]
        # Two windows and a block: a worker may find only while the second is filled that the first does not fit.
        assert source.given <= 17 << 20, "what is there counts already"
        store.artifacts.put("s", "zeros", io.BytesIO(bytes(40 << 20)))


def test_the_room_that_is_told_is_the_quotas_and_never_more_than_the_disks(tmp_path: Path) -> None:
    with opened(tmp_path / "s", storage_quota=1 << 20) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "f", noise(1, 1 << 18))
        room = store.space()
        assert (room.total, room.free) == (1 << 20, (1 << 20) - (1 << 18))
        assert store.upkeep.stats().storage_quota == 1 << 20
    with opened(tmp_path / "s", storage_quota=1 << 60) as store:
        disk = os.statvfs(tmp_path)
        assert store.space().free <= disk.f_blocks * disk.f_frsize < 1 << 60


def test_without_a_quota_nothing_is_counted(tmp_path: Path) -> None:
    with opened(tmp_path / "s") as store:
        store.sessions.create("s")
        store.artifacts.put("s", "f", b"x")
        store.artifacts.purge("s", "f")
        with store.engine.index.read() as db:
            for table in ("counted", "session_use", "session_part", "session_use_due"):
                assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_an_import_beyond_a_quota_brings_nothing(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with opened(tmp_path / "from") as store:
        store.sessions.create("s")
        for n in range(10):
            store.artifacts.put("s", f"f{n}", noise(n, 30_000))
        store.archive.export(["s"], archive)
    for key in ("storage_quota", "session_quota", "max_artifact_size", "max_artifacts_per_session"):
        with opened(tmp_path / key, "sqlite", **{key: 9 if key.endswith("session") else 29_999}) as store:
            assert tried(lambda: store.archive.import_(io.BytesIO(archive.getvalue()))) == [key]
            stats = store.upkeep.stats()
            assert (stats.stored_bytes, stats.artifacts, stats.events) == (0, 0, 0)


def test_a_large_content_of_an_import_beyond_a_quota_leaves_no_file(tmp_path: Path) -> None:
    archive = io.BytesIO()
    with opened(tmp_path / "from") as store:
        store.sessions.create("s")
        store.artifacts.put("s", "f", noise(1, 24 << 20))
        store.archive.export(["s"], archive)
    with opened(tmp_path / "to", "sqlite", storage_quota=12 << 20) as store:
        assert tried(lambda: store.archive.import_(io.BytesIO(archive.getvalue()))) == ["storage_quota"]
        assert list(store.engine.rooms.blobs.iterate()) == []


def test_content_that_gc_has_marked_and_not_taken_yet_can_be_stored_again(tmp_path: Path) -> None:
    with opened(tmp_path / "s", history_days=0, storage_quota=3 << 20) as store:
        store.sessions.create("s")
        store.artifacts.put("s", "f", noise(1, 2 << 20))
        store.artifacts.delete("s", "f")
        assert store.upkeep.gc().condemned == 1
        store.artifacts.put("s", "f", noise(1, 2 << 20))
        assert tried(lambda: store.artifacts.put("s", "g", noise(2, 2 << 20))) == ["storage_quota"]


def test_lost_and_found_takes_no_more_than_a_quota_allows(tmp_path: Path) -> None:
    kib = 1 << 10
    with opened(tmp_path / "s", storage_quota=100 * kib, session_quota=30 * kib) as store:
        lose = store.intake.lose
        assert lose(noise(1, 20 * kib), Destination("one", "a"), "why")
        assert tried(lambda: lose(noise(2, 10 * kib), Destination("one", "b"), "why")) == ["session_quota"]
        assert lose(noise(3, 20 * kib), Destination("two", "c"), "why")
        spooled = store.intake.spool_file(Destination(None, "d"))
        spooled.write(noise(4, 60 * kib), 0)
        assert tried(lambda: lose(str(spooled.path), Destination(None, "d"), "why")) == ["storage_quota"]
        assert Path(str(spooled.path)).exists()
        spooled.discard()
        for item in store.upkeep.lost():
            store.upkeep.discard_lost(item.id)
        assert lose(noise(5, 20 * kib), Destination("one", "e"), "why")
        assert (store.upkeep.stats().lost, store.upkeep.stats().lost_bytes) == (1, 20 * kib)


def test_many_small_items_of_lost_and_found_are_bounded_too(tmp_path: Path) -> None:
    with opened(tmp_path / "s", session_quota=40_000) as store:
        for n in range(9):
            store.intake.lose(b"x", Destination("one", f"{n}"), "why")
        assert tried(lambda: store.intake.lose(b"x", Destination("one", "more"), "why")) == ["session_quota"]


def test_what_takes_long_to_be_durable_is_no_way_past_a_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kib, at_work = 1 << 10, threading.Barrier(4)
    with opened(tmp_path / "s", storage_quota=50 * kib) as store:
        spooled = [store.intake.spool_file(Destination(None, f"{n}")) for n in range(4)]

        def lose(file: SpoolFile | MemoryFile) -> bool:
            file.write(noise(1, 30 * kib), 0)
            try:
                return store.intake.lose(str(file.path), Destination(None, "a"), "why") is not None
            except LimitExceeded:
                return False

        def together(step: str) -> None:
            if step == "lost.fsync":
                at_work.wait(60)

        monkeypatch.setattr(disk, "hook", together)
        with ThreadPoolExecutor(4) as workers:
            kept = sorted(workers.map(lose, spooled))
        monkeypatch.undo()
        assert kept == [False, False, False, True]
        for file in spooled:
            file.discard()


def test_two_who_lose_bytes_at_once_never_take_more_than_a_quota_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kib, told = 1 << 10, list[str]()
    with opened(tmp_path / "s", storage_quota=50 * kib) as one, opened(tmp_path / "s", storage_quota=50 * kib) as two:

        def loses_too() -> None:
            told.extend(tried(lambda: two.intake.lose(noise(2, 20 * kib), Destination(None, "b"), "why")))

        beside = threading.Thread(target=loses_too)
        lost = one.engine.rooms.lost
        assert lost is not None
        add = lost.add

        def add_beside(*words: object, **how: object) -> str:
            beside.start()
            beside.join(0.2)
            return add(*words, **how)  # type: ignore[arg-type]

        monkeypatch.setattr(lost, "add", add_beside)
        assert one.intake.lose(noise(1, 30 * kib), Destination(None, "a"), "why")
        beside.join()
        assert told == ["storage_quota"]
        assert [item.name for item in one.upkeep.lost()] == ["a"]


@pytest.mark.parametrize("key", ["storage_quota", "session_quota"])
def test_a_quota_is_taken_to_its_last_byte_and_no_further_in_lost_and_found_too(tmp_path: Path, key: str) -> None:
    with opened(tmp_path / "s", "sqlite", **{key: 10_000}) as store:
        store.sessions.create("s")
        for seed, size in ((1, 6000), (2, 4000)):
            store.artifacts.put("s", f"{seed}", noise(seed, size))
        assert tried(lambda: store.artifacts.put("s", "more", b"x")) == [key]
        about = Destination("one", "lost")
        assert tried(lambda: store.intake.lose(noise(3, 10_001 - taken(0)), about, "why")) == [key]
        assert store.intake.lose(noise(3, 10_000 - taken(0)), about, "why")
        assert tried(lambda: store.intake.lose(b"", about, "why")) == [key]
