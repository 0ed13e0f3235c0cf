"""EmoSet: labels, the dataset on disk, attribute folders, balanced sets, and a drawn EmoSet for demo and tests."""
