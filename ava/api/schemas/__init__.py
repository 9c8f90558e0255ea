"""What clients send and what they get back, one module per subject; /openapi.json is made from it."""
