"""The Redis window: payloads while windows need them, with the log behind it."""
