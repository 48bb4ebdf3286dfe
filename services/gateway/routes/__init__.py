"""The routes, one module per noun.  Each is thin: read the request, ask the bus or the accounts, answer the view."""
