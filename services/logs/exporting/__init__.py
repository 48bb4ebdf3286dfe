"""What is stored goes on to other places: each sink follows the store at its own pace, and never holds it up."""
