"""What subscribers hear: changes and what is published, from every process, once, in order, and what they missed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import InvalidValue
from llmspellfs.model.event import KINDS, Origin
from llmspellfs.model.message import matches
from llmspellfs.service import messages
from llmspellfs.service.messages import Subscription, receive


def heard(subscription: Subscription) -> list[str]:
    names = []
    while (message := subscription.receive()) is not None:
        names.append(message.name)
    return names


@pytest.mark.parametrize("line", ["{}", "no JSON", '"x"'])
def test_an_event_whose_line_was_altered_does_not_stop_a_subscriber(tmp_path: Path, line: str) -> None:
    with open_store(tmp_path / "store", config=Config()) as store:
        subscription = store.messages.subscribe("*")
        store.sessions.create("s")
        store.sessions.save("s")
        with store.engine.index.write() as db:
            db.execute("UPDATE event SET line = ? WHERE seq = 1", (line,))
        assert heard(subscription) == ["session.created", "session.saved"]


def test_a_subscriber_hears_what_happens_after_it(store: Store) -> None:
    store.sessions.create("before")
    store.messages.publish("early")
    subscription = store.messages.subscribe("*")
    assert heard(subscription) == []
    store.sessions.create("s")
    store.messages.publish("mine", {"n": [1, None]})
    store.artifacts.put("s", "doc", b"1")
    store.messages.publish("mine")
    assert heard(subscription) == ["session.created", "mine", "artifact.stored", "mine"]
    assert heard(subscription) == []


def test_what_a_change_says(store: Store, clock: list[int]) -> None:
    subscription = store.messages.subscribe("artifact.*")
    session = store.sessions.create("s")
    store.artifacts.put("s", "doc", b"12", by=Origin("uid:7", "mount"))
    message = subscription.receive()
    assert message is not None
    assert (message.source, message.actor, message.door, message.at_ns) == ("store", "uid:7", "mount", clock[0])
    payload: Any = message.payload
    assert (payload["name"], payload["size"], payload["session_id"], payload["seq"]) == ("doc", 2, session.id, 2)


def test_what_a_published_message_says(store: Store) -> None:
    subscription = store.messages.subscribe("my.*")
    store.messages.publish("my.thing", {"text": "€", "list": []}, by=Origin("uid:7", "lua"))
    message = subscription.receive()
    assert message is not None
    assert (message.source, message.actor, message.door) == ("published", "uid:7", "lua")
    assert (message.name, message.payload, message.missed) == ("my.thing", {"text": "€", "list": []}, 0)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("session.*", ["session.created", "session.suspended"]),
        ("session.created", ["session.created"]),
        ("*.?", ["a.b"]),
        ("*", ["session.created", "a.b", "session.suspended", "a.bc"]),
        ("A.*", []),
    ],
)
def test_a_pattern_chooses(store: Store, pattern: str, names: list[str]) -> None:
    subscription = store.messages.subscribe(pattern)
    store.sessions.create("s")
    store.messages.publish("a.b")
    store.sessions.suspend("s")
    store.messages.publish("a.bc")
    assert heard(subscription) == names
    assert [name for name in ("session.created", "a.b", "session.suspended", "a.bc") if matches(pattern, name)] == names


@pytest.mark.parametrize("name", ["", "a*", "a?", "a[b", "\n", "x" * 256, "\udc80", 5, *sorted(KINDS)[:3]])
def test_what_is_no_name_is_not_published(store: Store, name: Any) -> None:
    with pytest.raises(InvalidValue):
        store.messages.publish(name)


@pytest.mark.parametrize("pattern", ["", "[ab]", "a]", "\0", "x" * 256, None])
def test_what_is_no_pattern_is_refused(store: Store, pattern: Any) -> None:
    with pytest.raises(InvalidValue):
        store.messages.subscribe(pattern)


@pytest.mark.parametrize("payload", [b"raw", float("inf"), {1: 2}, "x" * 65_536])
def test_what_is_no_payload_is_refused(store: Store, payload: Any) -> None:
    subscription = store.messages.subscribe("*")
    with pytest.raises(InvalidValue, match=r"^payload"):
        store.messages.publish("x", payload)
    assert heard(subscription) == []


def test_nothing_is_lost_or_doubled_where_there_is_more_than_a_batch(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "_BATCH", 4)
    everything, changes, published = (store.messages.subscribe(pattern) for pattern in ("*", "session.*", "m*"))
    expected = []
    for number in range(30):
        if number % 7 < 4:
            store.messages.publish(f"m{number}")
            expected.append(f"m{number}")
        else:
            store.sessions.create(f"s{number}")
            expected.append("session.created")
    assert heard(everything) == expected
    assert heard(changes) == [name for name in expected if name == "session.created"]
    assert heard(published) == [name for name in expected if name != "session.created"]


def test_the_earliest_of_several_subscriptions_comes_first(store: Store) -> None:
    published, changes = store.messages.subscribe("m"), store.messages.subscribe("session.*")
    store.sessions.create("s")
    store.messages.publish("m")
    store.sessions.suspend("s")
    told = []
    while (one := receive([published, changes])) is not None:
        told.append((one[0] is changes, one[1].name))
    assert told == [(True, "session.created"), (False, "m"), (True, "session.suspended")]


def test_other_processes_are_heard_in_the_order_of_commits(sqlite_store: Store) -> None:
    subscription = sqlite_store.messages.subscribe("*")
    code = (
        "import sys; from llmspellfs import open_store; from llmspellfs.config import Config\n"
        "with open_store(sys.argv[1], config=Config()) as store:\n"
        "    store.sessions.create('theirs'); store.messages.publish('done', 7)\n"
        "    store.artifacts.put('theirs', 'doc', b'1')\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(sqlite_store.path)])
    told = [subscription.receive(60) for _ in range(3)]
    assert child.wait() == 0
    assert [message and message.name for message in told] == ["session.created", "done", "artifact.stored"]
    assert told[1] is not None
    assert told[1].payload == 7


def test_all_subscribers_see_one_order_of_what_several_writers_do(sqlite_store: Store) -> None:
    one, two = sqlite_store.messages.subscribe("*"), sqlite_store.messages.subscribe("*")

    def write(name: str) -> None:
        with open_store(sqlite_store.path, config=Config()) as other:
            other.sessions.create(name)
            for number in range(20):
                other.messages.publish(f"{name}.{number}")
                other.artifacts.put(name, str(number), b"")

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    live = [message.place for _ in range(82) if (message := one.receive(60)) is not None]
    for thread in threads:
        thread.join()
    late = []
    while (message := two.receive()) is not None:
        late.append(message.place)
    assert live == late == sorted(late)
    assert len(set(late)) == 82


def test_waiting_ends_with_the_message_or_the_time(sqlite_store: Store) -> None:
    subscription = sqlite_store.messages.subscribe("ping")
    started = time.monotonic()
    assert subscription.receive(0.05) is None
    assert time.monotonic() - started >= 0.05
    timer = threading.Timer(0.1, sqlite_store.messages.publish, ["ping"])
    timer.start()
    assert subscription.receive(60) is not None
    assert time.monotonic() - started < 30
    timer.join()


def test_waiting_does_not_keep_the_processor_busy(sqlite_store: Store) -> None:
    subscription = sqlite_store.messages.subscribe("ping")
    before = time.thread_time()
    assert subscription.receive(0.5) is None
    assert time.thread_time() - before < 0.2


def test_published_messages_are_kept_up_to_a_number(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "KEPT", 5)
    subscription, other = store.messages.subscribe("*"), store.messages.subscribe("m9")
    for number in range(12):
        store.messages.publish(f"m{number}")
    first = subscription.receive()
    assert first is not None
    assert (first.name, first.missed) == ("m7", 7)
    assert heard(subscription) == ["m8", "m9", "m10", "m11"]
    only = other.receive()
    assert only is not None
    assert (only.name, only.missed) == ("m9", 7)
    store.messages.publish("m9")
    only = other.receive()
    assert only is not None
    assert only.missed == 0


def test_published_messages_are_kept_for_a_day(store: Store, clock: list[int]) -> None:
    subscription = store.messages.subscribe("*")
    store.messages.publish("old")
    clock[0] += 86_400 * 10**9 + 1
    store.messages.publish("new")
    message = subscription.receive()
    assert message is not None
    assert (message.name, message.missed) == ("new", 1)


def test_garbage_collection_takes_old_messages_where_nobody_publishes(store: Store, clock: list[int]) -> None:
    subscription = store.messages.subscribe("*")
    store.messages.publish("old")
    clock[0] += 86_400 * 10**9 + 1
    store.upkeep.gc()
    assert heard(subscription) == []
    store.messages.publish("new")
    message = subscription.receive()
    assert message is not None
    assert (message.name, message.missed) == ("new", 1)


def test_changes_are_never_missed(store: Store, clock: list[int]) -> None:
    subscription = store.messages.subscribe("session.*")
    store.sessions.create("s")
    clock[0] += 30 * 86_400 * 10**9
    store.messages.publish("x")
    assert heard(subscription) == ["session.created"]
