"""How much of one API process each tenant uses at once: requests in the event loop, and shares of what it has."""
