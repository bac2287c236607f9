"""Malformed messages in a stream become dead letters with a reason and affect nothing else."""

from typing import Any

import pytest

pytestmark = pytest.mark.broker


def headers_of(record: Any) -> dict[str, str]:
    return {
        name: value.decode(errors="replace")
        for name, value in record.headers
        if name.startswith("latentwatch-")
    }


def offsets_on(partition: int, messages: list[Any]) -> list[Any]:
    return [message for message in messages if message.partition == partition]


def test_each_malformed_message_is_published_once_with_its_reason(undisturbed: Any) -> None:
    reasons = sorted(headers_of(r)["latentwatch-reason"] for r in undisturbed.outputs.dead_letter)
    assert reasons == sorted(reason for _, reason in undisturbed.recording.refused)
    assert all(headers_of(r)["latentwatch-detail"] for r in undisturbed.outputs.dead_letter)


def test_a_dead_letter_says_where_the_message_was(undisturbed: Any) -> None:
    stream = offsets_on(1, undisturbed.recording.messages)
    topic = undisturbed.topics.activations
    by_offset = {headers_of(r)["latentwatch-offset"]: r for r in undisturbed.outputs.dead_letter}
    for message, reason in undisturbed.recording.refused:
        offset = str(stream.index(message))
        headers = headers_of(by_offset[offset])
        assert headers["latentwatch-reason"] == reason
        assert (headers["latentwatch-topic"], headers["latentwatch-partition"]) == (topic, "1")
        assert by_offset[offset].key == f"{topic}/1/{offset}".encode()


def test_a_dead_letter_keeps_value_key_and_headers_unchanged(undisturbed: Any) -> None:
    stream = offsets_on(1, undisturbed.recording.messages)
    for record in undisturbed.outputs.dead_letter:
        message = stream[int(headers_of(record)["latentwatch-offset"])]
        assert record.value == message.value
        kept = [pair for pair in record.headers if not pair[0].startswith("latentwatch-")]
        assert kept == list(message.headers)
        assert dict(record.headers).get("latentwatch-key") == message.key


def test_the_lanes_of_the_same_partition_lose_no_request(undisturbed: Any) -> None:
    assert len(undisturbed.recording.refused) >= 9
    assert undisturbed.outputs.requests == undisturbed.recording.requests
