"""The door for people and machines: REST `/v1`, event streams and the terminal, over requests on the bus."""
