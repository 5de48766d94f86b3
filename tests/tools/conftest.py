"""A package of tools, installed by pip."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from textwrap import dedent

import pytest

PACKAGE = {
    "word_tools-1.dist-info/METADATA": """
        Metadata-Version: 2.1
        Name: word-tools
        Version: 1
    """,
    "word_tools-1.dist-info/WHEEL": """
        Wheel-Version: 1.0
        Generator: hand
        Root-Is-Purelib: true
        Tag: py3-none-any
    """,
    "word_tools-1.dist-info/entry_points.txt": """
        [llmspellfs.tools]
        word-counter = word_tools:COUNTER
        endless = word_tools:ENDLESS
        odd = word_tools:ODD
        no-tool = word_tools:count
        not-there = word_tools:NOTHING
        broken = word_tools_broken:TOOL
        compression = word_tools:COUNTER
    """,
    "word_tools-1.dist-info/RECORD": "",
    "word_tools.py": """
        import os

        from llmspellfs.tools import InvalidValue, Parameter, Tool

        def count(*, text, longest):
            if text == "raise":
                raise RuntimeError("two\\nlines")
            if text == "exit":
                raise SystemExit(3)
            if text == "refuse":
                raise InvalidValue("text", "expected something else")
            words = text.split()
            return {"words": len(words), "long": sum(len(word) > longest for word in words)}

        def endless(*, operation):
            while operation == "wait":
                pass
            os.write(1, b"this is no answer\\n")
            assert os.read(0, 100) == b""
            return operation

        def odd():
            return [object()]

        COUNTER = Tool("count words", count, (
            Parameter("text", "string", "the text", required=True),
            Parameter("longest", "integer", "letters", default=8, minimum=0),
        ))
        ENDLESS = Tool("wait", endless, (Parameter("operation", "string", "wait, or return"),),
                       isolated=frozenset({"wait", "return"}))
        ODD = Tool("give what has no form", odd)
    """,
    "word_tools_broken.py": """
        raise RuntimeError("broken at import")
    """,
}


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with tools, installed by pip into a folder of its own."""
    wheel, target = tmp_path_factory.mktemp("wheel") / "word_tools-1-py3-none-any.whl", tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in PACKAGE.items():
            archive.writestr(name, dedent(text).lstrip())
    words = ["install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel]
    subprocess.run([sys.executable, "-m", "pip", *map(str, words)], check=True, capture_output=True, timeout=120)
    return target


@pytest.fixture
def site(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(installed))
    for name in ("word_tools", "word_tools_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return installed
