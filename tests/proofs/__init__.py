"""Proofs of what a node does not keep and does not send: an engine that looks, and networks for it to look at."""
