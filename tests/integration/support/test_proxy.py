"""The proxy of the fault tests does what they trust it to do."""

from __future__ import annotations

import contextlib
import socket
import uuid

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, NetworkTimeout, ServerSelectionTimeoutError

from gridcompute.config import database_name
from tests.support.grids import password, user_group
from tests.support.waiting import wait_for


@pytest.fixture
def proxy(mongod, make_proxy):
    return make_proxy(mongod.address)


@pytest.fixture
def things(proxy):
    """A collection of this test's own, reached through the proxy; writes are not retried by pymongo."""
    options = {"retryWrites": False, "retryReads": False, "serverSelectionTimeoutMS": 700, "socketTimeoutMS": 700}
    with MongoClient(
        proxy.address,
        username=user_group,
        password=password,
        authSource=database_name,
        directConnection=True,
        **options,
    ) as client:
        collection = client[database_name][f"things-{uuid.uuid4().hex}"]
        collection.insert_one({"_id": 0})
        yield collection
        proxy.clear()
        proxy.accept()
        collection.drop()


def test_a_swallowed_reply_is_of_a_command_that_was_done(proxy, things):
    lost = proxy.swallow("insert")
    assert things.find_one({"_id": 0})
    with pytest.raises(AutoReconnect):
        things.insert_one({"_id": 1})
    assert lost.happened.is_set()
    assert things.count_documents({}) == 2
    things.insert_one({"_id": 2})


def test_some_may_pass_before_replies_are_swallowed(proxy, things):
    lost = proxy.swallow("findAndModify", skip=1, times=2)
    change = {"$inc": {"n": 1}}
    things.find_one_and_update({"_id": 0}, change)
    for _ in range(2):
        with pytest.raises(AutoReconnect):
            things.find_one_and_update({"_id": 0}, change)
    assert lost.happened.is_set()
    assert things.find_one_and_update({"_id": 0}, change)["n"] == 3


def test_a_swallowed_reply_may_hang_instead(proxy, things):
    proxy.swallow("update", hang=True)
    with pytest.raises(NetworkTimeout):
        things.update_one({"_id": 0}, {"$set": {"a": 1}})
    assert things.find_one({"_id": 0})["a"] == 1


def test_cut_connections_are_broken_and_new_ones_pass(proxy, things):
    host, port = proxy.address.split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        wait_for(lambda: connection.getsockname() in proxy.clients())
        proxy.cut()
        assert connection.recv(1) == b""
    with contextlib.suppress(AutoReconnect):
        things.insert_one({"_id": 1})
    things.insert_one({"_id": 2})


def test_refused_connections_come_back_on_the_same_address(proxy, things):
    address = proxy.address
    proxy.refuse()
    with pytest.raises((AutoReconnect, ServerSelectionTimeoutError)):
        things.insert_one({"_id": 1})
    with pytest.raises((AutoReconnect, ServerSelectionTimeoutError)):
        things.insert_one({"_id": 1})
    proxy.accept()
    assert proxy.address == address
    things.insert_one({"_id": 1})


def test_nothing_passes_a_black_hole(proxy, things):
    proxy.blackhole()
    with pytest.raises(AutoReconnect):
        things.insert_one({"_id": 1})
    proxy.clear()
    things.insert_one({"_id": 2})


def test_replies_may_be_late(proxy, things):
    proxy.delay(1.2)
    with pytest.raises(NetworkTimeout):
        things.insert_one({"_id": 1})
    proxy.clear()
    assert things.count_documents({}) == 2
