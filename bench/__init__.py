"""Measurements. `python -m bench` starts the demo network, loads it and prints JSON."""
