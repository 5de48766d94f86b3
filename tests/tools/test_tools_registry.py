from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

import llmspellfs.tools
from llmspellfs.errors import InvalidValue, NotFound
from llmspellfs.tools import Outcome, Parameter, Registry, Tool
from llmspellfs.tools.worker import Worker

OWN = [
    "base64-encoder", "calculator", "compression", "csv-analyzer", "date-time-handler", "diff-calculator",
    "hash-calculator", "json-processor", "template-engine", "text-manipulator", "uuid-generator",
]  # fmt: skip


def test_each_tool_of_this_room_describes_itself() -> None:
    registry = Registry(installed=False)
    assert registry.names() == OWN
    for name in OWN:
        tool = registry.get(name)
        assert tool.description
        assert tool.parameters
        assert len({parameter.name for parameter in tool.parameters}) == len(tool.parameters)
        for parameter in tool.parameters:
            assert parameter.description
            assert parameter.default is None or parameter.check(parameter.default) == parameter.default
            assert not (parameter.required and parameter.default is not None)


@pytest.mark.parametrize("name", OWN)
def test_every_wrong_parameter_is_a_failure_that_names_it(name: str) -> None:
    registry = Registry(installed=False)
    tool = registry.get(name)
    good = {one.name: _sample(one) for one in tool.parameters if one.required}
    for parameter in tool.parameters:
        if parameter.type == "any":
            continue
        wrong: object = 7 if parameter.type not in {"integer", "number"} else "seven"
        outcome = registry.execute(name, {**good, parameter.name: wrong})
        assert not outcome.success
        assert outcome.error is not None
        assert outcome.error.startswith(f"{parameter.name}: expected "), outcome.error
        assert outcome.error.endswith("not 7" if wrong == 7 else "not 'seven'")
    for missing in good:
        outcome = registry.execute(name, {key: value for key, value in good.items() if key != missing})
        assert outcome.error is not None
        assert outcome.error.startswith(f"{missing}: expected ")
        assert outcome.error.endswith("not nothing")
    unknown = registry.execute(name, {**good, "inptu": 1}).error
    assert unknown is not None
    assert unknown.startswith("inptu: unknown parameter; expected one of ")


def _sample(parameter: Parameter) -> object:
    return parameter.choices[0] if parameter.choices else {"integer": 1, "object": {}}.get(parameter.type, "1")


def test_an_unknown_tool_is_a_failure_and_not_an_error() -> None:
    registry = Registry(installed=False)
    assert registry.execute("nix", {}) == Outcome(success=False, error="tool not found: nix")
    assert not registry.exists("nix")
    with pytest.raises(NotFound):
        registry.get("nix")


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        (Parameter("n", "integer", "", minimum=1, maximum=3), 4, "n: expected 1 to 3, not 4"),
        (Parameter("n", "integer", "", minimum=1), 0, "n: expected 1 or more, not 0"),
        (Parameter("n", "integer", "", maximum=1), 2, "n: expected 1 at most, not 2"),
        (Parameter("n", "integer", ""), 1.5, "n: expected a whole number, not 1.5"),
        (Parameter("n", "integer", ""), True, "n: expected a whole number, not true"),
        (Parameter("n", "number", ""), float("nan"), "n: expected a number, not nan"),
        (Parameter("n", "string", ""), b"\xff", "n: expected a string, not one that is not UTF-8"),
        (Parameter("n", "string", "", choices=("a", "b")), b"c", "n: expected one of a, b, not 'c'"),
        (Parameter("n", "array", ""), {"a": 1}, "n: expected a list, not a table"),
        (Parameter("n", "object", ""), None, "n: expected a table with names, not null"),
    ],
)
def test_what_a_parameter_does_not_take(parameter: Parameter, value: object, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parameter.check(value)
    assert caught.value.message == message


def test_what_a_parameter_takes() -> None:
    assert Parameter("n", "integer", "").check(2.0) == 2
    assert Parameter("n", "bytes", "").check("é") == "é".encode()
    assert Parameter("n", "array", "").check({}) == []
    assert Parameter("n", "object", "").check([]) == {}
    assert Parameter("n", "any", "").check(b"x") == "x"


def test_an_installed_package_adds_tools(site: Path) -> None:
    registry = Registry()
    assert {"word-counter", "broken", *OWN} <= set(registry.names())
    assert registry.exists("word-counter")
    outcome = registry.execute("word-counter", {"text": b"a longer sentence", "longest": 6})
    assert outcome == Outcome(success=True, result={"words": 3, "long": 1})
    assert registry.execute("word-counter", {}).error == "text: expected a string, not nothing"
    assert registry.get("compression").description != "count words"


def test_installed_tools_are_left_alone_where_asked(site: Path) -> None:
    registry = Registry(installed=False)
    assert registry.names() == OWN
    assert not registry.exists("word-counter")


def test_a_broken_package_harms_only_its_own_tools(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "damaged-1.dist-info"
    damaged.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    (damaged / "entry_points.txt").write_bytes(b"[llmspellfs.tools\n\xff = = broken")
    registry = Registry()
    assert "word-counter" in registry.names()
    for name, why in {
        "broken": "cannot be loaded from word_tools_broken:TOOL: RuntimeError: broken at import",
        "not-there": "cannot be loaded from word_tools:NOTHING: AttributeError",
        "no-tool": "word_tools:count is a function, not a Tool",
    }.items():
        error = registry.execute(name, {}).error
        assert error is not None
        assert why in error
        assert registry.exists(name)


def test_whatever_an_installed_tool_raises_is_its_failure(site: Path) -> None:
    registry = Registry()
    for text, error in {
        "raise": "RuntimeError: two\\nlines",
        "exit": "SystemExit: 3",
        "refuse": "text: expected something else",
    }.items():
        assert registry.execute("word-counter", {"text": text}) == Outcome(success=False, error=error)


def test_an_installed_tool_can_ask_for_the_child_process(site: Path) -> None:
    registry = Registry(seconds=5)  # in which each new child looks for packages
    assert registry.execute("endless", {"operation": "return"}).result == "return"
    assert registry.execute("endless", {"operation": "wait"}).error == "took more than 5 s"
    assert registry.execute("endless", {"operation": "return"}).success


def test_where_packages_are_left_alone_the_child_process_does_so_too(site: Path) -> None:
    call = ("endless", {"operation": "return"})
    assert Worker().call(*call).result == "return"
    assert Worker(installed=False).call(*call) == Outcome(success=False, error="tool not found: endless")


def test_a_tool_without_parameters_says_so() -> None:
    with pytest.raises(InvalidValue, match="x: unknown parameter; it takes none"):
        Tool("nothing", dict).arguments({"x": 1})


def test_the_documented_example_is_a_tool() -> None:
    text = str(llmspellfs.tools.__doc__).partition("# word_counter.py\n")[2].partition("\nThe function gets")[0]
    scope: dict[str, object] = {}
    exec(dedent(text), scope)
    tool = scope["TOOL"]
    assert isinstance(tool, Tool)
    arguments = tool.arguments({"text": b"one extraordinary word"})
    assert tool.function(**arguments) == {"words": 3, "long": 1}
