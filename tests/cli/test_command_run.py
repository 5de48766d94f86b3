"""`llmspellfs run`: which script, with which arguments, and what becomes of its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def test_a_script_gets_its_arguments_even_those_like_options(cli: Any) -> None:
    Path("args.lua").write_text("print(arg[0], ...)")
    assert cli.ok("run", "args.lua", "a", "--json", "-x") == "args.lua\ta\t--json\t-x\n"


def test_code_from_the_command_line_and_from_stdin(cli: Any) -> None:
    assert cli.ok("run", "-e", "print('hello', ...)", "you") == "hello\tyou\n"
    assert cli.ok("run", "-", "you", stdin="print('hello', ...)") == "hello\tyou\n"


def test_a_script_works_on_the_store_and_its_current_session(cli: Any, q4: str) -> None:
    assert cli.ok("run", "--session", "q4", "-e", "print(Session.getCurrent())") == f"{q4}\n"
    cli.ok("run", "--session", "q4", "-e", "Artifact.store('', 'tool_result', 'a.txt', 'from Lua')")
    assert cli.ok("artifact", "cat", "q4:a.txt") == "from Lua"


def test_a_script_may_choose_its_exit_status(cli: Any) -> None:
    assert cli("run", "-e", "os.exit(7)").exit_code == 7


def test_a_script_that_is_not_there_is_one_line(cli: Any) -> None:
    assert cli.fails("run", "none.lua") == "none.lua: No such file or directory"


def test_a_session_that_is_not_there_is_one_line(cli: Any) -> None:
    assert cli.fails("run", "--session", "nobody", "-e", "print(1)") == "session not found: nobody"


def test_a_store_in_memory_lives_as_long_as_the_script(cli: Any, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('[runtime.sessions]\nstorage_backend = "memory"\n')
    code = "Session.create({name = 'x'}); print(#Session.list())"
    assert cli.ok("--config", str(file), "run", "-e", code) == "1\n"
    assert not cli.path.exists()
