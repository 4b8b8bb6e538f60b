"""What every command needs: the console, shared options, commands that load when called."""
