"""The gateway.  The path is the route's template, so its values are as many as there are routes."""

from lattice.metrics.spec import histogram

REQUEST_SECONDS = histogram(
    "lattice_gateway_request_seconds",
    "Time from a request to the end of its answer; streams and terminals last as long as they are open.",
    "method",
    "path",
    "status",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 15.0),
)
