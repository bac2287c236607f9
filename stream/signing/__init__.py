"""Signatures of baselines, and the check of them before a worker loads a baseline.

``signatures`` needs the extra ``sign``; ``trust`` works without it as long as no keys are set.
"""
