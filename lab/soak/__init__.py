"""Breaks the service while a known stream runs through it, and says whether anything was lost.

`known` is the stream, `world` the broker, the workers and the sender around it, `faults` what is
done to them, `truth` what must come out, `verdict` whether it did. `suites` puts them together.
"""
