"""The inference server: a process that speaks HTTP, and a worker process that has the model."""
