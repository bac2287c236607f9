"""The demo's inference side: draws traffic signs, learns them, serves them, and attacks them.

A part of the demo, not of the product: it needs the packages of ``latentwatch[demo]``. Everything
follows from a seed. It is run as ``python -m latentwatch.lab.signs COMMAND``:

==========  ========================================================================================
command     what it does
==========  ========================================================================================
`prepare`   draws signs, trains the network or takes it from the cache, and captures validation
            activations for the baseline
`play`      computes the attack, then plays some hours of requests through the network and the
            production publisher
`export`    writes activations of clean, attacked and drifted pictures for ``latentwatch evaluate``
`adapt`     writes activations of attacks that know the baseline and evade the detector
==========  ========================================================================================

Modules, in the order in which they build on each other: `templates`, `filters` and `drawing` (the
pictures), `network`, `training` and `checkpoints` (the model), `attack`, `search` and
`feature_matching` (attacks on the network), `detector_view` and `adaptive` (attacks on the detector
as well), `corruptions` (ordinary drift), `traffic` (when requests come), `workload` (what they
carry), `service` (which serves them), `datasets`, `pictures` and `manifest` (files), `times` and
`cli` (the commands).
"""
