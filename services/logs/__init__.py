"""What instances print: taken in, kept, searched, and let go when its time is over."""
