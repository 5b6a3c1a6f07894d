"""The services of Braid, the command line and what they share; docs/architecture.md describes the packages."""
