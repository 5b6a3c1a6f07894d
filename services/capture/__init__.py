"""Cameras, microphones and video files as records: opened, decoded, put on one time line, sent."""
