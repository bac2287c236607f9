"""The service around the detector; each folder says what it is for."""
