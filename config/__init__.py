"""The project's one configuration and what every script shares: loading it, the run folder, the last line of an error."""
