"""Curves: how values are kept so that a chart of a million steps costs as little as one of a hundred.

Every point is kept. Beside the points lie merged buckets of 16, 256 and 4,096 neighbours with their first, last, smallest
and largest value, so that a spike of a single step is seen at every zoom, and a summary of each series that leaderboards
read. Steps only grow within a series; what a resumed run does again is removed first (`truncate`).

`writing` is for whoever holds the job's lease or its lock, `reading` for charts, `exports` for whole curves as text,
`leaderboard` for the best of many jobs.
"""

from service.metrics.cutting import truncate
from service.metrics.leaderboard import ranked
from service.metrics.reading import READ_PER_ROW, Curve, names, points, query, summaries
from service.metrics.writing import Values, append, append_values, overwrite

__all__ = [
    "READ_PER_ROW",
    "Curve",
    "Values",
    "append",
    "append_values",
    "names",
    "overwrite",
    "points",
    "query",
    "ranked",
    "summaries",
    "truncate",
]
