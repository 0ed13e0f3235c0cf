"""The kinds of question, a file each: what one is, from its phrasings to its figures."""
