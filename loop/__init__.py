"""The loop: a reward trains the generator, and generated images teach understanding."""
