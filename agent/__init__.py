"""The process on a node: it drives that node's containers and dials out only."""
