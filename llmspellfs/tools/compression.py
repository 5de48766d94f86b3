"""compression: a string made smaller and back again, in the formats of `codecs`."""

from __future__ import annotations

from llmspellfs.tools.codecs import ALGORITHMS, MAX_OUTPUT, compress, decompress
from llmspellfs.tools.tool import Parameter, Tool


def run(*, operation: str, input: bytes, algorithm: str, level: int | None, max_size: int) -> bytes:
    """Return *input* compressed or decompressed; raise InvalidValue where it is damaged or *level* is none."""
    if operation == "compress":
        return compress(algorithm, input, level)
    return decompress(algorithm, input, max_size)


TOOL = Tool(
    "compress and decompress strings: gzip, zlib, deflate, zstd",
    run,
    (
        Parameter("operation", "string", "what to do", required=True, choices=("compress", "decompress")),
        Parameter("input", "bytes", "the string", required=True),
        Parameter("algorithm", "string", "the format", default="gzip", choices=ALGORITHMS),
        Parameter("level", "integer", "compress: 0 to 9, for zstd 1 to 22; more is smaller and slower"),
        Parameter(
            "max_size", "integer", "decompress: bytes of the result at most",
            default=MAX_OUTPUT, minimum=0, maximum=1 << 30,
        ),
    ),
)  # fmt: skip
