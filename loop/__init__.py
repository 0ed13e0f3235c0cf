"""The loop: understanding rewards the generator, and generated images teach understanding."""
