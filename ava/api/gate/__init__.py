"""Share one API process between tenants: turns in the event loop, and shares of memory, streams and waits."""
