"""Every Lua block of the guides runs as written, given the names that it takes for granted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmspellfs.errors import ScriptFailed
from llmspellfs.lua.runtime import Script

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmspellfs import Store

GUIDES = Path(__file__).parent / "guides"
EXAMPLE = Path(__file__).parents[2] / "examples" / "lua" / "complete_workflow.lua"

# What the guides take for granted. Their own files stand in a folder made for the test.
GIVEN = """
session_id = Session.create({name = "given", tags = {"given"}})
artifact_id = Artifact.store(session_id, "tool_result", "given.txt", "given", {author = "J",
  source = "given", tags = {"t"}})
content, result_data = "content", '{"revenue": 1}'
function analyze_data() return {revenue = {1, 2.5}, empty = {}} end
function processData() end
function processStep(step) return {done = step} end
attempts = 0
function performOperation() attempts = attempts + 1 if attempts < 3 then error("not yet") end end
"""


@dataclass(frozen=True)
class Block:
    name: str
    code: str


def blocks() -> Iterator[Block]:
    for guide in sorted(GUIDES.glob("*.md")):
        for number, match in enumerate(re.finditer(r"```lua\n(.*?)```", guide.read_text(), re.DOTALL), 1):
            yield Block(f"{guide.stem.rpartition('-')[2]}-{number}", match[1])


# What must hold once a block has run; it stands behind the block, so that it sees the block's locals.
AFTER = {
    "api-1": """
      assert(Session.get(session_id).metadata.ticket_id == "12345" and #Session.get(session_id).tags == 3)
      assert(Session.get(child_id).parent_session_id == session_id)""",
    "api-2": "assert(metadata.name == 'given' and Session.get(session_id) == nil)",
    "api-3": "assert(#sessions == 1 and #filtered == 0 and #recent == 1)",
    "api-4": "assert(loaded_id == session_id)",
    "api-5": "assert(current == session_id and Session.getCurrent() == nil and #artifacts == 0)",
    "api-6": """
      local a = Artifact.get(session_id, artifact_id)
      assert(a.metadata.custom.source == "data_analyzer_tool" and a.metadata.tags[2] == "important")
      assert(#Artifact.get(session_id, image_id).content == 8
        and Artifact.get(session_id, json_id).metadata.version == "1.0")""",
    "api-7": "assert(artifact.content == 'given' and artifact.metadata.custom.source == 'given')",
    "api-8": "assert(#artifacts == 1 and #current_artifacts == 0)",
    "api-9": "assert(file_artifact.metadata.name == 'document.pdf' and file_artifact.metadata.generated_by)",
    "api-10": "assert(success and ok and Artifact.get(session_id, artifact_id).content == content)",
    "api-11": """
      assert(Session.get(session_id).status == "completed" and #Session.checkpoints(session_id) == 1)
      assert(#Artifact.list(session_id) == 3)
      assert(json.decode(Artifact.get(session_id, result_id).content).revenue[2] == 2.5)""",
    "management-1": """
      assert(Session.get(session_id).metadata.priority == "high")
      assert(Session.get(child_id).parent_session_id == session_id)""",
    "management-3": "assert(current == session_id and Session.getCurrent() == nil)",
    "management-4": "assert(loaded_id == session_id and #all_sessions == 1 and #active_sessions == 0)",
    "management-5": """
      assert(Artifact.get(session_id, artifact_id).metadata.author == "John Doe")
      assert(Artifact.get(session_id, json_id).content == '{"key":"value"}')
      assert(Artifact.get(session_id, file_id).metadata.custom.purpose == "data_import")""",
    "management-6": "assert(artifact.content == 'given' and artifact.metadata.author == 'J')",
    "management-7": "assert(#results == 0)",
    "management-8": "assert(#old_artifacts == 0 and not Artifact.exists(session_id, artifact_id))",
    "management-9": """
      assert(safeExecute() == true)
      function processData() error("broken") end
      local ok, err = safeExecute()
      assert(not ok and #Session.list({status = "failed"}) == 1
        and #Session.list({status = "completed"}) == 1)""",
    "management-10": """
      local a = Artifact.get(session_id, "analysis_2024_q4.json").metadata
      assert(a.fiscal_year == 2024 and math.type(a.fiscal_year) == "integer" and a.tags[3] == "financial")""",
    "management-11": """
      longRunningProcess(session_id)
      assert(#Session.checkpoints(session_id) == 4)
      local a = Artifact.get(session_id, "checkpoint_transform.json")
      assert(JSON.parse(a.content).step_number == 2 and JSON.parse(a.content).result.done == "transform")
      assert(a.metadata.checkpoint == true and a.metadata.step_name == "transform")""",
    "management-12": """
      os.execute = function() end
      assert(robustOperation() == true)
      local id = Session.list({status = "completed"})[1].id
      assert(Artifact.get(id, "error_attempt_2.txt").content:find("not yet") and #Artifact.list(id) == 2)
      attempts = -99
      assert(robustOperation() == false
        and Session.list({status = "failed"})[1].failure_reason == "Max retries exceeded")""",
    "management-13": """
      Session.complete(session_id)
      cleanupOldSessions(1)
      assert(#Artifact.list(session_id) == 1)
      cleanupOldSessions(-1)
      assert(#Artifact.list(session_id) == 0 and Session.get(session_id))""",
    "management-14": """
      local s = Session.get(createFromTemplate("ml_training", "x"))
      assert(s.name == "MLTraining-x" and s.metadata.gpu_required == true
        and s.metadata.checkpoint_interval == 1000)
      assert(not pcall(createFromTemplate, "nix", "x"))""",
    "management-15": """
      Session.setCurrent(session_id)
      publishMessage("news", {text = "hello"})
      local messages = subscribeToTopic("news", os.time() - 60)
      assert(#messages == 1 and messages[1].content.message.text == "hello")
      assert(messages[1].content.publisher == session_id and #subscribeToTopic("news") == 1)
      assert(#subscribeToTopic("news", os.time() + 60) == 0)""",
    "management-16": """
      assert(trackPerformance(session_id, "op", function() return 5 end) == 5)
      assert(not pcall(trackPerformance, session_id, "bad", function() error("x") end))
      assert(#Artifact.query({session_id = session_id, tags = {"metrics", "performance"}}) == 2)""",
    "management-17": "assert(metadata == nil)",
    "management-18": """
      local a = Artifact.get(session_id, "large_file.gz")
      assert(a.metadata.original_size == 400000 and a.metadata.compressed_size == a.metadata.size)
      local back = Tool.execute("compression", {operation = "decompress", algorithm = "gzip",
        input = a.content})
      assert(back.result == large_content)""",
    "management-19": """
      replayableOperation(session_id)
      local a = Artifact.get(session_id, "replay_context.json")
      assert(JSON.parse(a.content).start_time <= os.time() and a.metadata.replay_metadata == true)""",
}
REFUSED = {"management-2": "given is completed: cannot fail"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("chart.png", "document.pdf", "file.csv"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prepared(code: str, folder: Path) -> str:
    return re.sub(r'"/(path/to|tmp)/', f'"{folder}/', code)


@pytest.mark.parametrize("block", [pytest.param(block, id=block.name) for block in blocks()])
def test_a_block_of_the_guides_runs_as_written(spell_store: Store, folder: Path, block: Block) -> None:
    script = Script(spell_store, stdout=BytesIO())
    script.run_code(GIVEN)
    code = prepared(block.code, folder)
    if block.name in REFUSED:
        with pytest.raises(ScriptFailed, match=REFUSED[block.name]):
            script.run_code(code)
    else:
        script.run_code(f"{code}\n{AFTER[block.name]}")


def test_the_example_is_the_guides_complete_workflow() -> None:
    given = {line.strip() for line in list(blocks())[10].code.splitlines()} - {
        '"/tmp/chart.png",',
        '"agent_output",',
    }
    assert given <= {line.strip() for line in EXAMPLE.read_text().splitlines()}


def test_the_example_runs(spell_store: Store, folder: Path) -> None:
    stream = BytesIO()
    assert Script(spell_store, args=[str(folder / "chart.png")], stdout=stream).run_file(EXAMPLE) == 0
    session = spell_store.sessions.get("Data Analysis - Q4 2024")
    assert stream.getvalue().decode() == f"Analysis complete. Session:\t{session.id}\n"
    assert session.status == "completed"
    names = [artifact.name for artifact in spell_store.artifacts.list(session.id)]
    assert names == ["requirements.txt", "analysis_results.json", "chart.png"]
