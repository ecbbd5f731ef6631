"""The whole service on one machine, by one command."""
