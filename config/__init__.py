"""The settings, the taxonomies, and how both are read."""
