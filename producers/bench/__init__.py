"""What capturing and publishing cost an inference service; needs the extra `bench`."""
