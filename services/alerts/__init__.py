"""Turns what is wrong, what is too much and what is silent into alerts, and tells people of them."""
