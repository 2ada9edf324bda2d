"""The winner of a study, taken to other frameworks."""
