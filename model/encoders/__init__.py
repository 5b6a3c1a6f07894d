"""One encoder a modality: an item (message, frame, segment of sound) to its feature, each from itself alone."""
