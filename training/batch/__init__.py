"""Scores for a whole table: a point-in-time join a part, then the same `resolve`, functions and graph as a request.

`spine` reads the rows, `rows` scores some of them, `folder` keeps the parts, `fingerprint` says what they were made
from, `begin` checks it all. `run` ties them together on one machine, `spark` on a cluster: another join finds the
rows, the same `rows.scored` scores them, and they go to the same folder.
"""

from training.batch.job import Job, Report
from training.batch.run import score

__all__ = ["Job", "Report", "score"]
