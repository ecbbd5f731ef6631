"""How the database came to be, step by step. One file per change, and never a changed file."""
