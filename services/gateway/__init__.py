"""The HTTP API, the live page, and the views of sessions behind them."""
