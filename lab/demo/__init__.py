"""The demo: a traffic-sign network under attack, watched on a real broker.

As in production, each part runs in its own process: the inference service
(``python -m latentwatch.lab.signs``), the worker (``latentwatch worker``), the dashboard, and this
one, which reads the output topics as a subscriber would.
"""
