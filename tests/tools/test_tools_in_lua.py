from __future__ import annotations

from io import BytesIO
from pathlib import Path

from llmspellfs import open_store
from llmspellfs.lua.runtime import Script


def test_a_script_runs_the_tools_of_an_installed_package(site: Path) -> None:
    printed = BytesIO()
    with open_store(backend="memory") as store:
        Script(store, stdout=printed).run_code("""
        local names = table.concat(Tool.list(), " ")
        print(names:find("word-counter", 1, true) ~= nil, names:find("broken", 1, true) ~= nil)
        print(Tool.execute("word-counter", {text = "one two"}).result.words)
        print(Tool.execute("odd").error)
        print(Tool.get("word-counter").parameters.longest.default, Tool.get("odd").description)
        print(Tool.get("broken"))
        print(Tool.execute("broken").success, Tool.exists("broken"))
        """)
    assert printed.getvalue().decode().splitlines() == [
        "true\ttrue",
        "2",
        "value: object has no form in Lua",
        "8\tgive what has no form",
        "nil\ttool broken: cannot be loaded from word_tools_broken:TOOL: RuntimeError: broken at import",
        "false\ttrue",
    ]
