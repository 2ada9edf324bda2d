"""What a configuration needs of memory, and how sure that is."""
