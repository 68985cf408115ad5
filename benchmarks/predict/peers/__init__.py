"""The servers that the scorer is compared with, each a process of its own."""
