"""What chaos experiments are made of: the system under test, the comparison, and the reports.

Modules, in the order in which they build on each other: `material` (a baseline for the
classifier), `outputs` and `measure` (the topics, compared with the truth), `system` (broker,
workers and traffic), `page` and `run` (the report and ``latentwatch experiment run``), `scorecard`
and `scorecard_page`, and `command` (the command line).
"""
