"""json-processor: values to JSON text and back, queries (JMESPath), validation (JSON Schema), merging (RFC 7396)."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice

from llmspellfs.errors import InvalidValue
from llmspellfs.model.values import Json
from llmspellfs.tools.json_text import read, write
from llmspellfs.tools.tool import Parameter, Tool

MAX_ERRORS = 100
"""Errors of a validation that are told."""
_OPERATIONS = ("stringify", "parse", "query", "validate", "merge")


def process(
    *, operation: str, input: Json, pretty: bool, query: str | None, schema: Json, patch: Json, mode: str
) -> object:
    """Do *operation* to *input*; raise InvalidValue where it, or what the operation needs, is wrong."""
    if operation == "stringify":
        return write(input, pretty=pretty)
    if operation == "parse":
        if not isinstance(input, str):
            raise InvalidValue("input", "expected a string of JSON to parse")
        return read(input, "input")
    if operation == "query":
        return _queried(input, query)
    if operation == "validate":
        return _validated(input, schema)
    merged: Callable[[Json, Json], Json] = merge_patch if mode == "patch" else merge_deep
    return merged(input, patch)


def merge_patch(value: Json, patch: Json) -> Json:
    """Return *value* changed as the JSON Merge Patch *patch* says (RFC 7396): null removes."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for key, item in patch.items():
        if item is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), item)
    return merged


def merge_deep(value: Json, other: Json) -> Json:
    """Return objects merged key by key, lists one after the other, and *other* in place of all else."""
    if isinstance(value, dict) and isinstance(other, dict):
        both = {key: merge_deep(value[key], item) if key in value else item for key, item in other.items()}
        return {**value, **both}
    if isinstance(value, list) and isinstance(other, list):
        return [*value, *other]
    return other


def _queried(value: Json, query: str | None) -> object:
    import jmespath
    from jmespath.exceptions import JMESPathError

    if query is None:
        raise InvalidValue("query", "expected a JMESPath expression, not nothing")
    try:
        return jmespath.search(query, value)
    except JMESPathError as error:
        raise InvalidValue("query", " ".join(str(error).split())) from None


def _validated(value: Json, schema: Json) -> object:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    if not isinstance(schema, dict | bool):
        raise InvalidValue("schema", "expected a JSON Schema: a table, true or false")
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
        # With a registry of its own it fetches no schema from a file or the network.
        found = islice(kind(schema, registry=Registry()).iter_errors(value), MAX_ERRORS)
        errors = [{"path": error.json_path, "message": error.message, "keyword": error.validator} for error in found]
    except SchemaError as error:
        raise InvalidValue("schema", f"{error.json_path}: {error.message}") from None
    except Unresolvable as error:
        raise InvalidValue("schema", f"a reference leads nowhere: {json.dumps(error.ref)}") from None
    return {"valid": not errors, "errors": errors}


TOOL = Tool(
    "write and read JSON, query it (JMESPath), validate it (JSON Schema), merge it",
    process,
    (
        Parameter("operation", "string", "what to do", required=True, choices=_OPERATIONS),
        Parameter("input", "any", "the value; for parse, the JSON text", required=True),
        Parameter("pretty", "boolean", "stringify: indented", default=False),
        Parameter("query", "string", "query: a JMESPath expression"),
        Parameter("schema", "any", "validate: a JSON Schema, draft 2020-12 unless its $schema says another"),
        Parameter("patch", "any", "merge: what is merged into the input"),
        Parameter(
            "mode", "string", "merge: patch is RFC 7396 (null removes, lists are replaced); deep appends lists",
            default="patch", choices=("patch", "deep"),
        ),
    ),
    isolated=frozenset({"query", "validate"}),
)  # fmt: skip
