"""A whole dataset's embeddings: computed part by part, kept as files, and drawn as points of a plane."""
