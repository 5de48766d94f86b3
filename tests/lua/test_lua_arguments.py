"""Every function of `Session` and `Artifact`: a success, a failure, and each of its arguments given wrongly.

The cases come from the functions' own declarations, so that none is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from llmspellfs.lua.arguments import call_name
from llmspellfs.lua.kinds import Argument, Kind
from llmspellfs.lua.signatures import BUILDER, EVENT, REPLAY, SIGNATURES, STATE

if TYPE_CHECKING:
    from pathlib import Path

    from llmspellfs import Store

Run = Callable[..., str]

DECLARED = {**SIGNATURES, **REPLAY}
"""Every function, those of replay among them, which have their own tests of success and failure."""

SHOWN = {
    "nil": "nil", "true": "boolean", "12": "12", "-1": "-1", "1.5": "1.5", "1e300": "1e+300", "'text'": "string",
    "''": "an empty string", "{}": "table", "JSON.null": "JSON.null", "print": "function",
    "coroutine.create(print)": "function", "io.stderr": "userdata",
}  # fmt: skip
"""Values of every kind that Lua has, and what a script is told that it gave."""

FITS: dict[Kind, set[str]] = {
    Kind.SESSION: {"nil", "'text'", "''"},
    Kind.ANY_SESSION: {"nil", "'text'", "''"},
    Kind.ARTIFACT: {"'text'", "''"},
    Kind.TEXT: {"'text'", "''", "12", "-1", "1.5", "1e300"},
    Kind.CONTENT: {"'text'", "''", "12", "-1", "1.5", "1e300"},
    Kind.PATH: {"'text'"},
    Kind.COUNT: {"12"},
    Kind.FLAG: {"true"},
    Kind.TIME: {"'text'", "''", "12", "-1", "1.5", "1e300"},
    Kind.TEXTS: {"{}"},
    Kind.TAGS: {"{}", "'text'", "''", "12", "-1", "1.5", "1e300"},
    Kind.PARENT: {"'text'", "''", "JSON.null"},
    Kind.OBJECT: {"{}"},
    Kind.JSON: set(SHOWN) - {"print", "coroutine.create(print)", "io.stderr"},
    Kind.POINT: {"'text'", "''"},
    Kind.TABLE: {"{}"},
    Kind.FILTER: {"{}", "'text'", "''"},
    Kind.LIST: {"{}"},
    Kind.SECONDS: {"12", "-1", "1.5", "1e300"},
    Kind.FUNCTION: {"print", "coroutine.create(print)"},
    Kind.VALUE: set(SHOWN) - {"nil", "print", "coroutine.create(print)", "io.stderr"},
}
"""By kind those of them that are no error by their form."""

SAMPLE = {
    Kind.SESSION: "'s'", Kind.ANY_SESSION: "'s'", Kind.ARTIFACT: "'a'", Kind.TEXT: "'text'", Kind.CONTENT: "'x'",
    Kind.PATH: "'/nowhere/at/all'", Kind.TEXTS: "{'t'}", Kind.TAGS: "'t'", Kind.TABLE: "{}", Kind.LIST: "{}",
    Kind.POINT: "'c1'", Kind.OBJECT: "{}", Kind.VALUE: "1",
}  # fmt: skip
"""A right one of each kind of argument that may be required."""


def wrong_values(argument: Argument) -> Iterator[str]:
    """Yield the values that do not fit *argument*."""
    yield from (value for value in SHOWN if value not in FITS[argument.kind] and (value != "nil" or argument.required))


def wrong_calls(called: str, takes: tuple[Argument, ...]) -> Iterator[tuple[str, str]]:
    """Yield calls of *called* with one wrong argument or field each, and what the message says of it."""
    for place, argument in enumerate(takes):
        where = f"{called.replace(':', '():', 1)}"
        at = f"{called}: argument {place + 1} ({argument.name})"
        given = [SAMPLE[one.kind] if one.required else "nil" for one in takes]
        for value in wrong_values(argument):
            if value == "{}" and argument.kind in {Kind.ARTIFACT, Kind.POINT}:
                continue  # a table may do, and has a message of its own
            yield (
                f"{where}({', '.join([*given[:place], value, *given[place + 1 :]])})",
                f"{at}: {told(argument, value)}",
            )
        for field in argument.fields:
            for value in wrong_values(Argument(field.name, field.kind, required=False)):
                if value == "{}" and field.kind is Kind.POINT:
                    continue
                table = f"{{[{field.name!r}] = {value}}}"
                call = f"{where}({', '.join([*given[:place], table, *given[place + 1 :]])})"
                yield call, f"{at}.{field.name}: {told(field, value)}"
        if argument.fields and not argument.is_open:
            table = ", ".join([*given[:place], "{[ [[no such key]] ] = 1}"])
            yield f"{where}({table})", f"{at}: unknown key 'no such key'; expected one of "


def told(argument: Argument, value: str) -> str:
    if argument.kind is Kind.JSON or (argument.kind is Kind.VALUE and value != "nil"):
        return f"a {SHOWN[value]} cannot be said in JSON"
    expected = "a string" if argument.kind is Kind.TAGS else argument.kind.value
    return f"expected {expected}, got {SHOWN[value]}"


def messages(run: Run, calls: list[str], before: str = "") -> list[str]:
    """Return what each of *calls* raises."""
    lines = [f"print(select(2, pcall(function() return {call} end)))" for call in calls]
    said = run("\n".join([f"Session.setCurrent(nil) {before}", *lines]))
    return [re.sub(r"^t\.lua:\d+: ", "", line) for line in said.splitlines()]


@pytest.fixture
def filled(spell_store: Store) -> Store:
    """A session "s" with an artifact "a" and a checkpoint."""
    spell_store.sessions.create("s")
    spell_store.artifacts.put("s", "a", b"content")
    spell_store.sessions.save("s")
    return spell_store


@pytest.mark.parametrize("name", DECLARED)
def test_each_wrong_argument_is_named_with_what_was_expected_and_what_came(filled: Store, run: Run, name: str) -> None:
    module, short = name.split(".")
    cases = list(wrong_calls(call_name(module, short), DECLARED[name]))
    if not cases:
        assert not any(argument.required for argument in DECLARED[name])
        return
    before = [event.line for event in filled.sessions.events("s")]
    said = messages(run, [call for call, _ in cases])
    for line, (call, expected) in zip(said, cases, strict=True):
        assert line.startswith(expected), call
    assert [event.line for event in filled.sessions.events("s")] == before
    assert len(filled.sessions.list()) == 1


@pytest.mark.parametrize("name", BUILDER)
def test_each_wrong_argument_of_a_builders_method_is_named(run: Run, name: str) -> None:
    cases = list(wrong_calls(f"Session.builder:{name}", BUILDER[name]))
    said = messages(run, [call for call, _ in cases])
    assert said == [expected for _, expected in cases]


OTHERS = [
    *((f"State.{name}", takes) for name, takes in STATE.items() if name != "update"),
    *((f"State.{name}", takes[1:]) for name, takes in STATE.items() if name in {"get", "set", "delete"}),
    *((f"Event.{name}", takes) for name, takes in EVENT.items()),
]
"""What others take: those of `State` with a scope, and without."""


@pytest.mark.parametrize(("name", "takes"), OTHERS)
def test_each_wrong_argument_of_state_and_event_is_named(run: Run, name: str, takes: tuple[Argument, ...]) -> None:
    cases = list(wrong_calls(name, takes))
    said = messages(run, [call for call, _ in cases])
    for line, (call, expected) in zip(said, cases, strict=True):
        assert line.startswith(expected), call


WRONG = [
    ("Session.list({sort_by = 'x'})", "argument 1 (filter).sort_by: expected one of created_at, "),
    ("Session.list({order = 'x'})", "argument 1 (filter).order: expected asc or desc, not 'x'"),
    ("Session.list({created_after = 'x'})", "argument 1 (filter).created_after: expected epoch seconds or an ISO 8601"),
    (
        "Session.list({updated_before = 1e300})",
        "argument 1 (filter).updated_before: expected epoch seconds or an ISO 8601 time, got 1e+300",
    ),
    ("Session.list({status = 'x'})", "argument 1 (filter).status: expected one of active, "),
    ("Session.list({tags = {''}})", "argument 1 (filter).tags: '' cannot be a tag"),
    ("Session.list({query = 'size:>x'})", "argument 1 (filter).query: a size such as 300"),
    ("Session.list('foo:x')", "argument 1 (filter): unknown field 'foo'"),
    ("Session.create({name = ''})", "argument 1 (fields).name: invalid name ''"),
    ("Session.create({description = ('x'):rep(65537)})", "argument 1 (fields).description: more than 65536 bytes"),
    ("Session.create({metadata = {k = ('x'):rep(1 << 20)}})", "argument 1 (fields).metadata: more than 1048576 bytes"),
    ("Session.create({custom_metadata = {k = ('x'):rep(1 << 20)}})", "argument 1 (fields).custom_metadata: more than"),
    ("Session.update('s', {tags = {'\\n'}})", "argument 2 (changes).tags: "),
    ("Session.update('s', {parent = 's'})", "argument 2 (changes).parent: s is the session itself"),
    ("Session.fail('s', ('x'):rep(65537))", "argument 2 (reason): more than 65536 bytes"),
    ("Session.save('s', ('x'):rep(65537))", "argument 2 (label): more than 65536 bytes"),
    ("Session.addTag('s', '')", "argument 2 (tag): '' cannot be a tag"),
    ("Session.fork('s', '')", "argument 2 (name): invalid name ''"),
    ("Session.fork('s', 'f', {at = 'x'})", "argument 3 (options).at: expected a seq, "),
    ("Session.diff('s', {from = {time = 'x'}})", "argument 2 (options).from.time: expected a seq, "),
    (
        "Session.rollback('s', 'x')",
        "argument 2 (to): expected a seq, an ISO 8601 time, an age such as 2h or a checkpoint such as c3, got 'x'",
    ),
    ("Session.events('s', {kinds = {'x'}})", "argument 2 (options).kinds: expected a kind such as"),
    ("Session.getTimeline('s', {kinds = {'x'}})", "argument 2 (options).kinds: expected a kind such as"),
    ("Session.replay('s', {mode = 'x'})", "argument 2 (options).mode: expected one of exact, "),
    ("Session.replay('s', {timeout_seconds = -1})", "argument 2 (options).timeout_seconds: expected more than 0"),
    ("Artifact.store('s', 'X Y', 'n', 'x')", "argument 2 (type): expected one of user_input, "),
    ("Artifact.store('s', nil, '../n', 'x')", "argument 3 (name): invalid name '../n'"),
    ("Artifact.store('s', nil, 'n', 'x', {tags = {''}})", "argument 5 (metadata).tags: '' cannot be a tag"),
    ("Artifact.store('s', nil, 'n', 'x', {k = ('x'):rep(1 << 20)})", "argument 5 (metadata): more than 1048576 bytes"),
    ("Artifact.storeFile('s', '/etc/hostname', 'X Y')", "argument 3 (type): expected one of user_input, "),
    ("Artifact.storeMany('s', {{'X Y', 'n', 'x'}})", "item 1: type: expected one of user_input, "),
    ("Session.createMany({{name = ''}})", "item 1: invalid name ''"),
    ("Artifact.get('s', 'a//b')", "argument 2 (artifact): invalid name 'a//b'"),
    ("Artifact.update('s', 'a', {type = 'X Y'})", "argument 3 (changes).type: expected one of user_input, "),
    ("Artifact.update('s', 'a', {artifact_type = 'X Y'})", "argument 3 (changes).artifact_type: expected one of"),
    ("Artifact.update('s', 'a', {name = ''})", "argument 3 (changes).name: invalid name ''"),
    ("Artifact.query({type = 'X Y'})", "argument 1 (filter).type: expected one of user_input, "),
    ("Artifact.query({sort_by = 'x'})", "argument 1 (filter).sort_by: expected one of created_at, "),
    ("Artifact.query({name_pattern = ('x'):rep(9000)})", "argument 1 (filter).name_pattern: "),
    ("Artifact.search('size:>x')", "argument 1 (query): a size such as 300"),
    ("State.set('', 1)", "argument 1 (key): expected text, not ''"),
    ("State.get('', 'k')", "argument 1 (scope): expected text, not ''"),
    ("State.set('s', '', 1)", "argument 2 (key): expected text, not ''"),
    ("Event.publish('')", "argument 1 (name): expected printable text, not ''"),
    ("Event.subscribe('')", "argument 1 (pattern): expected printable text, not ''"),
    ("Event.unsubscribe({})", "argument 1 (subscription): expected a subscription, got table"),
    ("Hook.register('x', print)", "argument 1 (point): expected before: or after: "),
    ("Hook.unregister({})", "argument 1 (hook): expected a number, got table"),
]
"""Values of the right form that are wrong all the same, and what their messages say after the function's name."""


@pytest.mark.parametrize(("call", "expected"), WRONG)
@pytest.mark.usefixtures("filled")
def test_a_wrong_value_is_told_with_its_function_and_argument(
    fails: Callable[[str], str], call: str, expected: str
) -> None:
    assert fails(call).startswith(f"t.lua:1: {call.partition('(')[0]}: {expected}")


def test_every_function_is_declared_under_both_spellings(run: Run) -> None:
    found = set(run("""
    for _, module in ipairs({"Session", "Artifact"}) do
      for name in pairs(_G[module]) do print(module .. "." .. name) end
    end
    """).split())  # fmt: skip
    assert found == {*DECLARED, *(call_name(*name.split(".")) for name in DECLARED)}
    for name in DECLARED:
        run(f"assert({name} == {call_name(*name.split('.'))})")


OF_SESSIONS = [name for name, takes in DECLARED.items() if takes and takes[0].kind is Kind.SESSION]


@pytest.mark.parametrize("name", OF_SESSIONS)
def test_without_a_session_and_a_current_one_it_is_said(run: Run, name: str) -> None:
    called, rest = (
        call_name(*name.split(".")),
        [SAMPLE[one.kind] if one.required else "nil" for one in DECLARED[name]],
    )
    calls = [f"{called}({', '.join([given, *rest[1:]])})" for given in ("''", "nil")]
    expected = f"{called}: argument 1 (session): none is given, and no current session is set"
    assert messages(run, calls) == [expected, expected]


SUCCESS = {
    "Session.create": "local t = Session.get(Session.create({name = 'n'})) assert(t.name == 'n')",
    "Session.create_many": "assert(#Session.createMany({{name = 'x'}, {name = 'y'}}) == 2)",
    "Session.get": "assert(Session.get(S).name == 's')",
    "Session.list": "assert(#Session.list({name_pattern = 's', limit = 1.0}) == 1)",
    "Session.update": "assert(Session.update(S, {name = 'n'}) and Session.get(id).name == 'n')",
    "Session.suspend": "assert(Session.suspend(S) and Session.get(S).status == 'suspended')",
    "Session.resume": "Session.suspend(S) assert(Session.resume(S) and Session.get(S).status == 'active')",
    "Session.complete": "assert(Session.complete(S) and Session.get(S).status == 'completed')",
    "Session.fail": "assert(Session.fail(S, 'why') and Session.get(S).failure_reason == 'why')",
    "Session.save": "assert(Session.save(S, 'l') == 2 and Session.checkpoints(S)[2].label == 'l')",
    "Session.load": "Session.suspend(S) assert(Session.load(S) == id and Session.get(S).status == 'active')",
    "Session.delete": "assert(Session.delete(S) and Session.get(id) == nil)",
    "Session.restore": "Session.delete(S) assert(Session.restore(S) == id and Session.get(id).status == 'active')",
    "Session.set_current": "Session.setCurrent(id) assert(Session.getCurrent() == id)",
    "Session.get_current": "Session.setCurrent('s') assert(Session.getCurrent() == id)",
    "Session.get_tags": "assert(Session.getTags(S)[1] == 'first')",
    "Session.set_tags": "assert(Session.setTags(S, {'b', 'a'})[2] == 'a' and #Session.getTags(S) == 2)",
    "Session.add_tag": "assert(#Session.addTag(S, 'b') == 2 and #Session.addTag(S, {'c', 'd'}) == 4)",
    "Session.remove_tag": "assert(#Session.removeTag(S, 'first', 'nix') == 0)",
    "Session.builder": "assert(Session.get(Session.builder():parent(S):build()).parent_session_id == id)",
    "Session.children": "local c = Session.create({parent_session_id = id}) assert(Session.children(S)[1].id == c)",
    "Session.path": "assert(Session.path(S) == nil)",
    "Session.events": "assert(#Session.events(S, {kinds = {'artifact.*'}}) == 1)",
    "Session.checkpoints": "assert(#Session.checkpoints(S) == 1)",
    "Session.diff": "Artifact.store(S, nil, 'b', 'x') assert(Session.diff(S).changes[1].path == 'b')",
    "Session.fork": "local f = Session.fork(S, 'f') assert(Artifact.getContent(f, 'a') == 'content')",
    "Session.rollback": "Artifact.delete(S, 'a') assert(Session.rollback(S, 'c1') == id and Artifact.exists(S, 'a'))",
    "Artifact.store": "local a = Artifact.store(S, 'tool_result', 'n', 'x') assert(Artifact.get(S, a).content == 'x')",
    "Artifact.store_file": "assert(Artifact.get(S, Artifact.storeFile(S, FILE)).content == 'of the file')",
    "Artifact.store_many": "assert(#Artifact.storeMany(S, {{name = 'n', content = 'x'}}) == 1)",
    "Artifact.get": "assert(Artifact.get(S, 'a').content == 'content')",
    "Artifact.get_content": "assert(Artifact.getContent(S, 'a', 3, 2) == 'te')",
    "Artifact.list": "assert(Artifact.list(S)[1].name == 'a')",
    "Artifact.query": "assert(Artifact.query({session_id = S or '', name_pattern = 'a'})[1].name == 'a')",
    "Artifact.search": "assert(Artifact.search('name:a', {session_id = S or ''})[1].name == 'a')",
    "Artifact.delete": "assert(Artifact.delete(S, 'a') and #Artifact.list(S) == 0)",
    "Artifact.restore": "Artifact.delete(S, 'a') Artifact.restore(S, 'a') assert(Artifact.exists(S, 'a'))",
    "Artifact.update": "Artifact.update(S, 'a', {name = 'b', k = 1}) assert(Artifact.get(S, 'b').metadata.k == 1)",
    "Artifact.exists": "assert(Artifact.exists(S, 'a') and not Artifact.exists(S, 'b'))",
    "Artifact.versions": "Artifact.store(S, nil, 'a', 'new') assert(#Artifact.versions(S, 'a') == 2)",
    "Artifact.save_to_file": "assert(Artifact.saveToFile(S, 'a', FILE) == 7)",
}

FAILURE = {
    "Session.create": ("Session.create({parent_session_id = 'nix'})", "session not found: nix"),
    "Session.create_many": ("Session.createMany({{name = 'x'}, {parent_session_id = 'nix'}})", "item 2: session not"),
    "Session.get": ("assert(Session.get('nix'))", "session not found: nix"),
    "Session.list": ("Session.list({sort_by = 'nix'})", "Session.list: argument 1 (filter).sort_by: expected one of"),
    "Session.update": ("Session.complete('s') Session.update('s', {name = 'n'})", "session s is completed"),
    "Session.suspend": ("Session.suspend('s') Session.suspend('s')", "session s is suspended: cannot suspend"),
    "Session.resume": ("Session.resume('s')", "session s is active: cannot resume"),
    "Session.complete": ("Session.fail('s') Session.complete('s')", "session s is failed: cannot complete"),
    "Session.fail": ("Session.complete('s') Session.fail('s', 'x')", "session s is completed: cannot fail"),
    "Session.save": ("Session.save('nix')", "session not found: nix"),
    "Session.load": ("assert(Session.load('nix'))", "session not found: nix"),
    "Session.delete": ("Session.delete('nix')", "session not found: nix"),
    "Session.restore": ("Session.restore('s')", "session already exists: s"),
    "Session.set_current": ("Session.setCurrent('nix')", "session not found: nix"),
    "Session.get_current": ("Session.setCurrent('') assert(Session.getCurrent(), 'none')", "none"),
    "Session.get_tags": ("Session.getTags('nix')", "session not found: nix"),
    "Session.set_tags": ("Session.setTags('s', {''})", "Session.setTags: argument 2 (tags): '' cannot be"),
    "Session.add_tag": ("Session.addTag('s', 'a', '')", "Session.addTag: argument 2 (tag): '' cannot be"),
    "Session.remove_tag": ("Session.removeTag('s', {{}})", "Session.removeTag: argument 2 (tag)[1]: expected a string"),
    "Session.builder": ("Session.builder():parent('nix'):build()", "session not found: nix"),
    "Session.children": ("Session.children('nix')", "session not found: nix"),
    "Session.path": ("Session.path('nix')", "session not found: nix"),
    "Session.events": (
        "Session.events('s', {kinds = {'artifact.stord'}})",
        "Session.events: argument 2 (options).kinds: expected a kind such as",
    ),
    "Session.checkpoints": ("Session.checkpoints('nix')", "session not found: nix"),
    "Session.diff": ("Session.diff('s', {from = {checkpoint = 9}})", "checkpoint not found"),
    "Session.fork": ("Session.fork('s', 'f', {at = {seq = 99}})", "seq not found: 99"),
    "Session.rollback": ("Session.complete('s') Session.rollback('s', 'c1')", "session s is completed"),
    "Artifact.store": ("Artifact.store('s', 'Bad Type', 'n', 'x')", "Artifact.store: argument 2 (type): expected one"),
    "Artifact.store_file": ("Artifact.storeFile('s', '/nowhere/at/all')", "file not found: /nowhere/at/all"),
    "Artifact.store_many": ("Artifact.storeMany('s', {{name = '', content = 'x'}})", "Artifact.storeMany: item 1: "),
    "Artifact.get": ("assert(Artifact.get('s', 'nix'))", "artifact not found: s:nix"),
    "Artifact.get_content": ("Artifact.getContent('s', 'nix')", "artifact not found: s:nix"),
    "Artifact.list": ("Artifact.list('nix')", "session not found: nix"),
    "Artifact.query": ("Artifact.query('size:>lots')", "Artifact.query: argument 1 (filter): a size"),
    "Artifact.search": ("Artifact.search('size:>lots')", "Artifact.search: argument 1 (query): a size"),
    "Artifact.delete": ("Artifact.delete('s', 'nix')", "artifact not found: s:nix"),
    "Artifact.restore": ("Artifact.restore('s', 'a')", "artifact already exists: s:a"),
    "Artifact.update": ("Artifact.update('s', 'nix', {})", "artifact not found: s:nix"),
    "Artifact.exists": ("Artifact.exists('s', '../x')", "Artifact.exists: argument 2 (artifact): invalid name"),
    "Artifact.versions": ("Artifact.versions('s', 'nix')", "artifact not found: s:nix"),
    "Artifact.save_to_file": ("Artifact.saveToFile('s', 'a', '/nowhere/at/all')", "/nowhere/at/all: No such file"),
}


def test_every_function_has_a_success_and_a_failure() -> None:
    assert set(SUCCESS) == set(FAILURE) == set(SIGNATURES)


@pytest.mark.parametrize(
    ("name", "named"),
    # A deleted session has no directory name.
    [(name, named) for name in SUCCESS for named in ("id", "'s'", "''", "nil")
     if (name, named) != ("Session.restore", "'s'")],
)  # fmt: skip
def test_a_success_with_the_session_named_or_current(
    filled: Store, run: Run, tmp_path: Path, name: str, named: str
) -> None:
    (tmp_path / "file").write_bytes(b"of the file")
    filled.sessions.tag("s", add=["first"])
    start = f"local id, FILE = Session.get('s').id, '{tmp_path}/file' local S = {named}"
    current = "Session.setCurrent(id)" if named in {"''", "nil"} else ""
    run(f"{start} {current}\n{SUCCESS[name]}")


@pytest.mark.parametrize("name", FAILURE)
@pytest.mark.usefixtures("filled")
def test_a_failure_is_one_line_with_its_place(fails: Callable[[str], str], name: str) -> None:
    code, message = FAILURE[name]
    # Lua's own assert may say the place or not.
    assert (
        fails(f"\n{code}")
        .removeprefix("t.lua:2: " if "assert(" in code else "")
        .startswith(message if "assert(" in code else f"t.lua:2: {message}")
    )


@pytest.mark.parametrize("call", ["Session:create()", "Artifact:get('s', 'a')", "State:get('k')", "JSON:encode({})"])
def test_a_call_with_a_colon_is_told_so(fails: Callable[[str], str], call: str) -> None:
    name = call.partition("(")[0].replace(":", ".")
    assert fails(call) == f"t.lua:1: {name}: expected a call with a dot, got one with a colon"


def test_what_a_session_is_shown_as_names_it(run: Run, filled: Store) -> None:
    run("""
    local session = Session.get("s")
    Session.setCurrent(session)
    assert(Session.getCurrent() == session.id and #Artifact.list(Session.list()[1]) == 1)
    assert(Session.get(Session.create({parent = session})).parent_session_id == session.id)
    """)
    assert len(filled.sessions.children("s")) == 1


def test_what_comes_beyond_the_declared_is_dropped(run: Run, filled: Store) -> None:
    run("assert(Session.get('s', 1, 2, {}).name == 's' and Session.getCurrent(1) == nil)")
    assert filled.sessions.get("s").seq == 3


def test_aliases_exclude_each_other(fails: Callable[[str], str]) -> None:
    assert fails("Artifact.query({type = 'a', artifact_type = 'b'})") == (
        "t.lua:1: Artifact.query: argument 1 (filter): type and artifact_type are the same; expected one of them"
    )


def test_items_of_lists_are_named_by_their_place(fails: Callable[[str], str]) -> None:
    assert fails("Session.create({tags = {'a', {}}})") == (
        "t.lua:1: Session.create: argument 1 (fields).tags[2]: expected a string, got table"
    )
    assert fails("Session.create({tags = {'a', nil, 'c'}})").startswith(
        "t.lua:1: Session.create: argument 1 (fields).tags: expected a list, with the keys 1, 2, 3"
    )


def test_an_artifact_given_as_a_table_has_its_three_parts(fails: Callable[[str], str]) -> None:
    where = "t.lua:1: Artifact.exists: argument 2 (artifact)"
    assert fails("Artifact.exists('s', {})") == (
        f"{where}: expected a table with session_id, sequence and content_hash"
    )
    assert fails("Artifact.exists('s', {session_id = {}, sequence = 1, content_hash = 'x'})") == (
        f"{where}.session_id: expected a string, got table"
    )


def test_no_metamethod_of_an_argument_is_called(run: Run, filled: Store) -> None:
    run("""
    local function refuse() error("called") end
    local meta = {__index = refuse, __pairs = refuse, __len = refuse, __tostring = refuse, __eq = refuse}
    local function own(t) return setmetatable(t, meta) end
    local row = Artifact.list("s")[1]
    assert(Artifact.get("s", own({session_id = row.session_id, sequence = 1, content_hash = row.content_hash})))
    assert(not pcall(Artifact.get, "s", own({})))
    local id = Session.create(own({name = "n", tags = own({"a"}), metadata = own({k = own({1})})}))
    assert(Session.get(id).k[1] == 1 and #Session.list(own({tags = own({"a"})})) == 1)
    Artifact.store(id, nil, "b", "x", own({tags = own({"t"}), k = own({})}))
    assert(#Session.diff(id, own({from = own({seq = 1})})).changes == 1)
    """)
    assert filled.sessions.get("s").seq == 3


def test_every_kind_is_tested() -> None:
    def kinds(takes: tuple[Argument, ...]) -> set[Any]:
        return {one.kind for one in takes} | {kind for one in takes for kind in kinds(one.fields)}

    assert set(FITS) == set(Kind) == set().union(*map(kinds, [*DECLARED.values(), *STATE.values()]))
