"""latentwatch: stream."""
