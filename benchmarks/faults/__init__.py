"""The scorer under load while its surroundings fail, one thing after the other: `python -m benchmarks.faults`."""
