"""Studies that answer a question; nothing here is served."""
