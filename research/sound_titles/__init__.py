"""Cross-modal transfer: embed sounds in the space of their titles."""
