"""Fusion: windows to predictions and events."""
