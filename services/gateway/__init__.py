"""The live page and its API: what goes on, as the topics tell it, and media in for devices without Kafka."""
