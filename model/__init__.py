"""Encoders, fusion, calibration and explanation: a library of its own, usable without Kafka; imports no service."""
