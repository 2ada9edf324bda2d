"""What a Python that a script starts reads first: this folder is on its search path."""
