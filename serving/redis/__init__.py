"""The scorer's own way to Redis: one connection a node, many reads in flight on it, nothing between the socket and the
packed rows. redis-py does the same at twice the cost of a read; the stores use it.
"""

from serving.redis.client import open_client
from serving.redis.terms import UNREACHED, RedisClient, Unreached

__all__ = ["UNREACHED", "RedisClient", "Unreached", "open_client"]
