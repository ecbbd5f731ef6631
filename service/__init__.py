"""The hall: HTTP, jobs, workers and the dashboard. Never imports torch."""
