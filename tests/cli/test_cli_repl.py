"""`llmspellfs repl`: from a pipe, and as a person has it, on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import stat
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from prompt_toolkit.document import Document

from llmspellfs import Store, open_store
from llmspellfs.cli.prompt import MOST_KEPT, Names, Typed, sessions
from llmspellfs.lua.console import Console
from llmspellfs.service import interrupts
from llmspellfs.service.creation import NewSession

_ESCAPES = re.compile(rb"\x1b(\[[0-9;?]*[ -/]*[@-~]|[=>])")
DROPPED = r"ignore:[\s\S]*\._Interrupt\b:pytest.PytestUnraisableExceptionWarning"
"""Python says so of an interrupt that it has dropped, and that is raised again."""


# From a pipe


def test_expressions_print_their_values_and_globals_stay(cli: Any) -> None:
    typed = "x = 20\nx + 1\n= x, 'text'\nprint(x)\nnil\n"
    assert cli.ok("repl", stdin=typed) == "21\n20\ntext\n20\nnil\n"


def test_statements_of_several_lines_run_when_they_are_whole(cli: Any) -> None:
    typed = "for i = 1, 2 do\n  print(i)\nend\nlocal text = [[a\nb]]\ntext\n"
    more = "local function twice(n)\n return 2 * n end\ntwice(4)\n"
    assert cli.ok("repl", stdin=typed + more) == "1\n2\na\nb\n8\n"


def test_expressions_of_several_lines_run_when_they_are_whole(cli: Any) -> None:
    assert cli.ok("repl", stdin="= {\n1}\n{\n2\n}\n1 +\n2\n#{\n4}\n= [[\na\n]]\n") == "{ 1 }\n{ 2 }\n3\n1\na\n\n"


@pytest.mark.parametrize("odd", ["", "-- if (", "text = '{ do'", "text = [[ (( ]]", "--[[ {\n ]]"])
def test_long_pieces_run_when_they_are_whole(cli: Any, odd: str) -> None:
    rows = "".join(f"  {{{number}}},\n" for number in range(200))
    body = f"{odd}\n" * 120
    typed = f"t = {{\n{rows}}}\n#t\nfunction f()\n{body}  return 7\nend\nf()\n#t\nx = = {{\n'on'\n"
    result = cli("repl", stdin=typed)
    assert (result.exit_code, result.stdout) == (1, "200\n7\n200\non\n")


def test_comments_and_what_is_for_the_system_print_nothing(cli: Any) -> None:
    assert cli.ok("repl", stdin="\ufeff#!/usr/bin/lua\n-- one\n--[[ two\n]]\n=\n") == ""
    assert cli.ok("repl", stdin="#{1, 2}\n") == "2\n"


def test_constants_stay_as_other_locals_do(cli: Any) -> None:
    assert cli.ok("repl", stdin="local a <const>, b = 5, 6\na + b\n") == "11\n"


def test_what_is_written_without_a_line_end_stays_so_in_a_pipe(cli: Any) -> None:
    assert cli.ok("repl", stdin="io.write('a')\nio.write('b', 1)\n") == "ab1"


def test_no_standard_input_is_an_empty_one(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    words = [sys.executable, "-m", "llmspellfs", "--store", str(cli.path), "repl"]
    done = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *words], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_an_error_of_a_call_alone_names_its_line(cli: Any) -> None:
    result = cli("repl", stdin="\nSession.save('nobody')\n")
    assert "llmspellfs: stdin:2: session not found: nobody\n" in result.stderr
    assert "stdin:2: in main chunk" in result.stderr


def test_an_error_is_told_and_the_next_line_goes_on(cli: Any) -> None:
    result = cli("repl", stdin="kept = 1\nlocal function f() error('no') end f()\nx x\nSession.save('nobody')\nkept\n")
    assert result.exit_code == 1
    assert result.stdout == "1\n"
    assert "llmspellfs: stdin:2: no\nstack traceback:\n" in result.stderr
    assert "syntax error near 'x'" in result.stderr
    assert "session not found: nobody" in result.stderr
    assert not any(word in result.stderr for word in ("Traceback", ".py", "[llmspellfs]"))


def test_what_is_not_whole_at_the_end_is_an_error(cli: Any) -> None:
    result = cli("repl", stdin="for i = 1, 2 do\n")
    assert result.exit_code == 1
    assert "'end' expected" in result.stderr


def test_os_exit_ends_with_its_status(cli: Any) -> None:
    result = cli("repl", stdin="print(1)\nos.exit(3)\nprint(2)\n")
    assert (result.exit_code, result.stdout) == (3, "1\n")


def test_it_works_on_the_store_with_a_current_session(cli: Any, q4: str) -> None:
    assert cli.ok("repl", "--session", "q4", stdin="Session.getCurrent()\n") == f"{q4}\n"
    cli.ok("repl", "--session", "q4", stdin="Artifact.store('', 'tool_result', 'a.txt', 'typed')\n")
    assert cli.ok("artifact", "cat", "q4:a.txt") == "typed"


# The console


@pytest.fixture
def store() -> Iterator[Store]:
    with open_store(backend="memory") as opened:
        yield opened


@pytest.fixture
def shown(store: Store) -> Callable[[str], str]:
    """Run one piece of code in a console and return what it prints."""

    def run_it(code: str) -> str:
        stream = BytesIO()
        Console(store, stdout=stream).run(code)
        return stream.getvalue().decode()

    return run_it


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("{}", "{}"),
        ("{1, 'two', {3}, k = true}", '{ 1, "two", { 3 }, k = true }'),
        ("{['not a name'] = 1, ['end'] = 2, [10] = 'x', [true] = 0}",
         '{ [10] = "x", ["end"] = 2, ["not a name"] = 1, [true] = 0 }'),
        ("JSON.parse('{\"a\": null, \"b\": []}')", "{ a = null, b = {} }"),
        ("'a\\nb'", "a\nb"),
        ("{'a\\nb\\27'}", '{ "a\\nb\\27" }'),
        ("'\\27[2J\\200\\u{202e}ä\\133'", r"\x1b[2J\xc8\u{202e}ä\x85"),
        ("{'\\27[2J\\200\\u{202e}ä', ['\\7'] = 1}", r'{ "\27[2J\xc8\u{202e}ä", ["\7"] = 1 }'),
        ("setmetatable({}, {__tostring = function() return '\\27[2J' end})", r"\x1b[2J"),
        ("0/0, {0/0, -(0/0), 1/0}", "nan\n{ nan, nan, inf }"),
        ("nil, nil", "nil\nnil"),
        ("(function() local t = {} t.t = t return t end)()", "{ t = <above> }"),
        ("{{{{{{{{}}}}}}}, {}}", "{ { { { { { { … } } } } } }, {} }"),
        ("setmetatable({}, {__tostring = function() return 'mine' end})", "mine"),
        ("{setmetatable({}, {__index = function() error('called') end})}", "{ {} }"),
    ],
)  # fmt: skip
def test_values_are_shown_as_people_read_them(shown: Callable[[str], str], code: str, text: str) -> None:
    assert shown(code) == text + "\n"


def test_long_tables_are_shown_on_lines_of_their_own(shown: Callable[[str], str]) -> None:
    lines = shown("{name = ('x'):rep(70), list = {1, 2}}").splitlines()
    assert lines == ["{", "  list = { 1, 2 },", f'  name = "{"x" * 70}"', "}"]
    assert shown("(function() local t = {} for i = 1, 300 do t[i] = i end return t end)()").endswith("100 more\n}\n")


def test_what_is_huge_is_cut(shown: Callable[[str], str]) -> None:
    assert shown("{('ä'):rep(600)}") == f'{{\n  "{"ä" * 500}"… (1200 bytes)\n}}\n'
    wide = "local t = {} for i = 1, 150 do t[i] = {} for j = 1, 150 do t[i][j] = {j} end end return t"
    assert len(shown(f"(function() {wide} end)()")) < 100_000
    assert shown("('x'):rep(5000)") == "x" * 5000 + "\n"


def test_a_result_of_a_replaced_print_is_shown_still(shown: Callable[[str], str]) -> None:
    assert shown("(function() print, tostring, type = nil, nil, nil return {1} end)()") == "{ 1 }\n"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("Session.getCu", ["getCurrent"]),
        ("Session.get_t", ["get_tags", "get_timeline"]),
        ("Sess", ["Session"]),
        ("whi", ["while"]),
        ("own.in", ["inherited", "inner"]),
        ("own.inner.d", ["deep"]),
        ("text:up", ["upper"]),
        ("nothing.x", []),
        ("own.inner.deep.x", []),
        ("never.x", []),
    ],
)
def test_names_are_completed_and_nothing_is_called_for_it(store: Store, path: str, names: list[str]) -> None:
    console = Console(store)
    console.run("own = setmetatable({inner = {deep = 1}, ['in x'] = 0}, {__index = {inherited = 1}}) text = 'x'")
    console.run("string = nil")
    console.run("never = setmetatable({}, {__index = function() os.exit(1) end})")
    assert console.names(path) == names


def test_sessions_are_completed_by_name_and_id(store: Store) -> None:
    first, second = store.sessions.create("alpha"), store.sessions.create("alps")
    assert [ref for ref, _ in sessions(store, "alp")] == ["alpha", "alps"]
    assert [ref for ref, _ in sessions(store, first.id[:6])] == [first.id]
    assert [ref for ref, _ in sessions(store, second.id[:3])] == []
    assert [ref for ref, _ in sessions(store, "")] == ["alps", "alpha"]


def test_among_many_sessions_an_old_one_is_completed_too(store: Store) -> None:
    store.sessions.create_many([NewSession(f"run-{number:04}") for number in range(1500)])
    assert [ref for ref, _ in sessions(store, "run-0001")] == ["run-0001"]
    assert len(list(sessions(store, "run-"))) == len(list(sessions(store, ""))) == 100


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("Session.get('it", ['it\\\'s "one"']),
        ('Session.get("it', ['it\'s \\"one\\"']),
        (r"print('it\'s', 'it", ['it\\\'s "one"']),
        ("x['a'], y['b'] = 'c', Sessi", ["Session"]),
        ("'a'..Sessi", ["Session"]),
        ("f().Sessi", []),
        ("t[1].Sessi", []),
        ("'\udc80", []),
    ],
)
def test_what_is_completed_is_lua(store: Store, line: str, completed: list[str]) -> None:
    store.sessions.create('it\'s "one"')
    found = Names(Console(store), store).get_completions(Document(line), None)
    assert [one.text for one in found] == completed


@pytest.mark.filterwarnings(DROPPED)
@pytest.mark.parametrize(
    "code",
    [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "coroutine.wrap(function() while true do end end)()",
        "local co = coroutine.create(function() while true do pcall(error) end end) coroutine.resume(co)",
        "while true do Session.list() end",
    ],
)
def test_an_interrupt_stops_what_runs_and_the_console_goes_on(store: Store, code: str) -> None:
    stream = BytesIO()
    console = Console(store, stdout=stream)
    assert is_interrupted(console, code, 0.2)
    console.run("print(#Session.list())")
    assert stream.getvalue() == b"0\n"


def is_interrupted(console: Console, code: str, seconds: float) -> bool:
    """Run *code* and interrupt it after *seconds*; tell whether that ended it, within half a minute."""
    late = threading.Event()

    def end() -> None:
        late.set()
        os.kill(os.getpid(), signal.SIGINT)

    guard = threading.Timer(30, end)
    guard.start()
    try:
        with interrupts.heard():
            signal.setitimer(signal.ITIMER_REAL, seconds)
            console.run(code)
    except KeyboardInterrupt:
        return not late.is_set()
    finally:
        guard.cancel()
    return False


@pytest.mark.filterwarnings(DROPPED)
def test_an_interrupt_leaves_no_lock_behind(tmp_path: Any) -> None:
    with open_store(tmp_path / "store", busy_seconds=2) as store:
        console = Console(store, session=store.sessions.create("x").id)
        for number in range(120):
            code = f"while true do Session.save('') State.set('k', {number}) Artifact.list('') end"
            assert is_interrupted(console, code, 0.004 + number % 40 / 2000)
        console.run("Artifact.store('', 'tool_result', 'a', 'b')")


def test_an_alarm_that_comes_while_the_block_ends_is_nobody_s() -> None:
    plain, before = signal.setitimer, signal.getsignal(signal.SIGALRM)

    def followed(*given: Any) -> None:
        plain(*given)
        signal.raise_signal(signal.SIGALRM)

    with pytest.MonkeyPatch.context() as patch, interrupts.heard():
        patch.setattr(signal, "setitimer", followed)
    assert signal.getsignal(signal.SIGALRM) is before
    left = signal.getitimer(signal.ITIMER_REAL)[0]
    assert left == 0 or left > interrupts._SOON_SECONDS


def test_coroutines_are_lua_s_otherwise(shown: Callable[[str], str]) -> None:
    code = """
    local gen = coroutine.wrap(function(a) local b = coroutine.yield(a + 1) return b, nil, 3 end)
    print(gen(1)) print(select("#", gen(2))) print(pcall(gen))
    print(pcall(coroutine.wrap(function() error("x", 0) end)))
    """
    assert shown(code).splitlines() == ["2", "3", "false\tcannot resume dead coroutine", "false\tx"]


# A terminal


class Terminal:
    """A console on a terminal of its own."""

    def __init__(self, child: Any) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 40, 100, 0, 0))
        self.process = child("repl", stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self._seen = b""

    def type(self, text: str) -> None:
        """Type *text* at the next prompt."""
        self.expect(">")
        self.add(text)

    def add(self, text: str) -> None:
        """Type *text* now."""
        os.write(self._master, text.encode())

    def expect(self, text: str) -> str:
        """Wait for *text* after what was expected before, and return what came until then."""
        deadline = time.monotonic() + 120
        while (place := self._plain().find(text)) < 0:
            assert time.monotonic() < deadline, (text, self._plain())
            if select.select([self._master], [], [], 1)[0]:
                self._seen += self._read()
        before = self._plain()[:place]
        self._seen = self._plain()[place + len(text) :].encode()
        return before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def _read(self) -> bytes:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other end is closed
            pytest.fail(f"the terminal is closed: {self._seen!r}")
        if b"\x1b[6n" in data:
            os.write(self._master, b"\x1b[1;1R")  # where the cursor is, since it asks
        return data

    def _plain(self) -> str:
        return _ESCAPES.sub(b"", self._seen).decode("utf-8", "replace")


@pytest.fixture(autouse=True)
def _a_usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture
def terminal(child: Any) -> Iterator[Terminal]:
    opened = Terminal(child)
    try:
        opened.expect("ends.\r\n")
        yield opened
    finally:
        opened.close()


def test_a_person_types_completes_interrupts_and_ends(cli: Any, q4: str, terminal: Terminal, tmp_path: Any) -> None:
    terminal.type("6 * 7\r")
    terminal.expect("42\r\n")
    terminal.type("Session.getTi\t")
    terminal.expect("meline")  # only what is new is painted
    terminal.add("('q\t")
    terminal.expect("4")
    terminal.add("')[1].kind .. '!'\r")
    terminal.expect("session.created!\r\n")
    terminal.type("local function f() Session.save('nobody') end f()\r")
    terminal.expect("llmspellfs: stdin:1: session not found: nobody\r\nstack traceback:\r\n")
    terminal.type("for i = 7, 8 do\rprint('i' .. i) end\r")
    terminal.expect("i7\r\ni8\r\n")
    terminal.type("io.write('mid' .. 'line')\r")
    terminal.expect("midline\r\n")
    terminal.type("local one = 1\x1b\rlocal two = 2\x1b\r= one + two\r")  # as what is pasted
    terminal.expect("3\r\n")
    terminal.type("#'four'\r")
    terminal.expect("4\r\n")
    terminal.type("half a li\x03")
    terminal.expect("interrupted")
    terminal.type("print('lo' .. 'op') while true do end\r")
    terminal.expect("loop\r\n")
    terminal.process.send_signal(signal.SIGINT)  # as the terminal does once it has no prompt
    terminal.expect("interrupted")
    terminal.type("2 ^ 10\r")
    terminal.expect("1024.0\r\n")
    terminal.type("\x04")
    assert terminal.process.wait(timeout=60) == 0
    history = tmp_path / "xdg-data" / "llmspellfs" / "repl-history"
    assert "+6 * 7\n" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_errors_in_what_is_read_name_its_lines(cli: Any) -> None:
    result = cli("repl", stdin='local a = 1\nlocal t = {\n 1}\nerror("bad")\nlocal b = nil + 1\n')
    assert result.exit_code == 1
    assert [line for line in result.stderr.splitlines() if line.startswith("llmspellfs:")] == [
        "llmspellfs: stdin:4: bad",
        "llmspellfs: stdin:5: attempt to perform arithmetic on a nil value",
    ]


# What was typed before


def test_what_was_typed_comes_back_whole_but_what_begins_with_a_space(tmp_path: Any) -> None:
    path = str(tmp_path / "history")
    for piece in ("for i = 1, 2 do\n\n  print(i)\nend", " secret", "x" * (1 << 17), "# +\n\n# ", "last"):
        Typed(path).store_string(piece)
    assert list(Typed(path).load_history_strings()) == [
        "last", "# +\n\n# ", "for i = 1, 2 do\n\n  print(i)\nend"
    ]  # fmt: skip


def test_what_was_typed_is_bounded_and_its_owner_s_alone(tmp_path: Any) -> None:
    path = tmp_path / "history"
    path.touch(mode=0o644)
    typed = Typed(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for number in range(20):
        typed.store_string(f"{number}\n" + "x" * 60_000)
    assert path.stat().st_size > MOST_KEPT
    kept = [piece.partition("\n")[0] for piece in Typed(str(path)).load_history_strings()]
    assert kept == [str(number) for number in range(19, 11, -1)]
    assert path.stat().st_size < MOST_KEPT
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.unlink()
    path.mkdir()
    typed.store_string("nowhere to keep it")
