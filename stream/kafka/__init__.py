"""What every program of latentwatch needs of Kafka: consumers, topics, lag, rights, connections."""
