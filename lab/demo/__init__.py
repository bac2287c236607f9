"""The demo: a traffic-sign network under attack, watched on a real broker.

It runs the parts as production does, each in its own process: the inference service
(``python -m latentwatch.lab.signs``), the worker (``latentwatch worker``), and this one, which
reads the output topics as a subscriber would.
"""
