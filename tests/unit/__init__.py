"""No servers, and no processes of the system."""
