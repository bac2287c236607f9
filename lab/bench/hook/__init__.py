"""Cost of the capture hook and the publisher in the service that they run in.

Programs without imports of the stream: `overhead` with a broker, and `outage` without one.
"""
