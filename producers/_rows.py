"""Rows before they become a message: checked in the caller's thread, sampled, split and joined."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentwatch.producers import _checks as checks
from latentwatch.producers._batch import DEFAULT_LIMITS
from latentwatch.producers._floats import all_finite, finite_rows
from latentwatch.producers.errors import EncodeError

Signature: TypeAlias = tuple[tuple[str, str, int], ...]
"""Name, dtype and dimension of each layer: rows with the same signature fit into one message."""

_INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The requests of one or several `publish` calls; owns its arrays."""

    activations: dict[str, NDArray[Any]]
    predicted: NDArray[np.int32]
    event_time_ns: NDArray[np.int64]
    request_ids: list[str]
    input_refs: list[str | None]
    traceparents: list[str | None] | None
    """None where no row has one."""
    clients: list[str | None] | None
    """None where no row has one."""
    signature: Signature

    def __len__(self) -> int:
        return len(self.request_ids)

    @property
    def width(self) -> int:
        """Activation values in one row, over all layers."""
        return sum(dimension for _, _, dimension in self.signature)

    def pick(self, index: Sequence[int] | NDArray[np.intp]) -> Rows:
        """The rows at these positions, copied."""
        return Rows(
            {name: array[index] for name, array in self.activations.items()},
            self.predicted[index],
            self.event_time_ns[index],
            [self.request_ids[i] for i in index],
            [self.input_refs[i] for i in index],
            None if self.traceparents is None else [self.traceparents[i] for i in index],
            None if self.clients is None else [self.clients[i] for i in index],
            self.signature,
        )

    def cut(self, start: int, stop: int) -> Rows:
        """The rows from `start` to `stop`, as views."""
        return Rows(
            {name: array[start:stop] for name, array in self.activations.items()},
            self.predicted[start:stop],
            self.event_time_ns[start:stop],
            self.request_ids[start:stop],
            self.input_refs[start:stop],
            None if self.traceparents is None else self.traceparents[start:stop],
            None if self.clients is None else self.clients[start:stop],
            self.signature,
        )


def join(parts: Sequence[Rows]) -> Rows:
    """Concatenate rows of the same signature."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    return Rows(
        {
            name: np.concatenate([part.activations[name] for part in parts])
            for name in first.activations
        },
        np.concatenate([part.predicted for part in parts]),
        np.concatenate([part.event_time_ns for part in parts]),
        [request_id for part in parts for request_id in part.request_ids],
        [ref for part in parts for ref in part.input_refs],
        _joined([part.traceparents for part in parts], parts),
        _joined([part.clients for part in parts], parts),
        first.signature,
    )


def _joined(
    texts: Sequence[list[str | None] | None], parts: Sequence[Rows]
) -> list[str | None] | None:
    if all(own is None for own in texts):
        return None
    pairs = zip(texts, parts, strict=True)
    return [text for own, part in pairs for text in own or [None] * len(part)]


def sample(rows: Rows, rate: float) -> Rows:
    """The share `rate` of the rows, chosen by a hash of the request id alone.

    The choice is the same in every process and at any time, and a higher rate keeps every row that
    a lower one keeps.
    """
    if rate >= 1.0:
        return rows
    bound = int(rate * 2**64)
    kept = [i for i, text in enumerate(rows.request_ids) if _hash64(text) < bound]
    return rows.pick(np.array(kept, dtype=np.intp))


def split_duplicates(rows: Rows) -> list[Rows]:
    """Split rows so that no part repeats a request id: a message must not contain an id twice.

    Clients may choose the ids and repeat them in retries. Refusing repeats would let an attacker
    hide requests by giving them the same id.
    """
    if len(set(rows.request_ids)) == len(rows):
        return [rows]
    seen: Counter[str] = Counter()
    ranks = []
    for request_id in rows.request_ids:
        ranks.append(seen[request_id])
        seen[request_id] += 1
    return [rows.pick(np.flatnonzero(np.array(ranks) == rank)) for rank in range(max(ranks) + 1)]


def finite_only(rows: Rows) -> Rows:
    """The rows without NaN or infinity; the same object if all rows are finite."""
    spoilt = [array for array in rows.activations.values() if not all_finite(array)]
    if not spoilt:
        return rows
    return rows.pick(np.flatnonzero(np.logical_and.reduce([finite_rows(a) for a in spoilt])))


def prepare(
    activations: Mapping[str, ArrayLike],
    predicted: ArrayLike,
    request_ids: Sequence[str] | None,
    event_time_ns: ArrayLike | None,
    input_refs: Sequence[str | None] | None,
    traceparent: str | Sequence[str | None] | None,
    clients: str | Sequence[str | None] | None = None,
) -> Rows:
    """Check and copy the arguments of one `publish` call; the caller may reuse its arrays.

    Raises
    ------
    EncodeError, WireError, TypeError, ValueError
        An argument has the wrong type or shape, or is out of range.
    """
    classes = _classes(predicted)
    layers = {name: _layer(name, array, len(classes)) for name, array in activations.items()}
    if not layers:
        raise EncodeError("activations is empty: give at least one layer")
    return Rows(
        layers,
        classes,
        _event_times(event_time_ns, len(classes)),
        _request_ids(request_ids, len(classes)),
        _input_refs(input_refs, len(classes)),
        _traceparents(traceparent, len(classes)),
        _clients(clients, len(classes)),
        tuple((name, array.dtype.str, array.shape[1]) for name, array in layers.items()),
    )


def _hash64(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def _classes(predicted: ArrayLike) -> NDArray[np.int32]:
    classes = np.asarray(predicted)
    if classes.ndim != 1 or (classes.dtype.kind not in "iu" and len(classes) > 0):
        raise EncodeError("predicted: give one integer class per row")
    if len(classes) and not 0 <= int(classes.min()) <= int(classes.max()) <= _INT32_MAX:
        raise EncodeError("predicted: classes count from 0 and fit into 32 bits")
    return classes.astype("<i4")


def _layer(name: str, values: ArrayLike, rows: int) -> NDArray[Any]:
    array = np.array(values)
    if array.ndim != 2 or len(array) != rows or array.shape[1] == 0:
        raise EncodeError(f"layer {name} has shape {array.shape}: use [{rows} rows, dimension]")
    if array.dtype.kind != "f":
        raise EncodeError(f"layer {name} has dtype {array.dtype}: use float32 or float16")
    with np.errstate(over="ignore"):  # becomes infinite, and is then counted as failed
        return array.astype("<f2" if array.dtype.itemsize == 2 else "<f4", copy=False)


def _event_times(event_time_ns: ArrayLike | None, rows: int) -> NDArray[np.int64]:
    times = np.asarray(time.time_ns() if event_time_ns is None else event_time_ns)
    if times.shape not in ((), (rows,)) or (times.dtype.kind not in "iu" and times.size > 0):
        raise EncodeError(
            "event_time_ns: give integer nanoseconds, one for all rows or one per row"
        )
    spread = np.full(rows, times, dtype="<i8")
    if rows:
        checks.check_event_times(spread, DEFAULT_LIMITS)
    return spread


def _request_ids(request_ids: Sequence[str] | None, rows: int) -> list[str]:
    if request_ids is None:
        return [str(uuid.uuid4()) for _ in range(rows)]
    ids = list(request_ids)
    if len(ids) != rows or not set(map(type, ids)) <= {str}:
        raise EncodeError(f"request_ids: give {rows} strings, one per row")
    return [text if _usable(text, DEFAULT_LIMITS.id_length) else _digest(text) for text in ids]


def _input_refs(input_refs: Sequence[str | None] | None, rows: int) -> list[str | None]:
    if input_refs is None:
        return [None] * rows
    refs = list(input_refs)
    if len(refs) != rows or not set(map(type, refs)) <= {str, type(None)}:
        raise EncodeError(f"input_refs: give {rows} strings or None, one per row")
    limit = DEFAULT_LIMITS.ref_length
    return [ref if ref is not None and _usable(ref, limit) else None for ref in refs]


def _traceparents(
    traceparent: str | Sequence[str | None] | None, rows: int
) -> list[str | None] | None:
    """One per row; clients may have chosen them, so a malformed one must not cost us the row."""
    texts = _texts_of_rows("traceparent", traceparent, rows)
    valid = {text for text in set(texts) if text is not None and checks.is_traceparent(text)}
    return [text if text in valid else None for text in texts] if valid else None


def _clients(clients: str | Sequence[str | None] | None, rows: int) -> list[str | None] | None:
    """One per row; names that the format cannot carry are hashed, so they stay distinguishable."""
    texts = _texts_of_rows("clients", clients, rows)
    known = {
        text: text if _usable(text, DEFAULT_LIMITS.id_length) else _digest(text)
        for text in set(texts)
        if text is not None
    }
    return [None if text is None else known[text] for text in texts] if known else None


def _texts_of_rows(
    what: str, texts: str | Sequence[str | None] | None, rows: int
) -> list[str | None]:
    """One text per row; a single text applies to all rows."""
    if texts is None or isinstance(texts, str):
        return [texts] * rows
    found = list(texts)
    if len(found) != rows or not set(map(type, found)) <= {str, type(None)}:
        raise EncodeError(
            f"{what}: give one string for all rows, or {rows} strings or None, one per row"
        )
    return found


def _usable(text: str, limit: int) -> bool:
    if text.isascii():
        return 0 < len(text) <= limit
    # lone surrogates are the one thing a str can hold that UTF-8 cannot
    return len(text) <= limit and not any("\ud800" <= letter <= "\udfff" for letter in text)


def _digest(text: str) -> str:
    """Replacement for an id that the format cannot carry; anyone who has the id can compute it."""
    raw = text.encode("utf-8", "surrogatepass")
    return f"blake2b-{hashlib.blake2b(raw, digest_size=16).hexdigest()}"
