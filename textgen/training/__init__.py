"""Training: what is read, what is planned, one step, the loop."""
