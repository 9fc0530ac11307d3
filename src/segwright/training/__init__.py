"""Training: the loop, optimisers, schedules, averaging, resuming."""
