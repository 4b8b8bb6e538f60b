"""The parts of every command: the console, shared options, and commands that load when called."""
