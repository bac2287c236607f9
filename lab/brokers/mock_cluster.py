"""Runs librdkafka's mock cluster, from the library inside the ``confluent-kafka`` wheel.

A separate program (``python mock_cluster.py [TOPIC=PARTITIONS...]``): it prints the address of the
cluster and runs until its standard input ends, so that it never outlives its parent. The Python
binding does not offer the mock cluster's functions, but its C library does: they are called through
ctypes, as symbols of the binding's own extension module.

What works with aiokafka 0.14 and Faust 0.15 (confluent-kafka 2.16), each tried:

- produce, also idempotent, with all four compressions, headers and keys;
- fetch, list and seek offsets, messages of several MiB (more than the 5 MiB below: one message
  is always kept);
- a consumer group **of one member**: join, heartbeat, commit, and resume where it left off;
- topics that are created on first use, with 4 partitions.

What does not:

- a second member of a group: the mock cluster answers its SyncGroup with an error unless it
  comes before the leader's, and aiokafka gives up on that. One worker only;
- a quick restart: a member that comes after another has left waits for the session timeout;
- the admin API (create, delete, configure, list groups): there is none. Cleanup policies do not
  exist either: nothing is compacted and nothing expires;
- more than 5 MiB in a partition: the oldest messages go, read or not. A reader that was slower
  skips them without a word, as its offset is out of range;
- offsets by time (always "none"), and the timestamp in the acknowledgement (always 1234; the
  stored one is right);
- keeping anything: it is all in memory.
"""

import ctypes
import sys

MEMBERS_WAIT_MS = 0
_PRODUCER = 0


def _library() -> ctypes.CDLL:
    """Return librdkafka with the types of the functions used here."""
    import confluent_kafka.cimpl as extension

    # A symbol is looked for in the dependencies as well, so the bundled library's name, which
    # differs with system and version, need not be known.
    library = ctypes.CDLL(extension.__file__)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _start(topics: dict[str, int]) -> str:
    """Start the cluster, which lives as long as the process, and return its address."""
    library = _library()
    error = ctypes.create_string_buffer(512)
    configuration = library.rd_kafka_conf_new()
    # The client that carries the mock cluster has no servers, and would warn of that.
    library.rd_kafka_conf_set(configuration, b"log_level", b"0", error, len(error))
    client = library.rd_kafka_new(_PRODUCER, configuration, error, len(error))
    if not client:
        raise SystemExit(f"librdkafka did not start: {error.value.decode()}")
    cluster = library.rd_kafka_mock_cluster_new(client, 1)
    if not cluster:
        raise SystemExit("librdkafka's mock cluster did not start")
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, MEMBERS_WAIT_MS)
    for name, partitions in topics.items():
        if library.rd_kafka_mock_topic_create(cluster, name.encode(), partitions, 1):
            raise SystemExit(f"the mock cluster refused the topic {name}")
    address: bytes = library.rd_kafka_mock_cluster_bootstraps(cluster)
    return address.decode()


def main(arguments: list[str]) -> None:
    """Start the cluster, print its address, and wait for the end of the standard input."""
    topics = dict(argument.rsplit("=", 1) for argument in arguments)
    sys.stdout.write(_start({name: int(count) for name, count in topics.items()}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
