"""What a handler's author imports: `worker`, `Env`, and the errors that a handler sees."""
