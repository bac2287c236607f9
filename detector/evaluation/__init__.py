"""The yardstick: false alarms, power, run lengths, requests and hours on labelled sets of rows."""

from latentwatch.detector.evaluation.measures import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
