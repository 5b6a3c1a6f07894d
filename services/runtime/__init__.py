"""What any service needs and no stage should know: settings, logs, metrics, health, Kafka clients."""
