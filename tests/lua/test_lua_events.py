from __future__ import annotations

import threading
from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from llmspellfs.lua.runtime import Script

if TYPE_CHECKING:
    from llmspellfs import Store

Run = Callable[..., str]
Fails = Callable[[str], str]


def test_a_script_hears_what_it_published(run: Run) -> None:
    assert (
        run("""
    Event.publish("early", 0)
    local sub = Event.subscribe("my.*")
    print(Event.publish("my.thing", {n = {1, JSON.null}}))
    Event.publish("other")
    Event.publish("my.end")
    local event, from = Event.receive(sub)
    print(event.name, JSON.stringify(event.payload), event.source, event.door, from == sub, event.missed)
    print(Event.receive(sub).name, Event.receive(sub))
    """)
        == 'true\nmy.thing\t{"n":[1,null]}\tpublished\tlua\ttrue\tnil\nmy.end\tnil\n'
    )


def test_a_script_hears_what_the_store_does(spell_store: Store, run: Run) -> None:
    assert (
        run("""
    local sub = Event.subscribe("*.*ed")
    local id = Session.create({name = "s"})
    Artifact.store(id, "tool_result", "doc", "12")
    local one, two = Event.receive(sub), Event.receive(sub)
    print(one.name, one.payload.session_id == id, one.source)
    print(two.name, two.payload.name, two.payload.size, two.payload.seq, two.at == two.payload.at)
    """)
        == "session.created\ttrue\tstore\nartifact.stored\tdoc\t2\t2\ttrue\n"
    )


def test_other_doors_and_threads_are_heard_while_a_script_waits(spell_store: Store) -> None:
    spell_store.sessions.create("s")
    stream, ready = BytesIO(), spell_store.messages.subscribe("ready")
    script = Script(spell_store, stdout=stream)
    code = """
    local sub = Event.subscribe("artifact.stored")
    Event.publish("ready")
    local event = Event.receive(sub, 60)
    print(event.payload.name, event.door)
    """
    thread = threading.Thread(target=script.run_code, args=(code,))
    thread.start()
    assert ready.receive(60) is not None
    spell_store.artifacts.put("s", "doc", b"")
    thread.join()
    assert stream.getvalue() == b"doc\tapi\n"


def test_receive_without_a_subscription_takes_the_earliest_of_all(run: Run) -> None:
    assert (
        run("""
    local a, b = Event.subscribe("a"), Event.subscribe("b")
    for _, name in ipairs({"b", "a", "b"}) do Event.publish(name) end
    for _ = 1, 3 do
      local event, from = Event.receive(nil, 1)
      print(event.name, from == (event.name == "a" and a or b))
    end
    print(Event.receive(), Event.receive(0.01), Event.receive(nil, 0.01))
    """)
        == "b\ttrue\na\ttrue\nb\ttrue\nnil\tnil\tnil\n"
    )


def test_functions_are_called_by_receive_and_at_no_other_time(run: Run) -> None:
    assert (
        run("""
    local sub = Event.subscribe("x", function(event) print("heard", event.payload) end)
    Event.publish("x", 1)
    Event.publish("x", 2)
    print("receiving")
    print(Event.receive().payload)
    print(Event.receive(sub).payload)
    """)
        == "receiving\nheard\t1\n1\nheard\t2\n2\n"
    )


def test_a_function_that_raises_is_the_receivers_error(run: Run) -> None:
    assert (
        run("""
    Event.subscribe("x", function(event) error({payload = event.payload}) end)
    Event.publish("x", 7)
    local ok, why = pcall(Event.receive)
    print(ok, why.payload, Event.receive())
    """)
        == "false\t7\tnil\n"
    )


def test_a_function_may_end_the_script(run: Run) -> None:
    code = 'Event.subscribe("x", function() os.exit(3) end) Event.publish("x") pcall(Event.receive) print("still here")'
    assert run(code, exits=3) == ""


def test_what_is_unsubscribed_is_heard_no_more(run: Run) -> None:
    assert (
        run("""
    local called = 0
    local sub = Event.subscribe("x", function() called = called + 1 end)
    Event.publish("x")
    print(Event.unsubscribe(sub), Event.unsubscribe(sub), Event.unsubscribe("nix"), Event.unsubscribe())
    print(Event.receive(), called, select(2, pcall(Event.receive, sub)))
    """)
        == "true\tfalse\tfalse\tfalse\nnil\t0\tt.lua:6: subscription not found: subscription:1\n"
    )


def test_pruned_messages_are_counted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmspellfs.service.messages.KEPT", 2)
    assert (
        run("""
    local sub = Event.subscribe("x")
    for i = 1, 5 do Event.publish("x", i) end
    local event = Event.receive(sub)
    print(event.payload, event.missed, Event.receive(sub).missed)
    """)
        == "4\t3\tnil\n"
    )


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("Event.publish()", "Event.publish: argument 1 (name): expected a string"),
        ("Event.publish('a*')", "Event.publish: argument 1 (name): expected a name without"),
        ("Event.publish('session.created')", "Event.publish: argument 1 (name): session.created is the store's own"),
        ("Event.publish('x', print)", "Event.publish: argument 2 (payload): a function cannot be said in JSON"),
        ("Event.publish('x', ('y'):rep(65536))", "Event.publish: argument 2 (payload): more than 65536 bytes of JSON"),
        ("Event.subscribe()", "Event.subscribe: argument 1 (pattern): expected a string"),
        ("Event.subscribe('[a]')", "Event.subscribe: argument 1 (pattern): expected a pattern"),
        ("Event.subscribe('x', 5)", "Event.subscribe: argument 2 (function): expected a function, got number"),
        ("Event.receive('nix')", "subscription not found: nix"),
        ("Event.receive({})", "Event.receive: argument 1 (subscription): expected a subscription"),
        ("Event.receive(nil, 'x')", "Event.receive: argument 2 (seconds): expected seconds, 0 or more"),
        ("Event.receive(-1)", "Event.receive: argument 1 (seconds): expected seconds, 0 or more, got -1"),
        ("Event.receive(0/0)", "Event.receive: argument 1 (seconds): expected seconds, 0 or more"),
    ],
)
def test_a_wrong_argument_is_told_with_its_place(fails: Fails, code: str, message: str) -> None:
    why = fails(code)
    assert why.startswith("t.lua:1: ")
    assert message in why
