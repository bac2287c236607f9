"""The stream worker: the Faust app, its engine, health, baselines, lane state, metrics, traces."""
