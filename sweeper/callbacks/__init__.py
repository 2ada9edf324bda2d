"""What follows a study in other tools: one module for each, imported where it is chosen."""
