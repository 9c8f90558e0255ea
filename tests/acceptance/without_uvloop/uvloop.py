"""In front on the path it stands for uvloop where that is not installed."""

raise ImportError("tests of asyncio's own event loop")
