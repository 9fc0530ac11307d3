"""Second tier: built from their papers, proven by counts and small fits, not yet trained at length here."""
