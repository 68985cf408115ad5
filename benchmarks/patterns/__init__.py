"""Every scoring pattern and every kind beside each other, on the same rows: `python -m benchmarks.patterns`."""
