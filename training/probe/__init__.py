"""How good is a representation? Frozen embeddings, a linear probe on top, scores on data it has not seen.

features → probes (classes, labels or numbers) whose strength is chosen on samples they were not fitted on → scores with
their intervals, each as a typed result. What is solved for one is solved for all at once.
"""
