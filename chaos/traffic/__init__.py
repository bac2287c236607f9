"""Traffic for chaos experiments: benign and bad requests to any torch classifier.

It needs the packages of ``latentwatch[chaos]`` and runs in its own process: the rest of the product
uses it through its command line, ``python -m latentwatch.chaos.traffic COMMAND``:

=========  =========================================================================================
command    what it does
=========  =========================================================================================
`capture`  writes activations of untouched inputs for a baseline, poisoned ones on request
`play`     sends a stretch of traffic through the classifier and the production publisher
`sets`     writes activations under attacks of several strengths for the scorecard
=========  =========================================================================================

Modules, in the order in which they build on each other: `errors`, `named` (objects by their import
path), `seeds` and `filters` (small tools), `target` (the classifier and its inputs), `attacks` (of
the adversarial-robustness-toolbox), `extraction`, `drift`, `kinds` (all of them by name), `plan`
(when requests come, and which are changed), `workload`, `play`, `sets` and `cli`.
"""
