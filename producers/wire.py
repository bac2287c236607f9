"""The wire format: one Kafka message holds a micro-batch of activations of one model version.

A message is a CloudEvent 1.0 in Kafka's binary mode; its value has the binary-tensor layout of the
Open Inference Protocol, version 2::

    key      model/version   or   model/version/shard
    headers  content-type                     application/octet-stream
             inference-header-content-length  bytes of the JSON header, in digits
             ce_specversion                   1.0
             ce_type                          io.latentwatch.activations.v1
             ce_id, ce_time, ce_source        unique id, RFC 3339 time, URI reference
             ce_modelname, ce_modelversion    letters, digits, '.', '_', '-'
             ce_traceparent                   W3C trace parent of the requests, optional
             ce_traceparents                  one per row, separated by commas, empty for a row
                                              without one; only sent if the rows differ
    value    JSON header, then the tensors in the same order, little-endian, without gaps

The JSON header, for B requests and layers of d values::

    {"outputs": [{"name": "layer4", "datatype": "FP32" | "FP16" | "BF16", "shape": [B, d],
                  "parameters": {"binary_data_size": B * d * bytes}}, ...,
                 {"name": "predicted_class", "datatype": "INT32", "shape": [B], ...},
                 {"name": "event_time_ns", "datatype": "INT64", "shape": [B], ...}],
     "parameters": {"request_ids": [B strings], "input_refs": [B strings or nulls],
                    "clients": [B strings or nulls]}}

``input_refs`` and ``clients`` are optional; unknown members are refused. The outputs may come in
any order. The JSON may be followed by white space within its announced length: `encode` pads with
spaces to a multiple of eight bytes, so that the first layer is aligned.

A second type, ``io.latentwatch.end-of-stream.v1``, has no rows: it closes the open hours of a model
version on its partition (`encode_end`, `read_end`). Replays end with it.

This module needs only numpy and orjson.
"""

from latentwatch.producers._batch import (
    CONTENT_TYPE,
    END_TYPE,
    EVENT_TYPE,
    SPEC_VERSION,
    ActivationBatch,
    FloatType,
    Limits,
    Message,
    Traces,
    traces_of,
)
from latentwatch.producers._decode import Headers, decode
from latentwatch.producers._encode import encode
from latentwatch.producers._marker import EndOfStream, encode_end, read_end
from latentwatch.producers.errors import EncodeError, Reason, WireError

__all__ = [
    "CONTENT_TYPE",
    "END_TYPE",
    "EVENT_TYPE",
    "SPEC_VERSION",
    "ActivationBatch",
    "EncodeError",
    "EndOfStream",
    "FloatType",
    "Headers",
    "Limits",
    "Message",
    "Reason",
    "Traces",
    "WireError",
    "decode",
    "encode",
    "encode_end",
    "read_end",
    "traces_of",
]
