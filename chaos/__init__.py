"""Chaos engineering for models: attack and break a watched model on purpose, and see what holds.

`traffic` makes benign and bad requests for any torch classifier; `experiment` runs experiments in
Chaos Toolkit's format against a running system, and scores the attacks that a baseline catches.
"""
