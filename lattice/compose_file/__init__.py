"""Compose files as input (compose-spec): read into specs of workloads, with every key that cannot be honoured named by its path.

`reading.read` maps a document, `interpolation.fill` puts variables in before that, `support` says which keys are honoured and how.
Everything here is pure.
"""
