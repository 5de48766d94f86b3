"""The tools that scripts call by name, one module each: plain functions with described parameters.

No Lua, no store, no clock but the date tool's. A `Tool` says what it does, what each parameter is, and what runs; the
`Registry` finds tools by name and runs them; `worker` is the child process for what cannot be bounded otherwise.

Other packages add tools through the entry point group `llmspellfs.tools`. The entry point's name is the tool's name;
its value is a `Tool`:

    # pyproject.toml of the package
    [project.entry-points."llmspellfs.tools"]
    word-counter = "word_counter:TOOL"

    # word_counter.py
    from llmspellfs.tools import Parameter, Tool

    def count(*, text: str, longest: int) -> dict[str, int]:
        words = text.split()
        return {"words": len(words), "long": sum(len(word) > longest for word in words)}

    TOOL = Tool(
        "count words, and those longer than a length",
        count,
        (
            Parameter("text", "string", "the text", required=True),
            Parameter("longest", "integer", "letters up to which a word is not long", default=8, minimum=0),
        ),
    )

The function gets its parameters by name, checked and with defaults in place, and returns what JSON can say, or bytes.
Whatever it raises is a failure in the answer; for a wrong parameter raise `InvalidValue(name, "expected …")`. A tool
that is here keeps its name; of two packages' tools of one name the first on `sys.path` is taken. A package that cannot
be imported harms only its own tools.
"""

from llmspellfs.errors import InvalidValue
from llmspellfs.tools.outcome import Outcome
from llmspellfs.tools.registry import Registry
from llmspellfs.tools.tool import Parameter, Tool

__all__ = ["InvalidValue", "Outcome", "Parameter", "Registry", "Tool"]
