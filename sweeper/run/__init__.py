"""The parent's side of a trial: starts its processes, waits, ends them, and reads how it went."""
