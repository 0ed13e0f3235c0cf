"""Measures both halves."""
