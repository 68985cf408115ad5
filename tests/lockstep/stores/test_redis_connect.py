"""Connection strings of Feast's Redis store are read as it reads them, and passwords as they are."""

from typing import Any

import pytest
import redis

from lockstep.errors import BadConnection
from lockstep.stores.redis_connect import RedisType, Where, connect, parse


@pytest.mark.parametrize(
    ("text", "nodes", "options"),
    [
        ("localhost:6379", [("localhost", 6379)], {}),
        ("a:1,b:2,c:3,ssl=true", [("a", 1), ("b", 2), ("c", 3)], {"ssl": True}),
        ("a:1,db=2,socket_timeout=0.5", [("a", 1)], {"db": 2, "socket_timeout": 0.5}),
        ("a:1,password=12345", [("a", 1)], {"password": "12345"}),
        ("a:1,username=true,password=p=w", [("a", 1)], {"username": "true", "password": "p=w"}),
        ("[::1]:6379", [("::1", 6379)], {}),
        (" a:1 , db=0 ,", [("a", 1)], {"db": 0}),
        ("a:1,ssl_ca_certs=/etc/ca.pem", [("a", 1)], {"ssl_ca_certs": "/etc/ca.pem"}),
    ],
)
def test_a_connection_string_is_read(text: str, nodes: list[tuple[str, int]], options: dict[str, Any]) -> None:
    assert parse(text) == (nodes, options)


@pytest.mark.parametrize("text", ["", "db=0", "localhost", "localhost:port", ":6379"])
def test_a_string_without_a_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(BadConnection, match="host"):
        parse(text)


def test_an_option_that_redis_py_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(BadConnection, match="pasword"):
        connect(Where("localhost:6379,pasword=x")).connection_pool.make_connection()


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Where("h:1,db=3,password=a"), {"host": "h", "port": 1, "db": 3, "password": "a"}),
        (
            Where("h:1,password=a", credentials={"username": "u", "password": "b,c"}),
            {"username": "u", "password": "b,c"},
        ),
        (Where("rediss://u:p%2Cw@h:2/4"), {"host": "h", "port": 2, "db": 4, "username": "u", "password": "p,w"}),
    ],
)
def test_a_client_is_made_of_it(where: Where, expected: dict[str, Any]) -> None:
    client = connect(where)
    assert isinstance(client, redis.Redis)
    made = client.connection_pool.connection_kwargs
    assert {name: made[name] for name in expected} == expected


def test_sentinels_get_options_of_their_own() -> None:
    client = connect(Where("s:1,t:2,password=a", RedisType.SENTINEL, "main", sentinel_kwargs={"password": "b"}))
    pool = client.connection_pool
    assert pool.service_name == "main"
    assert pool.connection_kwargs["password"] == "a"
    assert [each.connection_pool.connection_kwargs["password"] for each in pool.sentinel_manager.sentinels] == [
        "b",
        "b",
    ]


def test_sentinels_cannot_be_a_url() -> None:
    with pytest.raises(BadConnection, match="Sentinels"):
        connect(Where("redis://h:1", RedisType.SENTINEL))
