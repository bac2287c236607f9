"""What shows and measures latentwatch itself: demo, benchmarks, soak, peers, local brokers."""
