"""What every stage needs, whatever it makes: the script around it, its recipe, shared work, numbers, seeds, pages."""
