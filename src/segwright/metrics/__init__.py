"""Metrics: one confusion count, and every score as a pure function of it."""
