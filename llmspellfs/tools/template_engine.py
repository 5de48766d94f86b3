"""template-engine: Jinja templates in Jinja's own sandbox, in the child process, which bounds their time and memory."""

from __future__ import annotations

from llmspellfs.errors import InvalidValue
from llmspellfs.model.values import Json
from llmspellfs.tools.tool import Parameter, Tool

MAX_RESULT = 1 << 24
"""Characters of a rendered template at most."""


def run(*, operation: str, template: str, variables: dict[str, Json], strict: bool, autoescape: bool) -> object:
    """Return *template* rendered with *variables*, or the names it asks for; raise InvalidValue where it is none."""
    import jinja2
    from jinja2 import meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    undefined = jinja2.StrictUndefined if strict else jinja2.Undefined
    environment = ImmutableSandboxedEnvironment(
        undefined=undefined, autoescape=autoescape, keep_trailing_newline=True, cache_size=0
    )
    try:
        if operation == "variables":
            return sorted(meta.find_undeclared_variables(environment.parse(template)))
        return _rendered(environment.from_string(template), variables)
    except jinja2.TemplateSyntaxError as error:
        raise InvalidValue("template", f"line {error.lineno}: {error.message}") from None
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError) as error:
        raise InvalidValue("template", f"{error or type(error).__name__}") from None


def _rendered(template: object, variables: dict[str, Json]) -> str:
    parts, size = [], 0
    for part in template.generate(variables):  # type: ignore[attr-defined]
        parts.append(part)
        size += len(part)
        if size > MAX_RESULT:
            raise InvalidValue("template", f"the result is more than {MAX_RESULT} characters")
    return "".join(parts)


TOOL = Tool(
    "fill in a Jinja template, or list the variables that it asks for",
    run,
    (
        Parameter("operation", "string", "what to do", default="render", choices=("render", "variables")),
        Parameter("template", "string", "the template", required=True),
        Parameter("variables", "object", "what its names stand for", default={}),
        Parameter("strict", "boolean", "a name that stands for nothing is a failure, not empty", default=False),
        Parameter("autoescape", "boolean", "escape values for HTML", default=False),
    ),
    isolated=frozenset({"render", "variables"}),
)
