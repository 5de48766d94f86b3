"""Limits and quotas as scripts meet them: an error that names the key, and nothing stored."""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.lua.runtime import Script

DOORS = {
    "store": 'Artifact.store(s, "user_input", "x", data)',
    "storeMany": 'Artifact.storeMany(s, {{name = "x", content = data}})',
    "storeFile": "Artifact.storeFile(s, path)",
}


@pytest.fixture
def limited(request: pytest.FixtureRequest) -> Iterator[Store]:
    with open_store(backend="memory", config=Config(**request.param)) as store:
        yield store
        assert store.upkeep.fsck().ok


def said(store: Store, code: str) -> str:
    out = BytesIO()
    Script(store, stdout=out).run_code(code)
    return out.getvalue().decode()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("limited", "key"),
    [
        ({"max_artifacts_per_session": 1}, "max_artifacts_per_session = 1"),
        ({"max_artifact_size": 100_000}, "max_artifact_size = 100000"),
        ({"session_quota": 100_000}, "session_quota = 100000"),
        ({"storage_quota": 100_000}, "storage_quota = 100000"),
    ],
    indirect=["limited"],
)
def test_every_way_to_store_is_refused_with_the_key(limited: Store, door: str, key: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(120_000))
    code = f"""
        local s = Session.create({{name = "s"}})
        Artifact.store(s, "user_input", "first", "1")
        local path = "{path}"
        local data = io.open(path, "rb"):read("a")
        local ok, why = pcall(function() return {DOORS[door]} end)
        print(ok, why)
        print(#Artifact.list(s))
    """
    refused, count = said(limited, code).splitlines()
    assert refused.startswith("false")
    assert key in refused
    assert count == "1"


@pytest.mark.parametrize("limited", [{"max_sessions": 2}], indirect=True)
def test_a_session_too_many_is_refused_at_every_way_to_make_one(limited: Store) -> None:
    code = """
        local a = Session.create({name = "a"})
        local gone = Session.create({name = "gone"})
        Session.delete(gone)
        Session.create({name = "b"})
        for _, make in ipairs({
            function() return Session.create({name = "c"}) end,
            function() return Session.createMany({{name = "c"}}) end,
            function() return Session.fork(a, "c") end,
            function() return Session.restore(gone) end,
        }) do print(pcall(make)) end
        print(#Session.list())
    """
    *refused, count = said(limited, code).splitlines()
    assert len(refused) == 4
    assert all("max_sessions = 2" in line for line in refused), refused
    assert count == "2"


def test_a_script_at_work_keeps_its_sessions_from_being_suspended(tmp_path: Path) -> None:
    clock = [10**18]
    config = Config(session_timeout_seconds=60)
    with open_store(tmp_path / "s", config=config, now=lambda: clock[0]) as store:
        for name in ("current", "other", "idle"):
            store.sessions.create(name)
        suspended: list[list[str]] = []

        def meanwhile() -> int:
            clock[0] += 3600 * 10**9
            with open_store(tmp_path / "s", config=config, now=lambda: clock[0]) as another:
                suspended.append([session.name for session in another.timed_out])
            return 0

        from unittest.mock import patch

        code = 'Session.setCurrent("other"); local made = Session.create({name = "made"}); print(Artifact.list(made))'
        with patch("llmspellfs.lua.artifacts.ArtifactFunctions._list", lambda *_: meanwhile()):
            Script(store, session="current", stdout=BytesIO()).run_code(code)
        assert suspended == [["idle"]]
        assert sorted(session.name for session in store.sessions.suspend_idle()) == ["current", "made", "other"]
