from __future__ import annotations

import io
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from llmspellfs.lua.runtime import Script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmspellfs import Store

    Run = Callable[..., str]


def test_print_and_io_write_come_out_in_order(run: Run) -> None:
    assert (
        run("""
    print(1, 2.0, nil, "x")
    io.write("a", 1, 2.5, "\\n")
    io.stdout:write("b"):write("c\\n")
    print(setmetatable({}, {__tostring = function() return "shown" end}))
    """)
        == "1\t2.0\tnil\tx\na12.5\nbc\nshown\n"
    )


def test_binary_output_passes_as_it_is(spell_store: Store) -> None:
    stream = io.BytesIO()
    Script(spell_store, stdout=stream).run_code(r'io.write("\xff\0")')
    assert stream.getvalue() == b"\xff\0"


def test_a_stream_of_text_serves_too(spell_store: Store) -> None:
    stream = io.StringIO()
    Script(spell_store, stdout=stream).run_code(r'print("é\xff")')
    assert stream.getvalue() == "é\\xff\n"


def test_io_output_can_be_a_file_and_come_back(run: Run, tmp_path: Path) -> None:
    assert (
        run(f"""
    io.output("{tmp_path}/out") io.write("to the file") io.close() io.output(io.stdout) io.write("back")
    assert(io.output() == io.stdout and io.type(io.stdout) == "file" and tostring(io.stdout):match("^file"))
    """)
        == "back"
    )
    assert (tmp_path / "out").read_text() == "to the file"


def test_errors_of_lua_s_own_files_have_the_scripts_line(fails: Run) -> None:
    assert fails("\nio.output('/no/such/file')").startswith("t.lua:2: ")
    assert fails("\nio.close(5)").startswith("t.lua:2: ")


def test_write_refuses_what_lua_refuses(fails: Run) -> None:
    assert fails("\nio.write({})") == "t.lua:2: bad argument #1 to 'write' (string expected, got table)"
    assert fails("\nio.stdout:write(nil)") == "t.lua:2: bad argument #1 to 'write' (string expected, got nil)"


PROGRAM = """
import sys
from llmspellfs import open_store
from llmspellfs.lua.runtime import Script

with open_store(backend="memory") as store:
    try:
        print("python")
        sys.exit(Script(store).run_code(sys.argv[1]))
    except BrokenPipeError:
        sys.stderr.write("broken pipe")
        sys.stdout = None
"""


def test_what_a_child_prints_comes_between(spell_store: Store) -> None:
    code = 'print("before") os.execute("echo child") print("after")'
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"{code} os.exit(3)"], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["python", "before", "child", "after"]
    assert done.returncode == 3


def test_a_reader_that_has_gone_ends_the_script() -> None:
    command = [sys.executable, "-c", PROGRAM, "while true do pcall(print, 'x') end"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b"broken pipe"


@pytest.mark.parametrize("args", [[], ["a", "ü b"]])
def test_arguments_are_in_arg_and_in_the_dots(run: Run, args: list[str]) -> None:
    assert run("print(arg[0], #arg, ...)", args=args) == "\t".join(["t.lua", str(len(args)), *args]) + "\n"


def test_a_child_says_how_it_ended(run: Run) -> None:
    code = 'print(os.execute("exit 3")) print(os.execute("kill -9 $$")) print(os.execute("true")) print(os.execute())'
    assert run(code) == "nil\texit\t3\nnil\tsignal\t9\ntrue\texit\t0\ntrue\n"
