"""What shows and measures latentwatch itself; no other house imports it.

`signs` is a traffic-sign service with attacks on it, and `demo` watches it. `bench` measures speed,
`evaluate` detection power, and `peers` other detectors. `soak` breaks the service while it runs.
`brokers` starts a Kafka for all of them.
"""
