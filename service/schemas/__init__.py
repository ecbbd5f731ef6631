"""JSON over HTTP: what clients send and get."""
