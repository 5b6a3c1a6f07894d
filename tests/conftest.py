"""Property tests draw the same examples each time, and none fails for being slow on a busy machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("braid", derandomize=True, deadline=None)
settings.load_profile("braid")
