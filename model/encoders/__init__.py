"""Encoders of single items (message, frame, audio segment) and readers that combine the items of a window."""
