"""The aligner: chunks of several streams become windows."""
