"""The terms of a query as SQL conditions, all values bound; the text of a query is never part of a statement.

Three rows have names that every condition knows: `e` an entry, `r` its session's row of now, `s` the session.
`check_*` are conditions on such a row; `*_source` are statements that give the eids of a term from its index.
Pure text-making: nothing here has a connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmspellfs.model.names import view_name
from llmspellfs.model.query import META, PARENT, WORDS, Term
from llmspellfs.model.query_values import IdMatch, Match, PathMatch, Range, Value, escape_glob
from llmspellfs.storage.search_text import phrase

if TYPE_CHECKING:
    from collections.abc import Iterable

LIVE_FILE = "e.kind = 0 AND e.seq_to IS NULL"
SESSION_FIELDS = frozenset({"session", "status", PARENT})
"""What an artifact query asks of the artifact's session."""
ARTIFACT_FIELDS = frozenset({"type", "mime", "size"})
"""What a session query asks of the session's artifacts."""

_COLUMNS = {"type": "e.type", "mime": "e.mime_type", "size": "e.size", "name": "e.name"}
_COLUMNS |= {"created": "e.created_ns", "updated": "e.updated_ns"}
_INDEXES = {
    "type": "entry_by_type",
    "mime": "entry_by_mime",
    "size": "entry_by_size",
    "name": "entry_by_name",
}
_INDEXES |= {"created": "entry_by_created", "updated": "entry_by_updated"}
_SESSION_COLUMNS = {
    "name": "r.name",
    "status": "r.status",
    "created": "s.created_ns",
    "updated": "s.last_ns",
}
_SESSION_COLUMNS |= {PARENT: "r.parent"}


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of a statement with the values for its question marks."""

    text: str
    params: tuple[object, ...] = ()


def join(word: str, pieces: Iterable[Sql]) -> Sql:
    """Return *pieces* in brackets, with *word* (AND, OR) between them."""
    parts = list(pieces)
    return Sql(f" {word} ".join(f"({part.text})" for part in parts), tuple(p for part in parts for p in part.params))


def check_entry(term: Term, *, is_probed: bool = False) -> Sql:
    """Return the condition of *term* on an artifact `e` of the session `r`, `s`.

    Free words are looked up for each row where *is_probed* (some 30 µs each), and else all at once.
    """
    if term.field in SESSION_FIELDS:
        return check_session(term)
    if term.field == WORDS and is_probed:
        return _any(term, [_probe(value) for value in term.values])
    return _any(term, [_entry_value(term.field, value) for value in term.values])


def check_session(term: Term) -> Sql:
    """Return the condition of *term* on a session `r`, `s`, for what is of sessions themselves."""
    return _any(term, [_session_value(term.field, value) for value in term.values])


def entry_source(term: Term, sid: int | None = None) -> Sql:
    """Return the statement that gives the eids of *term*, from its index; some may not be live.

    Only those of session *sid*, where it is given and the index knows; else those of others are among them.
    """
    parts = [_source(term.field, value) for value in term.values]
    if term.field == "type" and sid is not None:
        parts = [Sql(f"{part.text} AND e.sid = ?", (*part.params, sid)) for part in parts]
    return Sql(" UNION ".join(part.text for part in parts), tuple(p for part in parts for p in part.params))


def session_source(check: Sql) -> Sql:
    """Return the statement that gives the eids of the sessions for which *check* holds."""
    text = f"""SELECT e.eid FROM session_row r JOIN session s ON s.sid = r.sid
        CROSS JOIN entry e INDEXED BY entry_by_sequence ON e.sid = r.sid AND {LIVE_FILE}
        WHERE r.seq_to IS NULL AND ({check.text})"""  # noqa: S608 - made of this module's own text
    return Sql(text, check.params)


def _any(term: Term, values: list[Sql]) -> Sql:
    found = join("OR", values)
    return Sql(f"NOT coalesce({found.text}, 0)", found.params) if term.negated else found


def _entry_value(field: str, value: Value) -> Sql:
    if field == WORDS:
        found = _source(field, value)
        return Sql(f"e.eid IN ({found.text})", found.params)
    if field == "tag" or field.startswith(META):
        label = _compare("l.value", value)
        text = f"SELECT 1 FROM entry_label l WHERE l.key = ? AND {label.text} AND l.eid = e.eid"  # noqa: S608
        return Sql(f"EXISTS ({text})", (field, *label.params))
    if isinstance(value, IdMatch):
        return _artifact_id(value)
    if isinstance(value, PathMatch):
        return _path(value)
    return _compare(_COLUMNS[field], value)


def _probe(value: Value) -> Sql:
    found = _source(WORDS, value)
    return Sql(f"EXISTS ({found.text} AND rowid = e.eid)", found.params)


def _source(field: str, value: Value) -> Sql:
    if field == WORDS:
        assert isinstance(value, Match)
        return Sql("SELECT rowid FROM entry_text WHERE entry_text MATCH ?", (phrase(value.text),))
    if field == "tag" or field.startswith(META):
        label = _compare("l.value", value)
        text = f"SELECT l.eid FROM entry_label l WHERE l.key = ? AND {label.text}"  # noqa: S608
        return Sql(text, (field, *label.params))
    if isinstance(value, IdMatch):
        return session_source(_artifact_id(value))
    if isinstance(value, PathMatch):
        path = _path(value)
        text = f"SELECT e.eid FROM entry e INDEXED BY entry_live WHERE {LIVE_FILE} AND {path.text}"  # noqa: S608
        return Sql(text, path.params)
    column = _compare(_COLUMNS[field], value)
    text = f"SELECT e.eid FROM entry e INDEXED BY {_INDEXES[field]} WHERE {LIVE_FILE} AND {column.text}"  # noqa: S608
    return Sql(text, column.params)


def _session_value(field: str, value: Value) -> Sql:
    if isinstance(value, IdMatch):
        return Sql("s.id GLOB ?", (value.session + "*",))
    if isinstance(value, PathMatch):
        return _compare("r.name", value.whole)
    if field == "session":
        return _reference(value)
    if field == WORDS:
        assert isinstance(value, Match)
        return _like(value.text)
    if field == "tag" or field.startswith(META):
        label = _compare("l.value", value)
        text = f"r.sid IN (SELECT l.sid FROM session_label l WHERE l.key = ? AND {label.text})"  # noqa: S608
        return Sql(text, (field, *label.params))
    return _compare(_SESSION_COLUMNS[field], value)


def _reference(value: Value) -> Sql:
    """A session by its directory's name, its id, or its id's beginning where no directory is called so."""
    assert isinstance(value, Match)
    if "/" in value.text:  # a session's name, then: no directory's has one
        return _compare("r.dirname", Match(view_name(value.text), value.is_glob))
    if value.is_glob or len(value.text) < 4:
        return _compare("r.dirname", value)
    taken = "EXISTS (SELECT 1 FROM session_row t WHERE t.dirname = ? AND t.seq_to IS NULL)"
    text = f"r.dirname = ? OR (s.id GLOB ? AND NOT {taken})"
    return Sql(text, (value.text, escape_glob(value.text) + "*", value.text))


def _like(words: str) -> Sql:
    pattern = "%" + words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    like = "LIKE ? ESCAPE '\\'"
    label = f"SELECT 1 FROM session_label l WHERE l.sid = r.sid AND l.value {like}"  # noqa: S608 - no text of a query
    return Sql(f"r.name {like} OR r.description {like} OR EXISTS ({label})", (pattern,) * 3)


def _artifact_id(value: IdMatch) -> Sql:
    text, params = "s.id GLOB ?", [value.session + "*"]
    if value.sequence is None:
        return Sql(text, tuple(params))
    content = "(SELECT lower(hex(c.hash)) FROM content c WHERE c.cid = e.content)"
    return Sql(f"{text} AND e.sequence = ? AND {content} GLOB ?", (*params, value.sequence, value.content_hash + "*"))


def _path(value: PathMatch) -> Sql:
    """Go down from all sessions' top folders, a step for each component, to the folders of what is asked."""
    steps = ["f0(ino) AS (SELECT s.ino FROM session s JOIN session_row r ON r.sid = s.sid WHERE r.seq_to IS NULL)"]
    params: list[object] = []
    for number, part in enumerate(value.parts[:-1], 1):
        step = _folders(number, part)
        steps.append(step.text)
        params += step.params
    last = value.parts[-1]
    assert last is not None
    name = _compare("e.name", last)
    chain = f"WITH RECURSIVE {', '.join(steps)} SELECT ino FROM f{len(steps) - 1}"  # noqa: S608
    return Sql(f"e.folder IN ({chain}) AND {name.text}", (*params, *name.params))


def _folders(number: int, part: Match | None) -> Sql:
    before, here = f"f{number - 1}", f"f{number}"
    below = """CROSS JOIN entry d INDEXED BY entry_subfolders
        ON d.folder = f.ino AND d.kind = 1 AND d.seq_to IS NULL"""
    if part is None:
        deeper = f"SELECT d.ino FROM {here} f {below}"  # noqa: S608
        return Sql(f"{here}(ino) AS (SELECT ino FROM {before} UNION {deeper})")  # noqa: S608
    name = _compare("d.name", part)
    step = f"SELECT d.ino FROM {before} f {below} AND {name.text}"  # noqa: S608
    return Sql(f"{here}(ino) AS ({step})", name.params)


def _compare(column: str, value: Value) -> Sql:
    if isinstance(value, Match):
        return Sql(f"{column} {'GLOB' if value.is_glob else '='} ?", (value.text,))
    assert isinstance(value, Range)
    if value.low is not None and value.high is not None:
        return Sql(f"{column} BETWEEN ? AND ?", (value.low, value.high))
    if value.low is not None:
        return Sql(f"{column} >= ?", (value.low,))
    return Sql(f"{column} <= ?", (value.high,))
