"""The part of a publisher that inference calls: its constructor, `publish` and the counters."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from latentwatch.producers._batch import FloatType
from latentwatch.producers._buffer import Counters, RowBuffer
from latentwatch.producers._rows import prepare, sample, split_duplicates
from latentwatch.producers._sender import Sender, ThrottledLog
from latentwatch.producers._settings import PublisherSettings


class Publisher:
    """The base of both publishers: settings, buffer, `publish` and the counters."""

    def __init__(
        self,
        bootstrap_servers: str | list[str],
        model: str,
        version: str,
        *,
        topic: str = "activations",
        source: str | None = None,
        datatype: FloatType = "FP16",
        sampling_rate: float = 1.0,
        max_rows: int = 128,
        linger_ms: float = 50.0,
        max_buffered_rows: int = 16_384,
        shard: str | None = None,
        compression: str | None = "zstd",
        **kafka: Any,
    ) -> None:
        """Check the settings; ``start`` connects.

        Parameters
        ----------
        bootstrap_servers : str or list of str
            Addresses of the Kafka brokers, such as ``"kafka-1:9092,kafka-2:9092"``.
        model, version : str
            The model that is watched; letters, digits, ``.``, ``_``, ``-``.
        topic : str, optional
            Kafka topic.
        source : str, optional
            The inference service, a URI reference; by default ``/`` and the host name.
        datatype : 'FP16', 'FP32' or 'BF16', optional
            Data type on the wire. Narrowing saturates.
        sampling_rate : float, optional
            Share of the requests to publish, from 0 to 1, chosen by a hash of the request id: the
            same request is in or out everywhere. Below 1, do not let clients choose the ids: they
            could choose ids that are left out.
        max_rows : int, optional
            Most rows in one message, up to 1024; fewer if they would exceed the request size.
        linger_ms : float, optional
            How long to wait for more rows before sending a message that is not full, milliseconds.
        max_buffered_rows : int, optional
            Most rows in the buffer; ``publish`` drops rows beyond it.
        shard : str, optional
            Third part of the message key, to spread a hot model over partitions.
        compression : str or None, optional
            ``zstd``, ``snappy``, ``lz4``, ``gzip`` or None. aiokafka compresses lz4 at its highest
            level, which takes ten times as long as zstd and saves less.
        **kafka
            More options of `aiokafka.AIOKafkaProducer`, such as ``security_protocol``,
            ``ssl_context``, ``sasl_mechanism``, ``sasl_plain_username``, ``sasl_plain_password``.

        Raises
        ------
        PublisherError
            A setting is invalid.
        """
        self._settings = PublisherSettings(
            bootstrap_servers=bootstrap_servers,
            model=model,
            version=version,
            topic=topic,
            source=source if source is not None else f"/{socket.gethostname()}",
            datatype=datatype,
            sampling_rate=sampling_rate,
            max_rows=max_rows,
            linger_ms=linger_ms,
            max_buffered_rows=max_buffered_rows,
            shard=shard,
            compression=compression,
            kafka=kafka,
        )
        self._log = ThrottledLog()
        self._buffer = RowBuffer(max_buffered_rows)
        self._sender = Sender(self._settings, self._buffer, self._log)

    def __repr__(self) -> str:
        settings = self._settings
        return f"<{type(self).__name__} {settings.model}/{settings.version} to {settings.topic}>"

    @property
    def counters(self) -> Counters:
        """A snapshot of the counters: rows published so far, by outcome."""
        return self._buffer.counters

    def publish(
        self,
        activations: Mapping[str, ArrayLike],
        predicted: ArrayLike,
        *,
        request_ids: Sequence[str] | None = None,
        event_time_ns: ArrayLike | None = None,
        input_refs: Sequence[str | None] | None = None,
        traceparent: str | Sequence[str | None] | None = None,
        clients: str | Sequence[str | None] | None = None,
    ) -> bool:
        """Queue a batch of requests. Returns at once, never raises, and copies its arguments.

        May be called from any thread, and before ``start``.

        Parameters
        ----------
        activations : mapping of str to array [B, d]
            Floating-point activations of each layer.
        predicted : int array [B]
            Predicted classes, counted from 0.
        request_ids : sequence of str, optional
            Random UUIDs by default. An id that the format cannot carry (empty, over 256
            characters, not Unicode) is replaced by ``blake2b-`` and its hash.
        event_time_ns : int or int array [B], optional
            Nanoseconds since 1970 UTC; now by default.
        input_refs : sequence of str or None, optional
            Links to the stored inputs; one that the format cannot carry is left out.
        traceparent : str, or sequence of str or None, optional
            W3C trace parent of all rows, or of each row, so that alerts lead to the traces of the
            requests. A malformed one is left out, because clients may send anything.
        clients : str, or sequence of str or None, optional
            The client that sent all rows, or each row; needed to detect model extraction. Give a
            pseudonym, such as a keyed hash of the account: it appears in topics and recordings.
            One that the format cannot carry is replaced by its hash, like a request id.

        Returns
        -------
        bool
            True if the rows were accepted, or left out by sampling. False if the buffer is full or
            closed (dropped) or the arguments are wrong (failed); a warning is logged, at most
            every 30 seconds.
        """
        try:
            rows = prepare(
                activations,
                predicted,
                request_ids,
                event_time_ns,
                input_refs,
                traceparent,
                clients,
            )
            kept = sample(rows, self._settings.sampling_rate)
            chunks = split_duplicates(kept)
        except Exception as error:  # whatever the arguments, inference must not fail
            self._buffer.refuse(_row_count(predicted))
            self._log.warning("arguments", f"publish got wrong arguments: {error}")
            return False
        taken = self._buffer.add(chunks, sampled_out=len(rows) - len(kept))
        if taken:
            self._sender.wake()
        else:
            self._log.warning("dropped", f"the buffer is full or closed: dropped {len(kept)} rows")
        return taken


def _row_count(predicted: Any) -> int:
    """Best guess at the number of rows of a call with wrong arguments."""
    try:
        return len(predicted)
    except TypeError:
        return 1
