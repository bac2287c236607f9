"""Recordings from elsewhere, and the violations file of a Model Monitor job.

Needs the extra ``record``. The forms that are read are described in docs/import.md.
"""

from .data_capture import read_data_capture
from .debugger import Clock, read_debugger
from .events import Event, Skipped, Summary
from .kserve import Service, read_kserve
from .outputs import Outputs
from .violations import HourVerdict, judge_hour, violations_of
from .writing import check_target, write_recording

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
