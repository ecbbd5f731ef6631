"""The workshop: trains, probes and exports. Reads and writes run directories; knows no web, queue or database.

`spec`, `events` and `run_dir` are free of torch: the only modules that the service may import.
"""
