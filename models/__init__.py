"""Models to measure with, in plain PyTorch; nothing here knows the sweeper or DeepSpeed."""
