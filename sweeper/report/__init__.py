"""What a person reads and deploys, derived from the trial folders and built again at will."""
