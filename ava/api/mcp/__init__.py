"""MCP (Model Context Protocol): this API's workers and some of its routes as tools.

A tool call becomes an in-process request to a route, with the caller's headers. So the routes' authentication, roles,
limits, audit trail and payload permission apply.
"""
