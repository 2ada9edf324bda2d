"""Samplers: who decides which candidate comes next."""
