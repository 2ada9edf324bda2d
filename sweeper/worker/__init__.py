"""The child: what runs inside a trial's processes, the only part that imports torch and DeepSpeed."""
