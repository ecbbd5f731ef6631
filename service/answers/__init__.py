"""What embeddings, predictions and searches are asked for, and what is answered."""
