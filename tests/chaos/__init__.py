"""Chaos: a network under load, while a plan that follows from a seed disturbs it; then judges look at the records.

`python -m tests.chaos --seconds 600 --seed 3` runs it (Linux, root, gcc and nftables). `docs/chaos.md` says what is
disturbed, what is judged, and what a seed brings back.
"""
