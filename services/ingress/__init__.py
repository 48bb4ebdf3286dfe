"""The public end of the tunnels: HTTP by host name, each request to an instance that is ready, through the tunnel of its node."""
