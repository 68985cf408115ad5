"""One file per model: what to train. Copy install.py for a model of your own."""
