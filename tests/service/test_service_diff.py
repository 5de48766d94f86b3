"""Differences between two moments, two sessions, two artifacts: complete, no more than there are, told by hashes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule, run_state_machine_as_test

from llmspellfs import Store
from llmspellfs.errors import InvalidValue, NotFound, SpellError
from llmspellfs.model.artifact import Kind
from llmspellfs.model.diff import Change
from llmspellfs.service import comparing
from tests.service.histories import OWN, PICKS, REFS, Histories, draft, place, shown

SECOND = 10**9


def without_sequence(row: tuple[object, ...]) -> tuple[object, ...]:
    return (row[0], *row[2:]) if row[0] is Kind.FILE else row


class Diffs(Histories):
    """Compares any two moments that were seen: the old one with the difference applied must be the new one."""

    @rule(ref=REFS, one=PICKS, other_ref=REFS, other=PICKS)
    def compare(self, ref: str, one: int, other_ref: str, other: int) -> None:
        if not self.is_there(ref) or not self.is_there(other_ref):
            return
        old_seq, new_seq = (sorted(self.seen[name])[pick % len(self.seen[name])] for name, pick in
                            ((ref, one), (other_ref, other)))  # fmt: skip
        old, new = self.seen[ref][old_seq], self.seen[other_ref][new_seq]
        found = self.store.past.diff(f"{self.ids[ref]}@{old_seq}", f"{self.ids[other_ref]}@{new_seq}")
        tree = {path: without_sequence(row) for path, row in old.tree.items()}
        for change in found.changes:
            if change.old is not None:
                assert tree.pop(change.old_path or change.path) == without_sequence(shown(change.old))
        for change in found.changes:
            if change.new is not None:
                assert change.path not in tree
                tree[change.path] = without_sequence(shown(change.new))
            if change.old is not None and change.new is not None and change.old_path is None:
                assert without_sequence(shown(change.old)) != without_sequence(shown(change.new))
        assert tree == {path: without_sequence(row) for path, row in new.tree.items()}
        if ref == other_ref:
            fields = old.fields | {"status": old.status} | {field.name: field.new for field in found.fields}
            assert fields == new.fields | {"status": new.status}


def test_the_old_state_with_the_difference_applied_is_the_new_one() -> None:
    run_state_machine_as_test(
        Diffs,
        settings=settings(
            max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def kinds(store: Store, old: str, new: str | None = None) -> dict[str, str]:
    """Return what became of each path, of renamed ones where they came from too."""
    found: dict[str, str] = {}
    for change in store.past.diff(old, new).changes:
        word = change.kind if change.old_path is None else f"{change.kind} from {change.old_path}"
        found[change.path] = f"{found[change.path]}, {word}" if change.path in found else word
    return found


def fill(store: Store) -> int:
    """Make the session s, and return its seq."""
    store.sessions.create("s")
    for name in ("changed", "described", "removed", "renamed", "d/moved", "type", "same"):
        store.artifacts.put("s", name, name.encode())
    store.entries.make_folder(place(store, "s", "folder"), OWN)
    store.entries.make_symlink(place(store, "s", "link"), "same", OWN)
    return store.sessions.get("s").seq


def test_every_kind_of_difference_has_its_name(store: Store) -> None:
    seq = fill(store)
    store.artifacts.put("s", "changed", b"otherwise")
    store.artifacts.update("s", "described", tags=["x"])
    for name in ("removed", "type"):
        store.artifacts.delete("s", name)
    store.entries.rename(place(store, "s", "renamed"), place(store, "s", "name"))
    store.entries.rename(place(store, "s", "d"), place(store, "s", "e"))
    store.entries.remove(place(store, "s", "folder"), folder=True)
    store.entries.remove(place(store, "s", "link"), folder=False)
    store.entries.make_symlink(place(store, "s", "link"), "changed", OWN)
    store.artifacts.put("s", "type/inside", b"")
    store.artifacts.put("s", "same", b"same")
    expected = {
        "changed": "changed", "described": "described", "e": "renamed from d", "e/moved": "renamed from d/moved",
        "folder": "removed", "link": "changed", "name": "renamed from renamed", "removed": "removed",
        "type": "removed, added", "type/inside": "added",
    }  # fmt: skip
    assert kinds(store, f"s@{seq}") == expected
    assert kinds(store, f"s@{seq}", "s") == expected
    assert list(kinds(store, f"s@{seq}")) == sorted(expected)
    back = kinds(store, "s", f"s@{seq}")
    assert (back["removed"], back["type/inside"], back["type"]) == ("added", "removed", "removed, added")
    assert kinds(store, "s", "s") == {}


def test_a_file_renamed_and_changed_is_one_difference(store: Store) -> None:
    seq = fill(store)
    store.entries.rename(place(store, "s", "renamed"), place(store, "s", "name"))
    store.artifacts.put("s", "name", b"otherwise", tags=["x"])
    (change,) = store.past.diff(f"s@{seq}").changes
    assert (change.kind, change.old_path, change.has_other_content) == ("renamed", "renamed", True)
    assert [(field.name, field.old, field.new) for field in change.fields] == [("tags", (), ("x",))]


def test_names_swapped_are_two_changed_files(store: Store) -> None:
    seq = fill(store)
    for old, new in (("same", "x"), ("type", "same"), ("x", "type")):
        store.entries.rename(place(store, "s", old), place(store, "s", new))
    assert kinds(store, f"s@{seq}") == {"same": "changed", "type": "changed"}


def test_what_went_and_came_back_the_same_is_no_difference(store: Store) -> None:
    seq = fill(store)
    store.artifacts.delete("s", "same")
    store.artifacts.put("s", "same", b"same")
    store.artifacts.put("s", "changed", b"otherwise")
    store.artifacts.put("s", "changed", b"changed")
    assert kinds(store, f"s@{seq}") == {}


def test_a_sessions_own_fields_are_told(store: Store) -> None:
    seq = fill(store)
    store.sessions.update("s", tags=["x"], metadata={"k": 1}, name="renamed")
    store.sessions.fail("renamed", "why")
    fields = {field.name: (field.old, field.new) for field in store.past.diff(f"renamed@{seq}").fields}
    assert fields == {
        "name": ("s", "renamed"), "status": ("active", "failed"), "tags": ((), ("x",)), "metadata": ({}, {"k": 1}),
        "failure_reason": (None, "why"),
    }  # fmt: skip


def test_a_ref_alone_means_since_the_last_checkpoint_or_the_beginning(store: Store) -> None:
    fill(store)
    assert len(kinds(store, "s")) == 10
    store.sessions.save("s")
    store.artifacts.put("s", "first", b"1")
    store.sessions.save("s")
    store.artifacts.put("s", "second", b"2")
    assert kinds(store, "s") == {"second": "added"}
    assert kinds(store, "s@c1") == {"first": "added", "second": "added"}
    assert kinds(store, "s@c1", "s@c2") == {"first": "added"}


def test_two_sessions_are_compared_by_path_and_content(store: Store) -> None:
    fill(store)
    store.sessions.create("t")
    store.artifacts.put("t", "same", b"same")
    store.artifacts.put("t", "elsewhere/name", b"renamed")
    store.artifacts.put("t", "new", b"new")
    store.artifacts.put("t", "empty", b"")
    found = kinds(store, "s", "t")
    assert found["elsewhere/name"] == "renamed from renamed"
    assert (found["new"], found["empty"], found["elsewhere"], found["changed"]) == (
        "added",
        "added",
        "added",
        "removed",
    )
    assert "same" not in found
    assert store.past.diff("s", "t").fields == ()


def test_content_that_several_files_have_says_nothing_of_a_rename(store: Store) -> None:
    for ref, names in (("s", ("a", "b")), ("t", ("c", "d"))):
        store.sessions.create(ref)
        for name in names:
            store.artifacts.put(ref, name, b"same")
    assert kinds(store, "s", "t") == {"a": "removed", "b": "removed", "c": "added", "d": "added"}


def test_a_fork_differs_by_what_was_done_since(store: Store) -> None:
    fill(store)
    store.sessions.complete("s")
    store.past.fork("s", "f")
    assert kinds(store, "s", "f") == {}
    store.artifacts.put("f", "changed", b"otherwise")
    store.entries.rename(place(store, "f", "renamed"), place(store, "f", "name"))
    assert kinds(store, "s", "f") == {"changed": "changed", "name": "renamed from renamed"}
    store.sessions.complete("f")
    assert kinds(store, "f", "s") == {"changed": "changed", "renamed": "renamed from name"}


def test_a_draft_is_part_of_now_and_not_of_then(store: Store) -> None:
    seq = fill(store)
    _, end = draft(store, "s", "changed", b"draft")
    assert kinds(store, f"s@{seq}") == {"changed": "changed"}
    assert kinds(store, f"s@{seq}", f"s@{seq}") == {}
    end()


@pytest.mark.parametrize("name", ["x@2", "x:y", "x:y@1", "a@b@c", "2026-11-21", "x@c1", "@", "1", "c1"])
def test_names_that_look_like_points_come_first(store: Store, name: str) -> None:
    store.sessions.create("x")
    store.sessions.create(name)
    store.artifacts.put(name, "f@2", b"1")
    store.artifacts.put(name, "f@2", b"2")
    assert kinds(store, name) == {"f@2": "added"}
    assert kinds(store, f"{name}@2") == {"f@2": "changed"}
    if not name.startswith("x:"):
        found = store.past.diff_artifacts(f"{name}:f@2@2", f"{name}:f@2").change
        assert (found.old and found.old.facts.version, found.new and found.new.facts.version) == (1, 2)


@pytest.mark.parametrize("ref", ["s@", "s@0", "s@99", "s@x", "s@c1", "none", "none@1", "@1", "s@-1", "s@1.5", "s@٣"])
def test_what_is_no_moment_is_refused(store: Store, ref: str) -> None:
    fill(store)
    for words in ((ref,), ("s", ref), (ref, "s")):
        with pytest.raises((NotFound, InvalidValue)):
            store.past.diff(*words)


def test_a_deleted_session_is_refused(store: Store) -> None:
    fill(store)
    session = store.sessions.delete("s")
    for ref in ("s", "s@2", session.id, f"{session.id}@2"):
        with pytest.raises(NotFound):
            store.past.diff(ref)
        with pytest.raises(NotFound):
            store.past.diff_artifacts(f"{ref.partition('@')[0]}:same")


def versions(store: Store, old: str, new: str | None = None) -> tuple[int | None, int | None]:
    change = store.past.diff_artifacts(old, new).change
    return (change.old and change.old.facts.version, change.new and change.new.facts.version)  # type: ignore[return-value]


def test_artifacts_are_compared_by_names_points_and_ids(store: Store, clock: list[int]) -> None:
    store.sessions.create("s")
    made = []
    for number in range(3):
        clock[0] += 3600 * SECOND
        made.append(store.artifacts.put("s", "d/a", str(number).encode()))
    first = made[0].id
    assert versions(store, "s:d/a") == (2, 3)
    assert versions(store, "s:d/a@3") == (1, 3)
    assert versions(store, "s:d/a@1h") == (2, 3)
    assert versions(store, "s:d/a@3", "s:d/a@4") == (1, 2)
    assert versions(store, first) == (1, 3)
    assert versions(store, first, made[1].id) == (1, 2)
    assert versions(store, f"{first}@4") == (2, 3)
    assert versions(store, f"{made[2].id}@3", first) == (1, 1)
    assert versions(store, "s:d/a", "s:d/a") == (3, 3)
    for ref in (f"{first}@1", f"{first}@99", f"{first}@x", f"{first}@"):
        with pytest.raises((NotFound, InvalidValue)):
            versions(store, ref)


def test_an_artifact_of_the_past_is_found_whatever_is_in_its_place(store: Store) -> None:
    store.sessions.create("s")
    store.artifacts.put("s", "d/a", b"1")
    store.artifacts.put("s", "f", b"2")
    seq = store.sessions.get("s").seq
    store.artifacts.delete("s", "d/a")
    store.entries.remove(place(store, "s", "d"), folder=True)
    store.artifacts.delete("s", "f")
    store.artifacts.put("s", "d", b"a file now")
    store.artifacts.put("s", "f/a", b"a folder now")
    assert versions(store, f"s:d/a@{seq}", f"s:f@{seq}") == (1, 1)
    for ref in ("s:d/a", "s:f", f"s:d@{seq}", f"s:d/a@{seq}"):
        with pytest.raises(SpellError):
            versions(store, ref)


def text(store: Store, change: Change) -> list[str] | None:
    lines = store.past.text_diff(change, "old", "new")
    return None if lines is None else list(lines)


def put_both(store: Store, old: bytes, new: bytes) -> Change:
    store.sessions.create("s")
    store.artifacts.put("s", "a", old)
    store.artifacts.put("s", "a", new)
    return store.past.diff_artifacts("s:a").change


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"a\nb\n", b"a\nc\n", [" a", "-b", "+c"]),
        (b"a", b"a\n", ["-a", "\\ No newline at end of file", "+a"]),
        (b"a\r\nb\r\n", b"a\nb\r\n", ["-a\r", "+a", " b\r"]),
        (b"a\rb\x0cc\x85".decode("latin-1").encode(), b"", ["-a\rb\x0cc\x85", "\\ No newline at end of file"]),
        (b"-- sql\n", b"++ c\n", ["--- sql", "+++ c"]),
        (b"@@ x\n", b"\n", ["-@@ x", "+"]),
        (b"\n\n", b"\n", [" ", "-"]),
        ("ü\u2028é\n".encode(), b"", ["-ü\u2028é"]),
    ],
)
def test_text_is_compared_line_by_line(store: Store, old: bytes, new: bytes, expected: list[str]) -> None:
    lines = text(store, put_both(store, old, new))
    assert lines is not None
    assert lines[:2] == ["--- old", "+++ new"]
    assert lines[3:] == expected


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b", os.urandom(2000), b"x" * (comparing.MAX_TEXT + 1)])
def test_what_is_no_text_has_no_text_diff(store: Store, content: bytes) -> None:
    change = put_both(store, content, b"text\n")
    assert text(store, change) is None
    assert text(store, Change("a", change.new, change.old)) is None


def test_text_of_thousands_of_lines_each_second_changed_takes_no_time(store: Store) -> None:
    old = [b"%d\n" % number for number in range(20_000)]
    new = [line if number % 2 else b"x" + line for number, line in enumerate(old)]
    lines = text(store, put_both(store, b"".join(old), b"".join(new)))
    assert lines is not None
    assert len(lines) == 30_003


def test_a_symlinks_target_is_its_text(store: Store) -> None:
    seq = fill(store)
    store.entries.remove(place(store, "s", "link"), folder=False)
    store.entries.make_symlink(place(store, "s", "link"), "new\ntarget", OWN)
    (change,) = store.past.diff(f"s@{seq}").changes
    remark = "\\ No newline at end of file"
    assert text(store, change) == ["--- old", "+++ new", "@@ -1 +1,2 @@", "-same", remark, "+new", "+target", remark]


def test_equal_contents_are_never_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seq = fill(store)
    store.artifacts.update("s", "described", tags=["x"])
    store.entries.rename(place(store, "s", "renamed"), place(store, "s", "name"))
    monkeypatch.setattr(comparing, "Reader", lambda *_: pytest.fail("content was read"))
    assert len(store.past.diff(f"s@{seq}").changes) == 2


@pytest.mark.skipif(shutil.which("patch") is None, reason="patch is not installed")
def test_patch_makes_the_new_content_of_the_old(store: Store, tmp_path: Path) -> None:
    contents = [
        b"",
        b"a",
        b"a\n",
        b"a\nb\nc\n" * 10,
        b"-- x\n++ y\n@@ z\n",
        b"a\r\nb\r\n",
        b"\n" * 9 + b"x",
        b"x\n" * 40,
    ]
    mixed = contents[3].replace(b"b\nc\na\n", b"B\n", 2) + b"tail"
    contents += [mixed, mixed[:-4] + b"other\n"]
    store.sessions.create("s")
    for number, content in enumerate(contents):
        store.artifacts.put("s", str(number), content)
    file = tmp_path / "file"
    for one in range(len(contents)):
        for other in range(len(contents)):
            change = store.past.diff_artifacts(f"s:{one}", f"s:{other}").change
            lines = text(store, change)
            assert lines is not None
            if one == other:
                assert lines == []
                continue
            file.write_bytes(contents[one])
            diff = "".join(f"{line}\n" for line in lines).encode()
            patched = subprocess.run(
                ["patch", "--binary", "-s", str(file)], input=diff, cwd=tmp_path, capture_output=True, check=False
            )
            assert patched.returncode == 0, (contents[one], contents[other], diff, patched)
            assert (file.read_bytes() if file.exists() else b"") == contents[other]
