"""A local stack for the demo and tests: Apache Kafka and Redis, installed from Python packages alone."""
