"""Models for use elsewhere: written, scored against the original, and accepted only then."""
