"""The number of the bundle format, alone in its file.

Raise it when a scorer of the old code would misread a bundle of the new one, or the other way round:

1. add one to FORMAT and say in CHANGELOG.md what changed and whether models must be trained again;
2. keep the reader of the format before, or say in the error how to convert;
3. put a bundle of the old format among the test data, so that its refusal (or reading) stays tested.
"""

__all__ = ["FORMAT"]

FORMAT = 1
