"""From a request for an embedding to its vector: prepare → batch → run → finish."""
