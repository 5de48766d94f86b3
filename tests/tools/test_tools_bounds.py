"""What a script's text could make endless or huge, tool by tool: each is a failure, soon, and the next call works."""

from __future__ import annotations

import gc
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmspellfs.tools import Registry, codecs
from llmspellfs.tools.worker import Worker


@pytest.fixture(scope="module")
def quick() -> Iterator[Registry]:
    yield Registry(installed=False, seconds=1)
    gc.collect()


NESTED_LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
DOUBLING = "{% set x = 'aaaaaaaa' %}" + "{% set x = x ~ x %}" * 40
MACROS = "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}"
ISOLATED: list[tuple[str, dict[str, object]]] = [
    ("template-engine", {"template": NESTED_LOOPS}),
    ("template-engine", {"template": DOUBLING}),
    ("template-engine", {"template": MACROS}),
    ("template-engine", {"template": "{{ 'x' * 10 ** 10 }}"}),
    ("template-engine", {"template": "{{ 9 ** (9 ** 9) }}"}),
    ("template-engine", {"template": "{{ '%1000000000d' % 1 }}"}),
    ("template-engine", {"template": "{{ '{:1000000000}'.format(1) }}"}),
    ("template-engine", {"template": "{{ 'x' | center(10 ** 10) }}"}),
    ("template-engine", {"template": "{% for a in range(99999) %}" + "x" * 999 + "{% endfor %}"}),
    ("text-manipulator", {"operation": "match", "input": "a" * 40 + "!", "find": "(a+)+$"}),
    ("text-manipulator", {"operation": "replace_pattern", "input": "a" * 9999, "find": "a", "replacement": "b" * 9999}),
    ("json-processor", {"operation": "query", "input": [1], "query": "|".join(["[@,@]"] * 40) + "|to_string(@)"}),
    ("json-processor", {"operation": "query", "input": [1], "query": "[@,@][][]" + "|[@,@][][]" * 40}),
    ("json-processor", {"operation": "query", "input": [1], "query": "[" * 100_000}),
    ("json-processor", {"operation": "validate", "input": "a" * 40 + "!", "schema": {"pattern": "^(a+)+$"}}),
    ("json-processor", {"operation": "validate", "input": 1, "schema": {"$ref": "#"}}),
    (
        "json-processor",
        {
            "operation": "validate",
            "input": 1,
            "schema": {"$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)}
                       | {"d40": True}, "$ref": "#/$defs/d0"},
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given"), ISOLATED)
def test_what_never_ends_or_grows_is_ended(quick: Registry, name: str, given: dict[str, object]) -> None:
    begun = time.monotonic()
    outcome = quick.execute(name, given)
    assert not outcome.success
    assert outcome.error
    assert time.monotonic() - begun < 60
    # The second is all that a new child has, which on a busy machine may be too little at first; a pattern takes no
    # import that by itself takes as long on a slow one.
    following = {"operation": "match", "input": "xa", "find": "a"}
    assert any(quick.execute("text-manipulator", following).success for _ in range(10))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("calculator", {"expression": "9**9**9"}),
        ("calculator", {"expression": "10**300*10**300"}),
        ("calculator", {"expression": "1<<10**9"}),
        ("calculator", {"expression": "factorial(10**6)"}),
        ("calculator", {"expression": "comb(10**9, 10**8)"}),
        ("calculator", {"expression": "round(5, -10**9)"}),
        ("calculator", {"expression": "pow(9, 9**9)"}),
        ("calculator", {"expression": "(" * 4000}),
        ("calculator", {"expression": "-" * 4000 + "1"}),
        ("calculator", {"expression": "1+" * 10**6 + "1"}),
        ("text-manipulator", {"operation": "repeat", "input": "a" * 1000, "times": 10**7}),
        ("text-manipulator", {"operation": "replace", "input": "a" * 10**5, "find": "a", "replacement": "b" * 10**5}),
        ("text-manipulator", {"operation": "pad_left", "input": "a", "width": 10**12}),
        ("uuid-generator", {"count": 10**9}),
        ("csv-analyzer", {"input": "," * 10**6}),
        ("csv-analyzer", {"input": "," * 9000 + "\n1" * 1000}),
        ("csv-analyzer", {"input": "x" * 10**6}),
        ("date-time-handler", {"operation": "add", "input": 0, "years": 10**12}),
        ("date-time-handler", {"operation": "add", "input": 0, "seconds": 1e300}),
        ("date-time-handler", {"operation": "parse", "input": 1e300}),
        ("date-time-handler", {"operation": "parse", "input": "1" * 10**6}),
        ("date-time-handler", {"operation": "format", "input": 0, "format": "%Y" * 10**6}),
        ("compression", {"operation": "decompress", "input": codecs.compress("gzip", bytes(1 << 20)), "max_size": 9}),
    ],
)
def test_what_would_be_huge_is_refused_at_once(quick: Registry, name: str, given: dict[str, object]) -> None:
    begun = time.process_time()
    outcome = quick.execute(name, given)
    assert not outcome.success
    assert outcome.error
    assert len(outcome.error) < 500
    assert time.process_time() - begun < 10


def test_a_child_that_was_killed_is_replaced() -> None:
    worker = Worker()
    call = (
        "template-engine",
        {"operation": "render", "template": "x", "variables": {}, "strict": False, "autoescape": False},
    )
    assert worker.call(*call).result == "x"
    first = worker._child
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert worker.call(*call).result == "x"
    assert worker._child is not first


def test_an_interrupted_calls_answer_is_not_taken_for_the_next() -> None:
    worker = Worker()
    call = {"operation": "render", "variables": {}, "strict": False, "autoescape": False}
    assert worker.call("template-engine", {**call, "template": "x"}).success

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            worker.call("template-engine", {**call, "template": NESTED_LOOPS})
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert worker.call("template-engine", {**call, "template": "next"}).result == "next"


def test_the_child_ends_with_its_worker() -> None:
    worker = Worker()
    worker.call("json-processor", {"operation": "nix"})
    assert worker._child is not None
    pid = worker._child.pid
    assert Path(f"/proc/{pid}").exists()
    del worker
    gc.collect()
    assert not Path(f"/proc/{pid}").exists()


def test_the_childs_memory_is_bounded_and_this_processes_is_not() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    worker = Worker(memory=1 << 24)
    call = {"operation": "render", "variables": {}, "strict": False, "autoescape": False}
    for many, error in (7, None), (8, "not enough memory"):
        outcome = worker.call("template-engine", {**call, "template": f"{{% set x = 'x' * 10 ** {many} %}}"})
        assert outcome.error == error
    assert resource.getrlimit(resource.RLIMIT_AS) == before
