"""The scorer under mixed load for a long time, while what it stands on changes: `python -m benchmarks.soak`."""
