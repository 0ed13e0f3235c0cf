"""A small EmoSet drawn with PIL: the same layout, vocabulary and long tails as the real one, made in seconds."""
