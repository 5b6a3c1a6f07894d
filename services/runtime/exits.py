"""How a service ends that people must change something for before it can start."""

from __future__ import annotations

EXIT_SETTINGS = 2
NO_BROKER = (
    "no broker is named: set BRAID_KAFKA__BOOTSTRAP_SERVERS (and BRAID_REDIS__URL), or use `braid up`, which "
    "starts a local one"
)
