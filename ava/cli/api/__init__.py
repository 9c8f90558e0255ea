"""Commands that call the API of an installation."""
