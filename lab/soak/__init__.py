"""Breaks the service while a synthetic stream runs through it; reports whether anything is lost.

`synthetic_stream` is the stream, `world` the brokers, workers and sender (`cluster`, `fleet`,
`sender`), `faults` what is done to them, `truth` what must come out, `verdict` whether it did.
`suites` puts them together, and `run` runs one of them. `recorder` and `publisher` are suites of
their own.
"""
