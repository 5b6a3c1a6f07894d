"""The demo: recorded streams through the whole system, with an audit at the end."""
