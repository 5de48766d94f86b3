"""`run --sandbox`: bounds that a script cannot escape, held by a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmspellfs.cli.sandbox import _awaited


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    status: int
    out: str
    err: str


Sandbox = Callable[..., Ended]


@pytest.fixture
def sandbox(child: Any) -> Sandbox:
    """Run code in a sandbox, as a shell would."""

    def run_it(code: str, *options: str, stdin: bytes | None = None) -> Ended:
        words = ["run", "--sandbox", *options, *(["-"] if stdin is not None else ["-e", code])]
        process = child(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(stdin, timeout=100)
        return Ended(process.returncode, out.decode(), err.decode())

    return run_it


@pytest.mark.parametrize(
    "code",
    [
        "while true do pcall(function() while true do end end) end",
        "local f f = function() while true do pcall(coroutine.wrap(f)) end end f()",
        "('a'):rep(1e5):find(('a?'):rep(50) .. ('a'):rep(1e5) .. 'b')",
        "setmetatable({}, {__gc = function() while true do end end}) while true do local t = {} end",
        "local t = setmetatable({}, {__close = function() while true do end end}) local c <close> = t os.exit(0)",
        "while true do pcall(Tool.execute, 'text-manipulator', {}) end",
    ],
)
def test_what_never_ends_is_killed(sandbox: Sandbox, code: str) -> None:
    ended = sandbox(code, "--timeout", "0.5")
    assert (ended.status, ended.err) == (124, "llmspellfs: the script was ended after 0.5 s (--timeout)\n")


@pytest.mark.parametrize(
    "code",
    [
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 3e3 do t[i] = ('x'):rep(1e4) end while true do t[1] = table.concat(t) t[2] = t[1] end",
    ],
)
def test_what_takes_too_much_memory_fails(sandbox: Sandbox, code: str) -> None:
    ended = sandbox(code, "--memory", "64M")
    assert ended.status == 1
    assert "not enough memory" in ended.err


def test_a_memory_bomb_in_pcall_stays_within_its_bound(sandbox: Sandbox) -> None:
    code = """
    for i = 1, 3 do
      local ok, why = pcall(function() local t = {} while true do t[#t + 1] = ("x"):rep(1e6) .. #t end end)
      print(ok, why)
    end
    """
    assert sandbox(code, "--memory", "32M").out == "false\tnot enough memory\n" * 3


def test_memory_of_the_host_is_bounded_too(sandbox: Sandbox) -> None:
    # Each Lua string is a copy in the host while it is stored or converted.
    code = """
    local big = ("x"):rep(50e6)
    local t = {}
    for i = 1, 40 do t[i] = big end
    print(pcall(JSON.stringify, t))
    print(Tool.execute("json-processor", {operation = "stringify", input = t}).success)
    """
    ended = sandbox(code, "--memory", "64M")
    assert "true" not in ended.out
    assert ended.status in {0, 1, 128 + signal.SIGABRT, 128 + signal.SIGSEGV}, ended


def test_content_that_comes_in_at_the_bound_fails_and_the_script_still_ends(q4: str, sandbox: Sandbox) -> None:
    code = """
    local big = ("x"):rep(10e6)
    Artifact.store("", "tool_result", "big", big)
    local kept, failed = {}, false
    for i = 1, 20 do
      local ok, found = pcall(Artifact.get, "", "big")
      if ok then kept[i] = found else failed = true kept = {} collectgarbage() end
    end
    print(failed, #Artifact.getContent("", "big", 5, 7))
    """
    ended = sandbox(code, "--session", "q4", "--memory", "32M", "--timeout", "40")
    assert ended in {Ended(0, "true\t7\n", ""), Ended(1, "", "llmspellfs: not enough memory\n")}
    assert sandbox("print(1) print(#('x'):rep(3e4))", "--memory", "100k").out == "1\n30000\n"
    large = "Artifact.store('', 'x', 'huge', ('x'):rep(4e6)) print(pcall(Artifact.get, '', 'huge'))"
    assert sandbox(large, "--session", "q4", "--memory", "8M").status == 0
    said = sandbox("print(pcall(Artifact.get, '', 'huge'))", "--session", "q4", "--memory", "1M").out
    assert said == "false\t(-e):1: not enough memory\n"


def test_what_was_committed_stays_and_the_store_is_whole(cli: Any, q4: str, sandbox: Sandbox) -> None:
    code = "for i = 1, 1e9 do Artifact.store('', 'tool_result', 'a' .. i, ('x'):rep(2e5) .. i) end"
    assert sandbox(code, "--session", "q4", "--timeout", "4").status == 124
    with cli.open() as store:
        kept = [one for one in store.artifacts.list("q4") if not one.name.startswith(".runs/")]
        assert kept
        assert {len(store.artifacts.read(one)) for one in kept} <= {200_001 + more for more in range(4)}
        assert store.upkeep.fsck().problems == ()


def test_only_the_session_that_is_given_can_be_touched(cli: Any, q4: str, sandbox: Sandbox) -> None:
    cli.ok("session", "create", "other")
    cli.ok("run", "--no-record", "-e", "Artifact.store('other', 'tool_result', 'a.txt', 'hidden')")
    code = """
    Artifact.store("", "tool_result", "mine", "x")
    print(#Session.list(), (Artifact.get("other", "a.txt")), (pcall(Session.create, {})))
    """
    assert sandbox(code, "--session", "q4").out == "1\tnil\tfalse\n"
    reading = "print(Artifact.get('other', 'a.txt').content, (pcall(Session.delete, 'other')))"
    assert sandbox(reading, "--session", "q4", "--read-only").out == "hidden\tfalse\n"
    assert cli.ok("artifact", "cat", "q4:mine") == "x"


def test_artifacts_are_counted(cli: Any, q4: str, sandbox: Sandbox) -> None:
    code = "for i = 1, 9 do Artifact.store('', 'tool_result', 'a' .. i, 'x') end"
    ended = sandbox(code, "--session", "q4", "--max-artifacts", "3")
    assert ended.status == 1
    assert "max_artifacts = 3" in ended.err
    assert len(cli.json("artifact", "list", "q4")) == 3 + 2  # and the record of the run


def test_a_script_in_a_sandbox_is_otherwise_run_as_any(sandbox: Sandbox, tmp_path: Path) -> None:
    assert sandbox("print('hello')") == Ended(0, "hello\n", "")
    assert sandbox("", stdin=b"print('from', arg[0])") == Ended(0, "from\tstdin\n", "")
    assert sandbox("os.exit(7)").status == 7
    failed = sandbox("local function f() error('no') end f()")
    assert failed.status == 1
    assert failed.err.startswith("llmspellfs: (-e):1: no\nstack traceback:\n")
    assert "Traceback" not in failed.err
    assert sandbox("", "--session", "nobody").err == "llmspellfs: session not found: nobody\n"


def test_a_file_is_run_with_its_arguments(cli: Any, child: Any) -> None:
    Path("s.lua").write_text("#!/usr/bin/env llmspellfs\nprint(arg[0], ...) error('here')")
    process = child("run", "--sandbox", "s.lua", "a", "--x", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert out == b"s.lua\ta\t--x\n"
    assert b"s.lua:2: here" in err
    assert cli.fails("run", "--sandbox", "none.lua") == "none.lua: No such file or directory"


def test_control_c_ends_the_script_and_its_process(child: Any) -> None:
    process = child("run", "--sandbox", "-e", "print('up') while true do pcall(error) end", stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=100) == 130
    assert process.stdout.read() == b""  # nobody holds the pipe any more
    process.stdout.close()


def test_a_script_does_not_outlive_the_command(child: Any) -> None:
    process = child("run", "--sandbox", "-e", "print('up') while true do pcall(error) end", stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"up\n"
    process.kill()
    process.wait()
    os.set_blocking(process.stdout.fileno(), False)
    deadline = time.monotonic() + 100
    while process.stdout.read() is None:  # the pipe is open
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.stdout.close()


def test_bounds_without_a_sandbox_are_bad_usage(cli: Any) -> None:
    assert cli.fails("run", "--timeout", "1", "-e", "", status=2).startswith("run: --timeout needs --sandbox")
    assert cli.fails("run", "--read-only", "-e", "", status=2).startswith("run: --read-only needs --sandbox")
    assert "a size such as" in cli.fails("run", "--sandbox", "--memory", "much", "-e", "", status=2)


class Interrupted:
    """A lock that is taken, and right then a signal comes."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock

    def acquire(self, blocking: bool = True) -> bool:
        self.lock.acquire(blocking)
        raise KeyboardInterrupt

    def __getattr__(self, name: str) -> object:
        return getattr(self.lock, name)

    def __enter__(self) -> object:
        return self.lock.__enter__()

    def __exit__(self, *what: object) -> None:
        self.lock.__exit__(*what)


def test_a_child_can_be_waited_for_whenever_a_signal_came_before() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    process._waitpid_lock = Interrupted(process._waitpid_lock)  # type: ignore[attr-defined]
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            _awaited(process, 0.1)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        assert _awaited(process, 60) == -signal.SIGKILL
