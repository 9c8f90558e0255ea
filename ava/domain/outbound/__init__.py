"""Rules of calls to other hosts: which addresses and URLs may be called."""
