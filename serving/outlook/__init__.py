"""The scorer seen from outside: metrics, health and the page, over HTTP, of one process or of several workers."""
