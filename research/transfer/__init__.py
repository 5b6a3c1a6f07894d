"""Cross-modal transfer from titles to sounds."""
