"""The truth takes messages as they came, whatever else their partitions hold."""

from typing import NamedTuple

from latentwatch.lab.soak.truth import as_they_came


class Stored(NamedTuple):
    """What matters of a record."""

    partition: int
    offset: int
    timestamp: int


def test_a_partition_of_many_messages_does_not_lag() -> None:
    few = [Stored(0, offset, 100 * offset) for offset in range(10)]
    many = [Stored(1, offset, 50 * offset) for offset in range(20)]
    came = as_they_came([*many, *few])
    times = [record.timestamp for record in came]
    assert times == sorted(times)


def test_offsets_keep_their_order_whatever_the_times() -> None:
    late = [Stored(0, 0, 500), Stored(0, 1, 400), Stored(0, 2, 600), Stored(1, 0, 450)]
    came = as_they_came(late)
    assert [record.offset for record in came if record.partition == 0] == [0, 1, 2]
    assert came[0] == Stored(1, 0, 450)
