"""What all processes agree on: topics, envelope and records. Standard library only."""
