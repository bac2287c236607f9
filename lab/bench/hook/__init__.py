"""What the capture hook and the publisher cost the service that they run in."""
