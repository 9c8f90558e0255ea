"""`ava apply`: settings as a file under version control."""
