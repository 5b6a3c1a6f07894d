"""Multi-task training with shared encoders."""
