"""Recordings from elsewhere, and the violations file of a Model Monitor job.

Needs the extra ``record``. The forms that are read are described in docs/import.md.
"""

from latentwatch.stream.importers.data_capture import read_data_capture
from latentwatch.stream.importers.debugger import Clock, read_debugger
from latentwatch.stream.importers.events import Event, Skipped, Summary
from latentwatch.stream.importers.kserve import Service, read_kserve
from latentwatch.stream.importers.outputs import Outputs
from latentwatch.stream.importers.violations import HourVerdict, judge_hour, violations_of
from latentwatch.stream.importers.writing import check_target, write_recording

__all__ = [
    "Clock",
    "Event",
    "HourVerdict",
    "Outputs",
    "Service",
    "Skipped",
    "Summary",
    "check_target",
    "judge_hour",
    "read_data_capture",
    "read_debugger",
    "read_kserve",
    "violations_of",
    "write_recording",
]
