"""Payload cache (Redis), archive of events, evidence of predictions, labels."""
