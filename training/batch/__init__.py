"""Scores for a whole table: a point-in-time join a part, then the same `resolve`, functions and graph as a request.

`spine` reads the rows, `rows` scores some of them, `folder` keeps the parts, `fingerprint` says what they were made
from, `run` ties them together on one machine. Another engine would run `rows.scored` on what its own join finds and
write to the same folder.
"""

from training.batch.run import Job, Report, score

__all__ = ["Job", "Report", "score"]
