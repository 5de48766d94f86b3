from __future__ import annotations

import json
import re
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmspellfs.errors import InvalidValue
from llmspellfs.model.query import filters, labels, parse_query
from llmspellfs.model.times import NS, parse_iso
from llmspellfs.storage.migrations import migrate
from llmspellfs.storage.schema import SUPERSEDED
from llmspellfs.storage.search import find_entries, find_entry_sessions, find_placed, find_sessions
from llmspellfs.storage.search_text import catch_up, drop_gone, is_behind, merge
from llmspellfs.storage.search_views import list_tags, list_types, sessions_with_tag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = parse_iso("2026-11-21T12:00:00Z")
HASH = bytes(range(32))


@dataclass
class Filling:
    """Writes rows as the service does, and asks by text."""

    db: sqlite3.Connection
    inos: Iterator[int] = field(default_factory=lambda: iter(range(2000, 10**9)))

    def session(self, dirname: str, **given: Any) -> int:
        row: dict[str, Any] = {"status": "active", "tags": (), "metadata": {}, "description": ""}
        row |= {"parent": None, "created": NOW, "updated": NOW, "name": dirname, "id": None} | given
        ino = next(self.inos)
        sid = self.db.execute(
            "INSERT INTO session (id, ino, created_ns, seq, head, last_ns, trail_size, horizon_seq,"
            " next_sequence, artifact_count, total_size, change)"
            " VALUES (?, ?, ?, 1, '', ?, 0, 0, 1, 0, 0, 0)",
            (row["id"] or f"{ino:08x}-0000-4000-8000-000000000000", ino, row["created"], row["updated"]),
        ).lastrowid
        assert sid is not None
        self.db.execute(
            "INSERT INTO session_row (sid, seq_from, name, dirname, description, status, tags, metadata,"
            " parent) VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?)",
            (
                sid, row["name"], dirname, row["description"], row["status"], json.dumps(row["tags"]),
                json.dumps(row["metadata"]), row["parent"],
            ),
        )  # fmt: skip
        found = [(key, value, sid) for key, value in labels(row["tags"], row["metadata"])]
        self.db.executemany("INSERT INTO session_label VALUES (?, ?, ?)", found)
        return sid

    def delete_session(self, sid: int) -> None:
        self.db.execute("UPDATE session_row SET seq_to = 9 WHERE sid = ?", (sid,))
        self.db.execute("UPDATE session SET deleted_ns = 1 WHERE sid = ?", (sid,))
        self.db.execute("DELETE FROM session_label WHERE sid = ?", (sid,))

    def folder(self, sid: int, path: str) -> int:
        inside: int = self.db.execute("SELECT ino FROM session WHERE sid = ?", (sid,)).fetchone()[0]
        for name in path.split("/") if path else ():
            query = "SELECT ino FROM entry WHERE folder = ? AND name = ? AND seq_to IS NULL"
            row = self.db.execute(query, (inside, name)).fetchone()
            ino = row[0] if row else next(self.inos)
            if not row:
                insert = "INSERT INTO entry (sid, folder, name, ino, kind, seq_from) VALUES (?, ?, ?, ?, 1, 1)"
                self.db.execute(insert, (sid, inside, name, ino))
            inside = ino
        return inside

    def file(self, sid: int, path: str, **given: Any) -> int:
        row: dict[str, Any] = {"size": 1, "type": "user_input", "mime": "text/plain", "description": ""}
        row |= {
            "tags": (),
            "custom": {},
            "created": NOW,
            "updated": NOW,
            "seq_from": 1,
            "seq_to": None,
        } | given
        above, _, name = path.rpartition("/")
        query = "SELECT next_sequence FROM session WHERE sid = ?"
        sequence = row.get("sequence", self.db.execute(query, (sid,)).fetchone()[0])
        self.db.execute("UPDATE session SET next_sequence = next_sequence + 1 WHERE sid = ?", (sid,))
        eid = self.db.execute(
            "INSERT INTO entry (sid, folder, name, ino, kind, seq_from, seq_to, sequence, version, content,"
            " size, type, mime_type, description, tags, custom, created_ns, updated_ns)"
            " VALUES (?, ?, ?, ?, 0, ?, ?, ?, 1, 1, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                sid, self.folder(sid, above), name, next(self.inos), row["seq_from"], row["seq_to"], sequence,
                row["size"], row["type"], row["mime"], row["description"], json.dumps(row["tags"]),
                json.dumps(row["custom"]), row["created"], row["updated"],
            ),
        ).lastrowid  # fmt: skip
        assert eid is not None
        if row["seq_to"] is None:
            found = [(key, value, eid) for key, value in labels(row["tags"], row["custom"])]
            self.db.executemany("INSERT INTO entry_label VALUES (?, ?, ?)", found)
        return eid

    def ask(self, text: str, **options: Any) -> list[int]:
        while is_behind(self.db):
            catch_up(self.db)
        return find_entries(self.db, parse_query(text, NOW), **options)

    def sessions(self, text: str, **options: Any) -> list[int]:
        return find_sessions(self.db, parse_query(text, NOW), **options)

    def plans(self, text: str, **options: Any) -> str:
        """Return how SQLite runs each statement of the query *text*."""
        statements: list[str] = []
        self.db.set_trace_callback(statements.append)
        find_entries(self.db, parse_query(text, NOW), **options)
        self.db.set_trace_callback(None)
        return "\n".join(row for each in statements for row in self._plan(each))

    def _plan(self, statement: str) -> list[str]:
        return [row[3] for row in self.db.execute(f"EXPLAIN QUERY PLAN {statement}")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Filling]:
    db = sqlite3.connect(tmp_path / "index.db", isolation_level=None)
    migrate(db, tmp_path)
    db.execute("INSERT INTO content (cid, hash, size, stored_size) VALUES (1, ?, 1, 1)", (HASH,))
    yield Filling(db)
    db.close()


def test_each_field_finds_and_its_negation_finds_the_rest(store: Filling) -> None:
    a = store.session("q4-one", tags=["x"])
    b = store.session("other", status="suspended")
    one = store.file(
        a, "r/report.csv", size=20_000, type="tool_result", tags=["report"], custom={"author": "jane", "n": 3}
    )
    two = store.file(b, "photo.png", mime="image/png", created=NOW - 9 * 86400 * NS, updated=NOW - 7200 * NS)
    for text in (
        "type:tool_result", "type:tool*", "type:tool_result,x", "tag:report", "tag:rep*", "name:*.csv",
        "name:report.csv", "name:r/*.csv", "size:>10k", "size:20000", "created:>2026-11-20", "created:<7d",
        "updated:<1h", "session:q4*", "session:q4-one", "status:active", "mime:text/*", "mime:text/plain",
        "meta.author:jane", "meta.author:j*", "meta.n:3", "report", "JANE", '"report csv"', "report jane",
        "nothing,jane", "-tag:a,b -name:photo*,*.gif",
    ):  # fmt: skip
        assert store.ask(text) == [one], text
    for text in (
        "-type:tool_result",
        "-tag:report",
        "-name:r/*",
        "-size:>10k",
        "-session:q4*",
        "-report",
        "-meta.n:3",
    ):
        assert store.ask(text) == [two], text
    assert store.ask("") == [two, one]
    assert store.ask("tag:x") == store.ask("report photo") == store.ask('"csv report"') == []


def test_artifacts_without_a_value_are_found_by_its_negation(store: Filling) -> None:
    sid = store.session("s")
    eid = store.file(sid, "a", mime=None)
    assert store.ask("-mime:image/*") == [eid]


def test_paths(store: Filling) -> None:
    sid = store.session("s")
    other = store.session("t")
    eids = {
        path: store.file(sid, path) for path in ("a.csv", "r/a.csv", "r/x/a.csv", "r/x/y/b.csv", "q/r/a.csv", "r/[z]")
    }
    eids["t:a.csv"] = store.file(other, "a.csv")

    def paths(text: str) -> list[str]:
        found = store.ask(text)
        return [path for path, eid in eids.items() if eid in found]

    assert paths("name:a.csv") == ["a.csv", "r/a.csv", "r/x/a.csv", "q/r/a.csv", "t:a.csv"]
    assert paths("name:/a.csv") == ["a.csv", "t:a.csv"]
    assert paths("name:r/*") == ["r/a.csv", "r/[z]"]
    assert paths("name:r/*.csv") == ["r/a.csv"]
    assert paths("name:r/*/*.csv") == ["r/x/a.csv"]
    assert paths("name:r/**") == ["r/a.csv", "r/x/a.csv", "r/x/y/b.csv", "r/[z]"]
    assert paths("name:r/**/a.csv") == ["r/a.csv", "r/x/a.csv"]
    assert paths("name:**/r/?.csv") == ["r/a.csv", "q/r/a.csv"]
    assert paths("name:**/x/**/*.csv") == ["r/x/a.csv", "r/x/y/b.csv"]
    assert paths("name:r/[z]") == []
    assert paths(r'name:"r/\[z]"') == ["r/[z]"]
    assert paths("name:A.CSV") == []
    assert paths("-name:**/a.csv") == ["r/x/y/b.csv", "r/[z]"]


def _expected(pattern: str, path: str) -> bool:
    """The documented rule as a regular expression."""
    if "/" not in pattern:
        pattern, path = pattern.replace("**", "*"), path.rpartition("/")[2]
    words = {"**/": "(?:[^/]+/)*", "**": ".+", "*": "[^/]*", "?": "[^/]", ".": "[.]"}
    pieces = re.findall(r"\*\*/|\*\*|\[[^]]*\]|.", pattern.removeprefix("/"))
    return re.fullmatch("".join(words.get(piece, piece) for piece in pieces), path) is not None


COMPONENTS = ["a", "b", "ab", "a.b"]


@given(
    st.sets(st.lists(st.sampled_from(COMPONENTS), min_size=1, max_size=4).map("/".join), min_size=1, max_size=8),
    st.lists(st.sampled_from([*COMPONENTS, "*", "**", "?", "[ab]", "a*", "*b"]), min_size=1, max_size=4),
    st.sampled_from(["", "/"]),
)
@settings(max_examples=150, deadline=None)
def test_any_pattern_finds_what_the_rule_says(paths: set[str], pattern: list[str], top: str) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db, ":memory:")
    store = Filling(db)
    sid = store.session("s")
    names = [path for path in paths if not any(other.startswith(path + "/") for other in paths)]
    files = {name: store.file(sid, name) for name in names}
    text = top + "/".join(pattern)
    assert set(store.ask(f"name:{text}")) == {eid for name, eid in files.items() if _expected(text, name)}
    db.close()


def test_a_name_is_found_after_its_folder_was_renamed(store: Filling) -> None:
    sid = store.session("s")
    eid = store.file(sid, "old/a")
    store.db.execute("UPDATE entry SET seq_to = 2 WHERE name = 'old'")
    store.db.execute(
        "INSERT INTO entry (sid, folder, name, ino, kind, seq_from)"
        " SELECT sid, folder, 'new', ino, 1, 2 FROM entry WHERE name = 'old'"
    )
    assert store.ask("name:old/a") == []
    assert store.ask("name:new/a") == [eid]


def test_only_live_rows_of_live_sessions_are_found(store: Filling) -> None:
    gone = store.session("gone")
    store.file(gone, "a", tags=["t"], type="odd")
    store.delete_session(gone)
    sid = store.session("s")
    store.file(sid, "a", seq_to=2, sequence=1)
    store.file(sid, "b", seq_to=SUPERSEDED, sequence=2)
    draft = store.file(sid, "b", seq_from=None, sequence=2)
    store.file(sid, "folder/c", sequence=3)
    for text in ("", "name:a,b", "type:user_input,odd", "tag:t", "name:*", "a,b"):
        assert draft in store.ask(text) or text == "tag:t"
        assert len(store.ask(text)) == {"": 2, "name:*": 2, "tag:t": 0, "type:user_input,odd": 2}.get(text, 1), text


def test_ids(store: Filling) -> None:
    first = store.session("s", id="aaaa1111-0000-4000-8000-000000000000")
    second = store.session("t", id="aaaa2222-0000-4000-8000-000000000000")
    one, two, other = store.file(first, "a"), store.file(first, "b"), store.file(second, "a")
    assert store.ask("id:aaaa") == [one, two, other]
    assert store.ask("id:aaaa1") == store.ask("session:aaaa1") == [one, two]
    assert store.ask("id:aaaa1111-0000-4000-8000-000000000000/2") == [two]
    assert store.ask(f"id:aaaa1111-0000-4000-8000-000000000000/1/{HASH.hex()}") == [one]
    assert store.ask("id:aaaa/1/ff") == []
    assert store.sessions("id:aaaa2") == store.sessions("session:aaaa2") == [second]


def test_a_directory_name_goes_before_the_beginning_of_an_id(store: Filling) -> None:
    store.session("s", id="2024aaaa-0000-4000-8000-000000000000")
    named = store.session("2024")
    assert store.sessions("session:2024") == [named]


def test_orders(store: Filling) -> None:
    a, b = store.session("a"), store.session("b")
    late = store.file(a, "z/a", created=NOW + 2, updated=NOW, size=3, type="x")
    early = store.file(b, "m", created=NOW, updated=NOW + 9, size=2, type="y")
    middle = store.file(a, "b", created=NOW + 1, updated=NOW + 5, size=2, type="x")
    assert store.ask("") == [early, middle, late]
    assert store.ask("", sid=a) == [late, middle]
    assert store.ask("", order="desc") == [late, middle, early]
    assert store.ask("", sort_by="name") == [middle, early, late]
    assert store.ask("", sort_by="size") == [early, middle, late]
    assert store.ask("", sort_by="updated_at", order="desc") == [early, middle, late]
    assert store.ask("", sort_by="type") == [late, middle, early]
    assert store.ask("", limit=1, offset=1) == [middle]
    assert find_placed(store.db, filters(artifact_type="x")) == [(middle, a), (late, a)]
    assert find_entry_sessions(store.db, filters(min_size=2)) == [a, b]


@pytest.mark.parametrize(
    "bad", [{"sort_by": "colour"}, {"order": "up"}, {"limit": -1}, {"offset": 1.5}, {"limit": 1 << 63}]
)
def test_bad_pages_are_invalid_values(store: Filling, bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        find_entries(store.db, filters(), **bad)
    with pytest.raises(InvalidValue):
        find_sessions(store.db, filters(), **bad)


@pytest.mark.parametrize("few", [10_000, 0])
def test_pages_are_the_same_whether_joined_or_walked(store: Filling, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr("llmspellfs.storage.search_plan.FEW", few)
    monkeypatch.setattr("llmspellfs.storage.search_plan.ENOUGH", 0)
    sid, other = store.session("s"), store.session("t")
    eids = [
        store.file((sid, other)[i % 2], f"f{i:02}", created=NOW + i * 7 % 5, size=i % 4, tags=["even"] * (i % 3 == 0))
        for i in range(40)
    ]
    wanted = sorted((NOW + i * 7 % 5, eid) for i, eid in enumerate(eids) if i % 3 == 0 and i % 4 >= 2)
    pages = [store.ask("tag:even size:>=2", limit=3, offset=start) for start in range(0, 15, 3)]
    assert [eid for page in pages for eid in page] == [eid for _, eid in wanted]
    assert store.ask("tag:even f06", limit=5) == [eids[6]]
    assert store.ask("size:1", sid=other, limit=2, offset=1) == [eids[i] for i in (5, 9)]
    assert store.ask("size:1", limit=None) == store.ask("size:1", limit=99)
    for sort_by in ("name", "size", "created_at", "updated_at", "type"):
        assert len(store.ask("tag:even", limit=5, sort_by=sort_by, order="desc")) == 5


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("type:tool_result", "entry_by_type"),
        ("type:a,b", "entry_by_type"),
        ("tag:report", "PRIMARY KEY (key=? AND value=?)"),
        ("meta.author:jane", "PRIMARY KEY (key=? AND value=?)"),
        ("name:a.csv", "entry_by_name"),
        ("name:r/a.csv", "entry_live"),
        ("size:>10k", "entry_by_size"),
        ("created:>2026-11-01", "entry_by_created"),
        ("updated:<1h", "entry_by_updated"),
        ("mime:image/png", "entry_by_mime"),
        ("session:q4", "entry_by_sequence"),
        ("status:active", "entry_by_sequence"),
        ("id:abcd/1", "entry_by_sequence"),
    ],
)
def test_no_filter_scans_the_entries(store: Filling, text: str, index: str) -> None:
    store.file(store.session("q4"), "r/a.csv", tags=["report"], custom={"author": "jane"}, type="tool_result")
    plan = store.plans(text, limit=20)
    assert index in plan
    assert not [line for line in plan.splitlines() if line.startswith("SCAN") and "entry" in line], plan
    assert not [line for line in plan.splitlines() if line in {"SCAN e", "SCAN l", "SCAN d"}], plan


def test_a_page_of_everything_walks_its_order_without_sorting(store: Filling) -> None:
    plan = store.plans("", limit=20)
    assert "SCAN e USING INDEX entry_by_created" in plan
    assert "TEMP B-TREE" not in plan


def test_the_text_of_a_query_is_never_in_a_statement(store: Filling) -> None:
    sid = store.session("s")
    eid = store.file(sid, "x'; DROP TABLE entry; --", tags=["' OR 1=1"], description='say "hi" AND NOT')
    assert store.ask('name:"x\'; DROP TABLE entry; --" tag:"\' OR 1=1"') == [eid]
    assert store.ask(r'"say \"hi\" AND NOT"') == [eid]
    assert store.ask('tag:"\' OR 1=2"') == []
    assert store.ask('"NEAR(" "***" "col:x"') == []


@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from([*'"*:^()[]-\\?', "a", "name:", "tag:", "NOT ", "id:"])).map("".join)
)
@settings(max_examples=200, deadline=None)
def test_no_query_that_parses_fails(text: str) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db, ":memory:")
    try:
        query = parse_query(text, NOW)
    except InvalidValue:
        db.close()
        return
    assert find_entries(db, query, limit=3) == []
    assert find_sessions(db, query) == find_sessions(db, query, deleted=True) == []
    db.close()


def test_sessions(store: Filling) -> None:
    parent = "11111111-0000-4000-8000-000000000000"
    one = store.session(
        "q4-analysis", name="Q4 Analysis", tags=["finance"], metadata={"owner": "José", "ok": True},
        parent=parent, description="of 100% growth", created=NOW - 86400 * NS,
    )  # fmt: skip
    two = store.session("b", status="failed", updated=NOW - 7200 * NS)
    store.file(one, "a.png", mime="image/png", size=5000, type="tool_result", tags=["artifact-tag"])
    store.file(two, "b.txt", size=10)
    for text in (
        "tag:finance", "session:q4*", "name:Q4*", "status:active", "meta.owner:José", "meta.ok:true",
        "created:>1h", "updated:<1h", "type:tool_result", "size:>4k", "mime:image/*", "q4", '"100% g"',
        "José", "finance analysis", "type:tool_result size:5000", "-status:failed", "-type:user_input",
        "-tag:other -name:b",
    ):  # fmt: skip
        assert store.sessions(text) == [one], text
    assert store.sessions("tag:artifact-tag") == store.sessions('"100_ g"') == []
    assert store.sessions("size:10 type:tool_result") == []
    assert store.sessions("size:>1") == store.sessions("") == [one, two]
    assert find_sessions(store.db, filters(parent=parent, tags=["finance"], words="growth")) == [one]


@pytest.mark.parametrize("few", [10_000, 0])
def test_sessions_of_artifacts_are_the_same_whether_these_are_few_or_many(
    store: Filling, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr("llmspellfs.storage.search_plan.FEW", few)
    monkeypatch.setattr("llmspellfs.storage.search_plan.ENOUGH", few)
    one, two, gone = (
        store.session(name, status=status) for name, status in (("a", "active"), ("b", "failed"), ("c", "active"))
    )
    for sid in (one, two, gone):
        store.file(sid, "r/x.csv", size=sid, tags=["t"])
        store.file(sid, "other", size=99, type="odd" if sid == two else "user_input")
    store.delete_session(gone)

    def of(text: str) -> list[int]:
        return find_entry_sessions(store.db, parse_query(text, NOW))

    assert of("") == of("tag:t") == of("name:r/*.csv") == of("-type:odd") == [one, two]
    assert of("tag:t status:failed") == of("session:b size:99") == of("type:odd") == [two]
    assert of("type:odd tag:t") == of("session:c") == []
    assert store.sessions("type:odd") == [two]
    assert store.sessions("-type:odd size:99") == [one]
    assert store.sessions("size:99", deleted=True) == store.sessions("-type:odd", deleted=True) == [gone]
    assert store.sessions("type:odd", deleted=True) == []


def test_session_orders(store: Filling) -> None:
    one = store.session("b", created=NOW, updated=NOW + 3, status="failed")
    two = store.session("a", created=NOW + 1, updated=NOW + 2, status="active")
    store.db.execute("UPDATE session SET artifact_count = 5, total_size = 9 WHERE sid = ?", (two,))
    assert store.sessions("") == store.sessions("", sort_by="created_at", limit=9) == [one, two]
    assert store.sessions("", order="desc") == [two, one]
    for key in ("updated_at", "name", "status"):
        assert store.sessions("", sort_by=key) == [two, one]
    for key in ("artifact_count", "total_artifact_size"):
        assert store.sessions("", sort_by=key) == [one, two]
    assert store.sessions("", limit=1, offset=1) == [two]


def test_deleted_sessions_are_found_by_what_they_were(store: Filling) -> None:
    gone = store.session("gone", tags=["old"], metadata={"n": 1.5, 'a"b': "x"}, description="words here")
    live = store.session("live", tags=["old"])
    store.delete_session(gone)
    for text in (
        "",
        "tag:old",
        "meta.n:1.5",
        r'meta."a\"b":x',
        "words",
        "1.5",
        "session:g*",
        "name:gone",
        "-tag:new",
    ):
        assert store.sessions(text, deleted=True) == [gone], text
    assert store.sessions("tag:new", deleted=True) == []
    assert store.sessions("tag:old") == [live]
    store.db.execute("UPDATE session SET purged_ns = 1 WHERE sid = ?", (gone,))
    assert store.sessions("", deleted=True) == []


def test_views_list_what_is_live(store: Filling) -> None:
    a = store.session("a", tags=["s-tag", "both"])
    store.file(a, "x", type="zeta", tags=["both", "file"])
    store.file(a, "y", type="alpha")
    gone = store.session("gone", tags=["s-gone"])
    store.file(gone, "x", type="lost", tags=["lost"])
    store.delete_session(gone)
    assert list_types(store.db) == ["alpha", "zeta"]
    assert list_tags(store.db) == ["both", "file", "s-tag"]
    assert sessions_with_tag(store.db, "both") == ["a"]
    assert sessions_with_tag(store.db, "file") == sessions_with_tag(store.db, "s-gone") == []


def test_an_empty_store_lists_nothing(store: Filling) -> None:
    assert list_types(store.db) == list_tags(store.db) == []
    assert store.ask("") == store.sessions("") == []
    assert not is_behind(store.db)


def test_indexing_goes_on_where_it_stopped(store: Filling) -> None:
    sid = store.session("s")
    eids = [store.file(sid, f"word{i}") for i in range(5)]
    assert catch_up(store.db, 2)
    assert find_entries(store.db, filters(words="word1")) == [eids[1]]
    assert find_entries(store.db, filters(words="word4")) == []
    assert is_behind(store.db)
    while catch_up(store.db, 2):
        pass
    assert find_entries(store.db, filters(words="word4")) == [eids[4]]
    assert not is_behind(store.db)


def test_a_draft_is_found_by_its_words_of_now(store: Filling) -> None:
    sid = store.session("s")
    draft = store.file(sid, "log", seq_from=None, description="before")
    later = store.file(sid, "later")
    assert store.ask("before") == [draft]
    assert store.ask("later") == [later]
    assert not is_behind(store.db)
    store.db.execute("UPDATE entry SET description = 'after' WHERE eid = ?", (draft,))
    assert store.ask("after") == [draft]
    assert store.ask("before") == []
    store.db.execute("UPDATE entry SET seq_from = 3, description = 'sealed' WHERE eid = ?", (draft,))
    assert store.ask("sealed") == [draft]
    assert store.db.execute("SELECT count(*) FROM entry_text_due").fetchone() == (0,)


def test_a_row_that_was_superseded_is_found_when_its_draft_is_dropped(store: Filling) -> None:
    sid = store.session("s")
    old = store.file(sid, "f", seq_to=SUPERSEDED, description="older", sequence=1)
    draft = store.file(sid, "f", seq_from=None, description="newer", sequence=1)
    assert store.ask("older") == []
    assert store.ask("newer") == [draft]
    store.db.execute("DELETE FROM entry WHERE eid = ?", (draft,))
    store.db.execute("UPDATE entry SET seq_to = NULL WHERE eid = ?", (old,))
    assert store.ask("older") == [old]


@pytest.mark.parametrize("is_asked_between", [True, False])
def test_an_eid_is_never_given_again(store: Filling, is_asked_between: bool) -> None:
    sid = store.session("s")
    gone = store.file(sid, "swapfile")
    assert store.ask("swapfile") == [gone]
    store.db.execute("DELETE FROM entry WHERE eid = ?", (gone,))
    if is_asked_between:
        assert store.ask("swapfile") == []
    fresh = store.file(sid, "fresh")
    assert fresh > gone
    assert store.ask("fresh") == [fresh]
    assert store.ask("swapfile") == []


@pytest.mark.parametrize("is_asked_first", [True, False])
def test_forgotten_words_are_in_no_page_of_the_index(store: Filling, tmp_path: Path, is_asked_first: bool) -> None:
    store.db.execute("PRAGMA secure_delete = ON")
    sid = store.session("s")
    secret = [store.file(sid, f"f{i}", description=f"xylophonesecret{i}") for i in range(50)]
    kept = store.file(sid, "kept", description="xylograph")
    while is_behind(store.db):
        catch_up(store.db, 7)
    store.db.executemany("DELETE FROM entry WHERE eid = ?", [(eid,) for eid in secret])
    if is_asked_first:
        assert store.ask("xylophonesecret7") == []
    while drop_gone(store.db, 7):
        pass
    is_first = True
    while merge(store.db, is_first=is_first, pages=1):
        is_first = False
    assert store.ask("xylograph") == [kept]
    store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    pages = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"xylograph" in pages
    assert b"ophonesecret" not in pages
