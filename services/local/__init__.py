"""The local stack: a real Apache Kafka and a real Redis from Python packages alone, for demo, tests and trying out."""
