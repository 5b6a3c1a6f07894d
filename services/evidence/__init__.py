"""Evidence: what events were made from, kept by content after the log is gone."""
