"""How the committed models of the demo were made, and how good they are."""
