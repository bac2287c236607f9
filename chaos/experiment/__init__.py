"""Chaos experiments: break the system on purpose, and see whether the defence holds.

An extension of Chaos Toolkit. An experiment is a file in its open format; `control` starts the
system under test before it and stops it after, `actions` break things or send traffic, `probes`
measure what came of it. ``chaos discover latentwatch --no-install`` lists them.

Modules, in the order in which they build on each other: `errors`, `processes` (workers and players
as children), `material` (a baseline for the classifier), `system` (what runs), `outputs` and
`measure` (what the topics say, against the truth), `control`, `actions`, `probes`, `evidence` (what
an experiment keeps), `run` and `page` (the command and its report), `scorecard` and
`scorecard_page`.
"""
