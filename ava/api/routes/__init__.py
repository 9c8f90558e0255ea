"""The routes, one module per resource.

A view has `@blueprint.get(...)` and below it `@operation(...)`, which declares what it takes and returns. It gets the
loaded values as `query` and `body`, calls a service of `context()` for `caller()`, and returns `responses.data(text)`.
A route that writes says `is_write=True`: then a role is required, and the call is audited. `queues` is the smallest.
"""
