"""The streams model: one network over text, video and audio of a home."""
