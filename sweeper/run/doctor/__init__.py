"""What `doctor` looks at on a machine, part by part."""
