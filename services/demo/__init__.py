"""The demo: everything for real, on this machine, with recorded streams, checked and scored at the end."""
