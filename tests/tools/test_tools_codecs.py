from __future__ import annotations

import contextlib
import gzip
import zlib

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmspellfs.errors import InvalidValue
from llmspellfs.tools import codecs

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@patient
@given(st.binary(max_size=4096), st.sampled_from(codecs.ALGORITHMS))
def test_what_is_compressed_comes_back(data: bytes, algorithm: str) -> None:
    assert codecs.decompress(algorithm, codecs.compress(algorithm, data)) == data


@patient
@given(st.binary(max_size=256), st.sampled_from(codecs.ALGORITHMS))
def test_damaged_data_is_refused_or_decoded_and_nothing_else(data: bytes, algorithm: str) -> None:
    with contextlib.suppress(InvalidValue):
        codecs.decompress(algorithm, data)


@pytest.mark.parametrize("algorithm", codecs.ALGORITHMS)
def test_cut_and_extended_data_is_refused(algorithm: str) -> None:
    whole = codecs.compress(algorithm, b"some text " * 100)
    for damaged in (whole[:-1], whole[: len(whole) // 2], whole + b"zz", b""):
        with pytest.raises(InvalidValue):
            codecs.decompress(algorithm, damaged)


@pytest.mark.parametrize("algorithm", codecs.ALGORITHMS)
def test_output_is_bounded(algorithm: str) -> None:
    bomb = codecs.compress(algorithm, bytes(1 << 20))
    assert len(codecs.decompress(algorithm, bomb, 1 << 20)) == 1 << 20
    with pytest.raises(InvalidValue, match="more than 1048575 bytes"):
        codecs.decompress(algorithm, bomb, (1 << 20) - 1)


def test_the_formats_are_those_of_other_tools() -> None:
    assert gzip.decompress(codecs.compress("gzip", b"x")) == b"x"
    assert zlib.decompress(codecs.compress("zlib", b"x")) == b"x"
    assert zstandard.ZstdDecompressor().decompress(codecs.compress("zstd", b"x")) == b"x"
    assert codecs.decompress("gzip", gzip.compress(b"a") + gzip.compress(b"b")) == b"ab"
    assert codecs.decompress("zstd", zstandard.compress(b"a") + zstandard.compress(b"b")) == b"ab"
    assert codecs.compress("gzip", b"x") == codecs.compress("gzip", b"x")
    assert zlib.decompress(codecs.compress("deflate", b"x"), -15) == b"x"


@pytest.mark.parametrize("algorithm", ["gzip", "zstd"])
def test_many_members_one_after_another_are_one_text(algorithm: str) -> None:
    members = [f"{number},".encode() for number in range(3000)]
    packed = b"".join(codecs.compress(algorithm, member) for member in members)
    assert codecs.decompress(algorithm, packed) == b"".join(members)
    with pytest.raises(InvalidValue, match=r"ends too early|damaged"):
        codecs.decompress(algorithm, packed[:-1])
