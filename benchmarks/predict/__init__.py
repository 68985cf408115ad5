"""From keys to scores: the scorer, what a user would take instead, and a bare echo: `python -m benchmarks.predict`."""
