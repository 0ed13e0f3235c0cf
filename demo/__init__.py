"""Tiny models that stand in for Stable Diffusion and the rest on a laptop, and how they were trained."""
