"""Property tests draw the same examples each time, and none fails for being slow on a busy machine."""

from __future__ import annotations

import os
import signal

from hypothesis import settings

settings.register_profile("braid", derandomize=True, deadline=None)
settings.load_profile("braid")

# A shell that starts this in the background has it ignore Ctrl-C, and so would every process that a test interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What is judged is the code, whatever settings the shell has that starts this.
for name in [name for name in os.environ if name.startswith("BRAID_")]:
    del os.environ[name]
