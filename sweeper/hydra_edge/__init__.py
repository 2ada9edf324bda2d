"""The door to Hydra: composes configurations, and turns Hydra's jobs into trials and back."""
