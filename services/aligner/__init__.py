"""Chunks in, windows out: admit, align, emit, commit the floor."""
