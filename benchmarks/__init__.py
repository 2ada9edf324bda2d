"""What sweeper promises in numbers, measured side by side; each module is a command."""
