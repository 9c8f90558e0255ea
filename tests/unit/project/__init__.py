"""What the repository holds beside the package: docs, deployment, chaos, bench, tools, statements, these tests.

No version of a package changes it, so `make lowest` leaves it out.
"""
