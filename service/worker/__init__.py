"""Workers: claim a job, run it as a process of its own, turn its events into rows."""
