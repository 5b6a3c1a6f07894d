"""The bridge from voice satellites that speak the Wyoming protocol."""
