"""`llmspellfs run` for the authors of scripts: tracebacks, modules beside the script, output that can be followed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = str(Path(__file__).parents[2])


@pytest.mark.parametrize("more", [(), ("--debug",)])
def test_an_error_shows_the_scripts_line_and_a_lua_traceback(cli: Any, more: tuple[str, ...]) -> None:
    Path("bad.lua").write_text("local function inner(s)\n  Session.suspend(s)\nend\ninner('nobody')\nprint('on')\n")
    result = cli(*more, "run", "bad.lua")
    assert (result.exit_code, result.stdout) == (1, "")
    first, title, *frames = result.stderr.splitlines()
    assert first == "llmspellfs: bad.lua:2: session not found: nobody"
    assert title == "stack traceback:"
    assert any("bad.lua:2: in local 'inner'" in frame for frame in frames)
    assert any("bad.lua:4: in main chunk" in frame for frame in frames)
    assert not any(word in result.stderr for word in ("Traceback", ".py", "[llmspellfs]", "raw_xpcall"))


def test_a_syntax_error_is_one_line(cli: Any) -> None:
    assert cli.fails("run", "-e", "local = 1") == "(-e):1: <name> expected near '='"


def test_an_error_in_a_module_names_its_file(cli: Any) -> None:
    Path("m.lua").write_text("return function()\n  error('here')\nend\n")
    Path("s.lua").write_text("require('m')()")
    assert "m.lua:2: here" in cli("run", "s.lua").stderr.splitlines()[0]


def test_control_characters_in_an_error_are_made_visible(cli: Any) -> None:
    result = cli("run", "-e", "local f = function() error('\\27[2J') end f()")
    assert "\x1b" not in result.stderr


def test_require_finds_modules_beside_the_script(cli: Any, tmp_path: Path) -> None:
    folder = tmp_path / "scripts"
    (folder / "parts" / "deep").mkdir(parents=True)
    (folder / "one.lua").write_text("return 'one'")
    (folder / "parts" / "two.lua").write_text("return 'two'")
    (folder / "parts" / "deep" / "init.lua").write_text("return require('one') .. '+' .. (...)")
    (folder / "main.lua").write_text("print(require('one'), require('parts.two'), (require('parts.deep')))")
    assert cli.ok("run", str(folder / "main.lua")) == "one\ttwo\tone+parts.deep\n"
    Path("one.lua").write_text("return 'of the working folder'")
    assert cli.ok("run", "-e", "print((require('one')))") == "of the working folder\n"
    assert cli.ok("run", str(folder / "main.lua")).startswith("one\t")


def test_arguments_are_in_arg_and_in_dots(cli: Any) -> None:
    Path("a.lua").write_text("print(arg[0], #arg, arg[1], arg[2], select('#', ...), ...)")
    assert cli.ok("run", "a.lua", "x", "") == "a.lua\t2\tx\t\t2\tx\t\n"


@pytest.mark.parametrize(
    ("code", "status"), [("os.exit()", 0), ("os.exit(true)", 0), ("os.exit(false)", 1), ("os.exit(42)", 42)]
)
def test_os_exit_is_the_exit_status(cli: Any, code: str, status: int) -> None:
    assert cli("run", "-e", code).exit_code == status


@pytest.mark.parametrize("say", ["print('first')", "io.write('first\\n')", "io.stdout:write('fi', 'rst', '\\n')"])
def test_a_line_is_in_the_pipe_before_the_script_goes_on(child: Any, say: str) -> None:
    process = child("run", "-e", f"{say} while true do end", stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"first\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=100) == -signal.SIGINT
    process.stdout.close()


def test_a_file_gets_its_lines_in_large_pieces(child: Any, tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as out:
        process = child("run", "-e", "print('x') print('up to here') os.execute('true') print('y')", stdout=out)
        assert process.wait(timeout=100) == 0
    assert (tmp_path / "out").read_bytes() == b"x\nup to here\ny\n"
    assert os.path.getsize(tmp_path / "out") == 15


@pytest.mark.parametrize(("end", "status"), [("", 0), ("os.exit(3)", 3), ("error('x')", 1)])
def test_a_finalizer_at_the_end_harms_nothing(tmp_path: Path, end: str, status: int) -> None:
    code = f"setmetatable({{}}, {{__gc = function() print('late') Session.create({{name = 's'}}) end}}) {end}"
    words = [sys.executable, "-m", "llmspellfs", "--store", str(tmp_path / "s"), "run", "-e", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ROOT})
    assert (done.returncode, done.stdout) == (status, "")


@pytest.mark.parametrize("body", ["while true do end", "while true do Artifact.store(s, nil, 'a', os.tmpname()) end"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_run_that_a_signal_ends_is_finished_in_the_trail(
    cli: Any, child: Any, body: str, number: signal.Signals, status: str
) -> None:
    code = f"local s = Session.create({{name = 's'}}) print('up') {body}"
    process = child("run", "-e", code, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    process.send_signal(number)
    assert process.wait(timeout=100) == -number
    process.stdout.close()
    events = cli.json("session", "events", "s")
    assert (events[-1]["kind"], events[-1]["status"]) == ("run.finished", status)
    record = next(one["name"] for one in cli.json("artifact", "list", "s") if one["name"].endswith(".json"))
    assert json.loads(cli.ok("artifact", "cat", f"s:{record}"))["status"] == status


def test_a_run_that_is_killed_is_unfinished_in_the_timeline(cli: Any, child: Any) -> None:
    process = child("run", "-e", "Session.create({name = 's'}) print('up') while true do end", stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    process.kill()
    process.wait(timeout=100)
    process.stdout.close()
    assert "(-e) (unfinished)" in cli.ok("session", "timeline", "s")
    assert cli.json("session", "timeline", "s")[1]["details"]["status"] == "unfinished"


def test_the_time_of_a_sandbox_ends_a_run_in_the_trail_too(cli: Any, child: Any) -> None:
    code = "Session.create({name = 's'}) while true do pcall(function() while true do end end) end"
    process = child("run", "--sandbox", "--timeout", "4", "-e", code, stderr=subprocess.DEVNULL)
    assert process.wait(timeout=60) == 124
    events = cli.json("session", "events", "s")
    assert (events[-1]["kind"], events[-1]["status"]) == ("run.finished", "timeout")


def test_a_sandbox_that_is_told_to_end_has_its_run_finished(cli: Any, child: Any) -> None:
    code = "Session.create({name = 's'}) print('up') while true do end"
    process = child("run", "--sandbox", "-e", code, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    process.stdout.close()
    assert cli.json("session", "events", "s")[-1]["status"] == "terminated"


def test_a_script_of_any_name_is_recorded(cli: Any) -> None:
    name = os.fsdecode(b"\xff.lua")
    Path(name).write_text("Artifact.store(Session.create({name = 's'}), nil, 'a', arg[1])")
    assert cli.ok("run", name, "x") == ""
    assert cli.json("session", "events", "s")[1]["script"] == "\\udcff.lua"
    (told,) = cli.json("session", "replay", "s", "--mode", "rerun")
    assert told["success"], told
