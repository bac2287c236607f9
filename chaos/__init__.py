"""Chaos engineering for models: attack and break a watched model on purpose, and see what holds.

Experiments are files in the open format of Chaos Toolkit. They name three modules of ours:
`control` starts the system under test before an experiment and stops it after, `actions` send
traffic or break things, and `probes` measure the result.

`traffic` makes benign and bad requests for any torch classifier. `experiment` runs the system,
compares what it published with the truth, and writes reports and the scorecard of a model.
"""
