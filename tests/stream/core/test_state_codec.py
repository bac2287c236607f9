import zlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwatch.stream.core.errors import StateError
from latentwatch.stream.core.hours import HourPart
from latentwatch.stream.core.lane import Lane
from latentwatch.stream.core.state_codec import pack, reading, unpack

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
headers = st.dictionaries(st.text().filter(lambda name: name != "blobs"), values)
blobs = st.lists(st.binary(max_size=64))


def framed(body: bytes) -> bytes:
    return b"LWF1" + zlib.compress(body)


def with_header(header: Any) -> bytes:
    head = orjson.dumps(header)
    return framed(len(head).to_bytes(4, "little") + head)


@given(headers, blobs)
def test_what_was_packed_comes_back(header: dict[str, Any], parts: list[bytes]) -> None:
    assert unpack(pack(header, parts)) == (header, parts)


@given(headers, blobs)
def test_the_order_of_the_header_is_kept(header: dict[str, Any], parts: list[bytes]) -> None:
    for given_order in (header, dict(reversed(header.items()))):
        assert list(unpack(pack(given_order, parts))[0].items()) == list(given_order.items())


@given(st.binary())
def test_random_bytes_are_refused_with_the_one_error(data: bytes) -> None:
    for damaged in (data, b"LWF1" + data, framed(data)):
        with pytest.raises(StateError, match="delete the record"):
            unpack(damaged)


@given(headers, blobs, st.data())
def test_cut_or_longer_bytes_are_refused(
    header: dict[str, Any], parts: list[bytes], data: st.DataObject
) -> None:
    packed = pack(header, parts)
    for damaged in (packed[: data.draw(st.integers(0, len(packed) - 1))], packed + b"x"):
        with pytest.raises(StateError):
            unpack(damaged)


@given(headers, blobs, st.data())
def test_a_changed_byte_never_passes_for_another_record(
    header: dict[str, Any], parts: list[bytes], data: st.DataObject
) -> None:
    packed = bytearray(pack(header, parts))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= data.draw(st.integers(1, 255))
    try:
        found = unpack(bytes(packed))
    except StateError:
        return
    assert found == (header, parts)


@pytest.mark.parametrize(
    "header", [1, "x", None, [], [1], {}, {"blobs": 1}, {"blobs": ["a"]}, {"blobs": [5]}]
)
def test_a_sound_frame_around_another_header_is_refused(header: Any) -> None:
    with pytest.raises(StateError):
        unpack(with_header(header))


@pytest.mark.parametrize("read", [HourPart.from_bytes, Lane.key_of, Lane.offset_of])
def test_a_record_of_another_kind_is_refused_by_all_readers(read: Any) -> None:
    for strange in (pack({}, []), pack({"key": 1, "last_offset": "x"}, [b"a"]), b""):
        with pytest.raises(StateError):
            read(strange)


def test_errors_of_our_own_code_are_not_taken_for_damage() -> None:
    with pytest.raises(ZeroDivisionError), reading(b""):
        1 / 0  # noqa: B018
