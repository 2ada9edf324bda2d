"""A user's own training script in a rank of a trial: run as it is, its configuration substituted, its steps timed."""
