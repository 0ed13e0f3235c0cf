"""What the tests of the page ask it for."""

from config.taxonomy import DEFAULT, read_taxonomy

EMOTIONS = read_taxonomy(DEFAULT).emotions
FIRST, SECOND = EMOTIONS[:2]
HOW = {"seed": 7, "new_seed": False, "strength": 0.6, "variety": 0.5, "guidance": 5.0, "steps": 2}
