"""Models of labelled samples: one network for any task, its training, calibration, scores and compression."""
