"""Who may come in: scopes, keys, and those that were good a moment ago."""
