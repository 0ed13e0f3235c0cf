"""Data sets on disk: labels, reading, attribute folders, balanced sets, imports."""
