"""MCP: the Model Context Protocol, whose tools are this API's workers and a part of its routes.

A call of a tool becomes a request to a route of this application, made in this process with the headers of the caller.
So authentication, roles, limits, the audit trail and the permission to see payloads are those of the routes.
"""
