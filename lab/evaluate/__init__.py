"""``latentwatch evaluate``: how good a baseline is on labelled sets of activations."""
