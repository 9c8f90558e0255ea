"""The dashboard's npm packages: its libraries, and the tools that check its code."""
