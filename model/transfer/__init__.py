"""From titles to sounds nobody labelled: both in one space, so that a name is enough to find a sound."""
