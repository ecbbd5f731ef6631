"""Scores of representations: what each probe measured, what a method reaches over seeds, and how that compares with
other methods and with what was published.

A group is what may be averaged: trainings whose specs are equal but for the seed, scored on the same task by the same
metric, split and protocol. In it counts

* only a training that has succeeded: a score halfway, or of a run that broke, is not what the spec promises;
* of the scores with the same training seed and the same probe seed only the newest, whichever checkpoint it looked at
  and whether the training or only its probe was repeated;
* each training seed once, as the mean over its probe seeds.

So n is the number of different training seeds, and the spread is the sample standard deviation between them (n - 1 in
the denominator), which a single seed does not have. A table places groups by row and column; `docs/statistics.md` has the
rest.
"""

from service.results.groups import grouped
from service.results.presets import Groups, table_groups
from service.results.scores import of_job, page
from service.results.table import table_view, tables

__all__ = ["Groups", "grouped", "of_job", "page", "table_groups", "table_view", "tables"]
