"""Evaluate and tune on recorded, synthetic and background streams."""
