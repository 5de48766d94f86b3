"""Connections: what a damaged database says of itself is an error of SQLite's, in whatever bytes it says it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llmspellfs.storage import connections


@pytest.mark.parametrize("opening", [connections.connect, connections.look])
def test_a_schema_that_is_no_text_is_an_error_of_sqlite(tmp_path: Path, opening: object) -> None:
    path = tmp_path / "some % index?.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE t (x)")
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CREATE \xf3ABLE"))
    with closing(opening(path)) as db, pytest.raises(sqlite3.DatabaseError, match=r'near "\\xf3ABLE"') as caught:  # type: ignore[operator]
        db.execute("SELECT * FROM t")
    assert caught.value.sqlite_errorcode == sqlite3.SQLITE_CORRUPT
