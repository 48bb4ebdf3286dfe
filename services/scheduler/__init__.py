"""Where instances run: decides, and lets the registry commit."""
