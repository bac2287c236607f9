"""The demo's inference side: draws traffic signs, learns them, serves them, and attacks them.

It needs the packages of ``latentwatch[demo]``. Everything follows from a seed. Its commands are
``python -m latentwatch.lab.signs COMMAND``:

==========  ========================================================================================
command     what it does
==========  ========================================================================================
`prepare`   draws signs, trains the network or takes it from the cache, and captures validation
            activations for the baseline
`play`      computes the attack, then plays several hours of requests through the network and the
            production publisher
`export`    writes activations of clean, attacked and drifted pictures for ``latentwatch evaluate``
`adapt`     writes activations of attacks that know the baseline and evade the detector
==========  ========================================================================================

Modules, in the order in which they build on each other: `errors`, `templates` and `drawing` (the
pictures), `network`, `training` and `checkpoints` (the model), `attack`, `search` and
`feature_matching` (attacks on the network), `detector_view` and `adaptive` (attacks on the detector
as well), `target` (all of these for chaos experiments), `traffic` (when requests come), `workload`
(their pictures), `service` (classifies and publishes them), `datasets` and `pictures` (files), and
`cli` (the commands). Drift comes from `latentwatch.chaos.traffic`.
"""
