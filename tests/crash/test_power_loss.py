"""Power loss: at any moment, what the store said is durable is there, byte for byte, the rest whole or absent.

What fails names its seed; `LLMSPELLFS_SEED` in the environment begins with it.
"""

from __future__ import annotations

import copy
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from blake3 import blake3

from llmspellfs import Store, open_store
from llmspellfs.config import Config
from llmspellfs.errors import NotFound, StoreUnusable
from llmspellfs.model.event import Origin
from llmspellfs.service.check_findings import FsckReport
from llmspellfs.service.engine import Engine
from llmspellfs.storage import migrations
from llmspellfs.storage.opening import open_rooms
from tests.crash.bench import quick_folder
from tests.crash.damage import mended
from tests.crash.power import Disk, Reading
from tests.crash.recorder import Op, built, describe, record
from tests.crash.workload import WORKLOADS
from tests.seeds import first_seed

Figures = Callable[[str], None]
READINGS: tuple[Reading, ...] = ("posix", "ordered")
NAMES = ("new", "migrate", *WORKLOADS)
_SOON = 16
"""How many cuts of a workload are tried in a short run; each in both readings."""
_REPAIRED = 4
"""Of so many states one is repaired as well, before it is opened."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def fast() -> Iterator[Path]:
    """A folder in memory, where there is room: a state is made and opened for each cut."""
    folder = quick_folder("power-")
    yield folder
    shutil.rmtree(folder)


@dataclass(slots=True)
class Promised:
    """What a store has promised by some moment, as the marks before it say."""

    durable: dict[str, str | None] = field(default_factory=dict)
    since: dict[str, set[str | None]] = field(default_factory=dict)
    gone: list[tuple[list[str], str]] = field(default_factory=list)
    lost: list[dict[str, str]] = field(default_factory=list)

    def hear(self, mark: bytes) -> None:
        for kind, said in json.loads(mark).items():
            match kind:
                case "will":
                    for name, value in said.items():
                        self.since.setdefault(name, set()).add(value)
                case "durable":
                    self.durable, self.since = said, {}
                case "gone":
                    self.gone.append((said["chunks"], said["word"]))
                case "lost":
                    self.lost.append(said)

    def may_be(self, name: str) -> set[str | None]:
        return {self.durable.get(name)} | self.since.get(name, set())


def check(path: Path, promised: Promised) -> None:
    """Open what a power cut has left at *path*, and hold it to what was *promised*."""
    before = b"".join(p.read_bytes() for p in path.glob("index.db*")) if promised.gone else b""
    with open_store(path, config=Config()) as store:
        for name in promised.durable.keys() | promised.since.keys():
            found = content_hash(store, name)
            assert found in promised.may_be(name), (name, found, promised.may_be(name))
        for chunks, word in promised.gone:
            assert word.encode() not in before
            assert not [chunk for chunk in chunks if (path / "blobs" / chunk[:2] / chunk).exists()]
        for lost in promised.lost:
            assert lost["hash"] in {lost_hash(store, lost["item"]), content_hash(store, lost["name"])}, lost
        assert wrong(store.upkeep.fsck()) == []
        store.sessions.create("afterwards")
        store.artifacts.put("afterwards", "probe", b"p" * 200_000)
        assert store.artifacts.read(store.artifacts.get("afterwards", "probe")) == b"p" * 200_000


def repair(path: Path, *, is_made: bool) -> None:
    """Have the store at *path* repaired, where there is one: a power cut leaves nothing to repair.

    Where it is not said that it *is_made*, a repair may find no store yet; who opens it goes on with making it.
    """
    if not (path / "index.db").exists() or not (path / "index.db").stat().st_size:
        return
    try:
        report = mended(path)
    except StoreUnusable:
        assert not is_made
        return
    assert wrong(report) == [], report


def wrong(report: FsckReport) -> list[str]:
    """Return what was found, but for a WAL that seems to have changed.

    Where what was not durable yet differs in a byte from what it was to be, it cannot be told from that: it is kept,
    and told of, until a repair has looked.
    """
    found = (problem for problem in report.found if not problem.is_note and problem.kind != "hidden")
    return [str(problem) for problem in found if "of the WAL changed, which hid the commits" not in problem.what]


def content_hash(store: Store, name: str) -> str | None:
    """Return the BLAKE3 of what is read as the artifact *name*, None where there is none."""
    try:
        return blake3(store.artifacts.read(store.artifacts.get("s", name))).hexdigest()
    except NotFound:
        return None


def lost_hash(store: Store, item: str) -> str | None:
    try:
        return blake3(b"".join(store.upkeep.read_lost(item))).hexdigest()
    except NotFound:
        return None


def cuts(ops: list[Op], count: int, random: Random) -> list[int]:
    """Return about *count* moments of a recording: its marks and syncs, the calls next to them, and others."""
    near = {at + step for at, op in enumerate(ops) if op.is_sync or op.is_mark for step in (0, 1, 2)}
    telling = sorted(at for at in near if at <= len(ops))
    others = random.sample(range(len(ops) + 1), min(count // 4, len(ops)))
    picked = telling if len(telling) <= count else random.sample(telling, count)
    return sorted({*picked, *others})


def removals(ops: list[Op]) -> list[int]:
    """Return the moments after the first of each run of removed chunks."""
    gone = {at + 1 for at, op in enumerate(ops) if op.kind == "U" and b"/blobs/" in op.a}
    return sorted(at for at in gone if at - 1 not in gone)


def try_cuts(ops: list[Op], first: Disk, work: Path, moments: list[int], seed: int) -> int:
    """Cut the power at *moments* of *ops*, which began with *first*; return how many states held."""
    disk, promised, done, held = copy.deepcopy(first), Promised(), 0, 0
    for cut in moments:
        for op in ops[done:cut]:
            if op.is_mark:
                promised.hear(op.a)
            else:
                disk.replay(op)
        done = cut
        for reading in READINGS:
            target = work / "state"
            disk.materialise(target, reading, (seed, cut))
            try:
                if held % _REPAIRED == cut % _REPAIRED:
                    repair(target / "store", is_made="store" in first.root.now or promised != Promised())
                check(target / "store", promised)
            except Exception as error:
                error.add_note(f"{reading}, seed {seed}, cut {cut}:\n{describe(ops, cut)}")
                raise
            finally:
                shutil.rmtree(target)
            held += 1
    return held


def make_old(path: Path) -> None:
    """Make a store of schema 2 with a session and an artifact in it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:2])
        rooms = open_rooms(path, busy_seconds=5)
        with Store(Engine(rooms, Config(), Origin("uid:0", "api"), time.time_ns, lambda: str(uuid.uuid4()))) as store:
            store.sessions.create("s")
            store.artifacts.put("s", "old", b"o" * 300_000)


def recorded(library: Path, work: Path, name: str) -> tuple[Disk, list[Op]]:
    """Record the workload *name* on a store of its own; return what was there before, and what was done."""
    root = work / "root"
    root.mkdir()
    if name == "migrate":
        make_old(root / "store")
    elif name != "new":
        with open_store(root / "store", config=Config()) as store:
            store.sessions.create("s")
    return Disk(root), record(library, root, work, "tests.crash.workload", name, str(root / "store"))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_durable_survives_a_power_cut(library: Path, fast: Path, name: str, figures: Figures) -> None:
    first, ops = recorded(library, fast, name)
    assert sum(op.is_mark for op in ops) > 2
    seed = first_seed()
    held = try_cuts(ops, first, fast, cuts(ops, _SOON, Random(seed)), seed)
    assert held > _SOON
    figures(f"{len(ops)} calls recorded, {held} states held")


def test_no_chunk_goes_before_it_is_durable_that_no_row_names_it(library: Path, fast: Path, figures: Figures) -> None:
    first, ops = recorded(library, fast, "forget")
    assert len(removals(ops)) > 2
    seed = first_seed()
    held = sum(try_cuts(ops, first, fast, removals(ops), seed + turn) for turn in range(4))
    figures(f"seeds from {seed}: {len(ops)} calls recorded, {held} states held")


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_what_is_durable_survives_many_power_cuts(
    library: Path, fast: Path, name: str, soak_seconds: float, figures: Figures
) -> None:
    end = time.monotonic() + soak_seconds
    first, ops = recorded(library, fast, name)
    held, seed = 0, first_seed()
    print(f"power cuts: seeds from {seed}")
    while time.monotonic() < end:
        held += try_cuts(ops, first, fast, cuts(ops, 80, Random(seed)), seed)
        seed += 1
    figures(f"seeds up to {seed}: {len(ops)} calls recorded, {held} states held")
