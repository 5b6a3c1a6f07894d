"""Explain a prediction: find what it was made from, and compute it again."""
