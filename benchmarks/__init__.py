"""One module per claim, each against a peer in the same run."""
