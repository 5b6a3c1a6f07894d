"""Differentially private training and membership inference."""
