"""The routes, one module per resource.

A view has `@blueprint.get(...)` and below it `@operation(...)`, which declares its parameters and response. It gets the
loaded `query` and `body`, calls a service of `context()` for `caller()`, and returns `responses.data(text)`. A route
that writes sets `is_write=True`: it requires a role and is audited. The smallest example is `queues`.
"""
