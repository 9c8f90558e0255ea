"""What goes in and what comes out, one module a subject; /openapi.json is made of it."""
