"""Cameras, microphones and files as senders (`braid send`)."""
