"""Find, by short real training runs, the DeepSpeed configuration that trains a model fastest."""

__version__ = "0.1.0"
