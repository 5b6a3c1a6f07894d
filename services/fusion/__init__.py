"""Windows in, predictions and events out: fetch, decode, encode, fuse, explain, decide, publish."""
