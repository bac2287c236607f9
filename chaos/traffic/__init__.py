"""Traffic for chaos experiments: benign requests and bad ones, to any torch classifier.

It needs the packages of ``latentwatch[chaos]`` and runs in a process of its own: the service knows
nothing of it but its command line, ``python -m latentwatch.chaos.traffic COMMAND``:

=========  =========================================================================================
command    what it does
=========  =========================================================================================
`capture`  writes activations of untouched inputs for a baseline, poisoned ones if asked to
`play`     plays a stretch of traffic through the classifier and the production publisher
`sets`     writes activations under attacks of several strengths for the scorecard
=========  =========================================================================================

Modules, in the order in which they build on each other: `errors`, `target` (the classifier and its
inputs), `signs` (the traffic signs as a target), `attacks` and `sign_attacks` (through the
adversarial-robustness-toolbox, and those that know more), `drift`, `kinds` (all of them by name),
`plan` (when requests come, and which are changed), `play`, `sets` and `cli`.
"""
