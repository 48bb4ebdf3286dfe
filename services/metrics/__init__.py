"""What everything measures: gathered, checked, shown as it is now, and kept for a day."""
