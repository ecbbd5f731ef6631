"""How good is a representation? Frozen embeddings, a linear classifier on top, scores on data it has not seen.

features → logistic regression with the cost chosen on held-out training data → scores, each as a typed result.
"""
