"""Retention: which rule governs what, what it does and says, and what nothing makes it touch."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config, Rule
from llmspellfs.errors import NotAllowed, NotFound, SessionNotActive, StoreBusy
from llmspellfs.model.artifact import Attributes
from llmspellfs.model.session import Status
from llmspellfs.service.paths import Place
from llmspellfs.service.retention import CHANGED, OPEN
from llmspellfs.service.versions import Given, Writer
from llmspellfs.storage import replay

DAY = 86400 * 10**9
ROOT = Path(__file__).parents[2]
OLD = Rule("old", "delete", older_than_seconds=30 * 86400)


@contextmanager
def ruled(path: Path, clock: list[int], *rules: Rule, timeout: int = 0) -> Iterator[Store]:
    config = Config(retention=rules, session_timeout_seconds=timeout)
    with open_store(path, config=config, now=lambda: clock[0]) as store:
        yield store
        assert store.upkeep.fsck().problems == ()


def made(store: Store, name: str, status: str = "completed", *tags: str) -> None:
    store.sessions.create(name, tags=tags)
    store.artifacts.put(name, "f", name.encode())
    store.sessions.set_status(name, Status(status))


def left(store: Store) -> list[str]:
    return [session.name for session in store.sessions.list(sort_by="name")]


def test_what_is_old_enough_is_deleted_and_the_trail_names_the_rule(tmp_path: Path, clock: list[int]) -> None:
    with ruled(tmp_path / "s", clock, OLD) as store:
        made(store, "old")
        clock[0] += 29 * DAY
        made(store, "young")
        assert store.retention.apply().deeds == ()
        clock[0] += DAY
        foretold = store.retention.apply(dry_run=True)
        assert left(store) == ["old", "young"]
        done = store.retention.apply()
        assert done.deeds == foretold.deeds
        assert [(deed.session, deed.rule, deed.action, deed.left) for deed in done.deeds] == [
            ("old", "old", "delete", None)
        ]
        assert left(store) == ["young"]
        event = store.sessions.events("old")[-1]
        assert (event.kind, event.fields["rule"]) == ("session.deleted", "old")
        assert store.sessions.restore("old").status is Status.COMPLETED


def test_age_counts_from_the_end_of_what_has_ended_and_from_the_last_event_of_what_has_not(
    tmp_path: Path, clock: list[int]
) -> None:
    with ruled(tmp_path / "s", clock, OLD) as store:
        made(store, "ended")
        made(store, "paused", "suspended")
        clock[0] += 20 * DAY
        store.sessions.tag("ended", add=["later"])
        store.sessions.tag("paused", add=["later"])
        clock[0] += 11 * DAY
        assert [deed.session for deed in store.retention.apply().deeds] == ["ended"]


def test_active_sessions_are_left_unless_the_rule_names_them(tmp_path: Path, clock: list[int]) -> None:
    with ruled(tmp_path / "s", clock, OLD) as store:
        made(store, "a", "active")
        clock[0] += 99 * DAY
        assert store.retention.apply().deeds == ()
    with ruled(tmp_path / "s", clock, Rule("all", "delete", ("active",), older_than_seconds=1)) as store:
        assert [deed.session for deed in store.retention.apply().deeds] == ["a"]


def test_the_tag_hold_exempts_and_a_parent_is_not_held_by_its_child(tmp_path: Path, clock: list[int]) -> None:
    with ruled(tmp_path / "s", clock, OLD) as store:
        made(store, "parent")
        store.sessions.create("child", parent="parent", tags=["hold"])
        store.sessions.complete("child")
        clock[0] += 99 * DAY
        report = store.retention.apply()
        assert [deed.session for deed in report.deeds] == ["parent"]
        assert (report.held, left(store)) == (1, ["child"])
        assert store.sessions.get("child").parent_session_id is not None


def test_the_first_rule_that_fits_governs_even_before_its_time(tmp_path: Path, clock: list[int]) -> None:
    keep = Rule("keep failures", "delete", ("failed",), older_than_seconds=90 * 86400)
    scratch = Rule("scratch", "purge", tags=("tmp", "x"), older_than_seconds=86400)
    with ruled(tmp_path / "s", clock, keep, scratch, OLD) as store:
        made(store, "failure", "failed", "tmp", "x")
        made(store, "scratch", "completed", "x", "tmp", "y")
        made(store, "half", "completed", "tmp")
        clock[0] += 31 * DAY
        done = {deed.session: (deed.rule, deed.action) for deed in store.retention.apply().deeds}
        assert done == {"scratch": ("scratch", "purge"), "half": ("old", "delete")}
        assert left(store) == ["failure"]


def test_the_latest_of_a_rule_are_kept(tmp_path: Path, clock: list[int]) -> None:
    with ruled(tmp_path / "s", clock, Rule("some", "delete", tags=("ci",), keep_last=2)) as store:
        for n in range(5):
            clock[0] += DAY
            made(store, f"s{n}", "completed", "ci")
            made(store, f"t{n}", "completed")
        assert [deed.session for deed in store.retention.apply().deeds] == ["s0", "s1", "s2"]
        assert store.retention.apply().deeds == ()
        assert left(store) == ["s3", "s4", "t0", "t1", "t2", "t3", "t4"]


def test_purge_leaves_the_trail_with_the_rule_and_nothing_else(tmp_path: Path, clock: list[int]) -> None:
    with ruled(tmp_path / "s", clock, Rule("gone", "purge", tags=("x",))) as store:
        made(store, "secret", "failed", "x")
        session = store.sessions.get("secret")
        deed = store.retention.apply().deeds[0]
        assert deed.freed == len(b"secret")
        with pytest.raises(NotFound):
            store.sessions.restore("secret")
        kinds = [(event.kind, event.fields.get("rule")) for event in store.sessions.events(session.id)][-2:]
        assert kinds == [("session.deleted", "gone"), ("session.purged", None)]
        assert all(chain.problem is None for chain in store.upkeep.verify())


def test_a_purge_that_finds_the_store_busy_changes_nothing_and_is_made_the_next_time(
    tmp_path: Path, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ruled(tmp_path / "s", clock, Rule("gone", "purge", tags=("x",))) as store:
        for name in ("one", "two"):
            made(store, name, "completed", "x")
        begin, tried = store.engine.index.begin, list[object]()

        def busy(**given: Any) -> object:
            if given["durable"]:
                tried.append(given)
                if len(tried) == 1:
                    raise StoreBusy(15)
            return begin(**given)

        monkeypatch.setattr(store.engine.index, "begin", busy)
        first = {deed.session: deed.left for deed in store.retention.apply().deeds}
        assert first == {"one": StoreBusy(15).message, "two": None}
        assert left(store) == ["one"]
        assert [(deed.session, deed.left) for deed in store.retention.apply().deeds] == [("one", None)]
        with pytest.raises(NotFound):
            store.sessions.restore("one")


@pytest.mark.parametrize("moment", range(1, 12))
def test_a_purge_by_a_rule_is_made_whole_or_not_at_all_wherever_it_is_cut(
    tmp_path: Path, clock: list[int], monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    rule = Rule("gone", "purge", tags=("x",))
    with ruled(tmp_path / "s", clock, rule) as store:
        made(store, "secret", "completed", "x")
        sid, end = store.sessions.get("secret").sid, store.engine.index.end
        ends = list[bool]()

        def cut(*, durable: bool, commit: bool, last: Callable[[], None] | None = None) -> None:
            end(durable=durable, commit=commit, last=last)
            ends.append(commit)
            if len(ends) == moment:
                raise KeyboardInterrupt

        monkeypatch.setattr(store.engine.index, "end", cut)
        with suppress(KeyboardInterrupt):
            store.retention.apply()
        monkeypatch.undo()
        is_live = left(store) == ["secret"]
        assert is_live or is_purged(store, sid)
        store.retention.apply()
        assert is_purged(store, sid)


def is_purged(store: Store, sid: int) -> bool:
    with store.engine.index.read() as db:
        return replay.is_purged(db, sid)


def test_rules_suspend_and_complete_with_their_name_in_the_trail(tmp_path: Path, clock: list[int]) -> None:
    stages = (
        Rule("rest", "suspend", ("active",), older_than_seconds=7 * 86400),
        Rule("end", "complete", ("suspended",), older_than_seconds=7 * 86400),
        Rule("done", "complete", ("completed",), older_than_seconds=1),
    )
    with ruled(tmp_path / "s", clock, *stages) as store:
        made(store, "s", "active")
        for kind, status, rule in (("suspended", "suspended", "rest"), ("completed", "completed", "end")):
            clock[0] += 8 * DAY
            assert len(store.retention.apply().deeds) == 1
            session, event = store.sessions.get("s"), store.sessions.events("s")[-1]
            assert (event.kind, event.fields["rule"]) == (f"session.{kind}", rule)
            assert session.status == status
        assert store.sessions.get("s").ended_ns == clock[0]
        clock[0] += 8 * DAY
        assert store.retention.apply().deeds == ()


def test_sessions_with_open_files_are_left_and_said(tmp_path: Path, clock: list[int]) -> None:
    rule = Rule("all", "purge", ("active",), older_than_seconds=1)
    with ruled(tmp_path / "s", clock, rule) as store:
        made(store, "a", "active")
        made(store, "b", "active")
        a, owner = store.sessions.get("a"), store.intake.owner
        inode = (store.entries.reserve_ino(), Attributes(0o644, 0, 0, 1, 1, None))
        row = store.entries.commit(Place(a.sid, a.ino, "d"), store.intake.stage(b"d"), Given(), inode, Writer(owner))
        b = store.sessions.get("b")
        clock[0] += DAY
        for dry_run in (True, False):
            deeds = store.retention.apply(dry_run=dry_run, is_busy=lambda sid: sid == b.sid).deeds
            assert {deed.session: deed.left for deed in deeds} == {"a": OPEN, "b": OPEN}
        store.entries.seal([(row, store.origin)])
        clock[0] += DAY
        assert {deed.left for deed in store.retention.apply().deeds} == {None}


def test_what_changes_between_the_look_and_the_deed_is_left(
    tmp_path: Path, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmspellfs.model.retention import judge

    with ruled(tmp_path / "s", clock, OLD) as store:
        for name, status in (("held", "completed"), ("resumed", "suspended"), ("gone", "completed")):
            made(store, name, status)
        clock[0] += 99 * DAY

        def meanwhile(*given: object) -> object:
            found = judge(*given)  # type: ignore[arg-type]
            store.sessions.tag("held", add=["hold"])
            store.sessions.resume("resumed")
            store.sessions.delete("gone")
            return found

        monkeypatch.setattr("llmspellfs.service.retention.judge", meanwhile)
        assert {deed.left for deed in store.retention.apply().deeds} == {CHANGED}
        assert left(store) == ["held", "resumed"]


def test_a_clock_that_jumps_ahead_empties_nothing(tmp_path: Path, clock: list[int]) -> None:
    with ruled(tmp_path / "s", clock, OLD) as store:
        made(store, "a")
        clock[0] += 3650 * DAY
        for dry_run in (True, False):
            with pytest.raises(NotAllowed, match="3650 days ago"):
                store.retention.apply(dry_run=dry_run)
        made(store, "b")
        with pytest.raises(NotAllowed):
            store.retention.apply()
        clock[0] -= 3650 * DAY
        store.retention.apply()
        clock[0] += 366 * DAY
        store.sessions.tag("a", add=["x"])
        clock[0] += DAY
        with pytest.raises(NotAllowed, match="367 days ago"):
            store.retention.apply()
        assert [deed.session for deed in store.retention.apply(force=True).deeds] == ["a"]
        clock[0] -= 700 * DAY
        assert store.retention.apply().deeds == ()


def test_many_at_once_do_each_deed_once(tmp_path: Path, clock: list[int]) -> None:
    with ruled(tmp_path / "s", clock, OLD) as store:
        for n in range(30):
            made(store, f"s{n}")
        clock[0] += 31 * DAY
        reports = []
        threads = [threading.Thread(target=lambda: reports.append(store.retention.apply())) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        done = [deed.session for report in reports for deed in report.deeds if deed.left is None]
        assert sorted(done) == sorted(f"s{n}" for n in range(30))


SCRIPT = """
import sys, time
from llmspellfs import open_store
from llmspellfs.config import Config
with open_store(sys.argv[1], config=Config(session_timeout_seconds=3600)) as store:
    presence = store.presence()
    presence.hold(store.sessions.get("s").sid)
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_session_in_which_another_process_is_at_work_is_not_suspended_until_it_dies(
    tmp_path: Path, clock: list[int]
) -> None:
    with open_store(tmp_path / "s", config=Config()) as store:
        store.sessions.create("s")
    rule = Rule("all", "delete", ("active",), older_than_seconds=1)
    clock[0] += 1000 * DAY
    with at_work(tmp_path / "s") as kill, ruled(tmp_path / "s", clock, rule, timeout=60) as store:
        assert store.timed_out == []
        assert [deed.left for deed in store.retention.apply(force=True).deeds] == [OPEN]
        kill()
        assert [session.name for session in store.sessions.suspend_idle()] == ["s"]


def end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


@contextmanager
def at_work(path: Path) -> Iterator[Callable[[], object]]:
    """Have a process at work in the session "s"; it is killed by what is given, or at the end."""
    words = [sys.executable, "-c", SCRIPT, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": str(ROOT)}) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"held\n"
            yield lambda: end(child)
        finally:
            child.kill()


def test_notes_of_presence_end_with_the_work(tmp_path: Path) -> None:
    with open_store(tmp_path / "s", config=Config(session_timeout_seconds=60)) as store:
        s = store.sessions.create("s")
        presence, other = store.presence(), store.presence()

        def names() -> list[Path]:
            return list((tmp_path / "s").glob("spool/*/hold-*"))

        presence.hold(s.sid)
        presence.hold(s.sid)
        other.hold(s.sid)
        assert len(names()) == 2
        other.free_all()
        presence.sweep(lambda _: False)
        assert len(names()) == 1
        presence.sweep(lambda _: True)
        assert len(names()) == 1
        presence.sweep(lambda _: False)
        assert names() == []
        store.sessions.suspend("s")
        with pytest.raises(SessionNotActive):
            presence.hold(s.sid)
        assert names() == []
    assert list((tmp_path / "s" / "spool").iterdir()) == []


def test_who_begins_to_work_and_who_suspends_never_miss_each_other(tmp_path: Path) -> None:
    config = Config(session_timeout_seconds=1)
    clock = [10**18]
    with open_store(tmp_path / "s", config=config, now=lambda: clock[0]) as store:
        sids = [store.sessions.create(f"s{n}").sid for n in range(40)]
        clock[0] += DAY
        presence, held = store.presence(), []
        gate = threading.Barrier(2)

        def work() -> None:
            gate.wait()
            for sid in sids:
                with suppress(SessionNotActive):
                    presence.hold(sid)
                    held.append(sid)

        thread = threading.Thread(target=work)
        thread.start()
        gate.wait()
        suspended = [session.sid for session in store.sessions.suspend_idle()]
        thread.join()
        assert sorted(held + suspended) == sorted(sids)
