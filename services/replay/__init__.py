"""Replay: a recording through the same alignment and fusion code, without a broker, and what comes out otherwise."""
