#!/usr/bin/env python3
"""Starts a MongoDB replica set and waits for its primary: replset.py NAME HOST:PORT...

Speaks OP_MSG by hand, because a machine with only toolchains has neither mongosh nor a driver.
"""

import socket
import struct
import sys
import time


def bson(value):
    """The few BSON types that replSetInitiate needs."""
    body = b""
    for name, item in value.items():
        name = name.encode() + b"\0"
        if isinstance(item, str):
            text = item.encode() + b"\0"
            body += b"\x02" + name + struct.pack("<i", len(text)) + text
        elif isinstance(item, int):
            body += b"\x10" + name + struct.pack("<i", item)
        elif isinstance(item, list):
            body += b"\x04" + name + bson({str(i): v for i, v in enumerate(item)})
        else:
            body += b"\x03" + name + bson(item)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def command(node, document):
    """The raw reply to one command."""
    host, port = node.rsplit(":", 1)
    body = struct.pack("<iB", 0, 0) + bson({**document, "$db": "admin"})
    with socket.create_connection((host, int(port)), timeout=30) as stream:
        stream.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, 2013) + body)
        reply = b""
        while len(reply) < 4 or len(reply) < struct.unpack("<i", reply[:4])[0]:
            chunk = stream.recv(65536)
            if not chunk:
                raise ConnectionError(f"{node} hung up")
            reply += chunk
    return reply


def poll(what, probe):
    """Bounded: a set that has no primary after 30 s never gets one."""
    for _ in range(300):
        try:
            if probe():
                return
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(f"replset.py: gave up: {what}")


def main():
    name, *nodes = sys.argv[1:]
    for node in nodes:
        poll(f"{node} does not answer", lambda node=node: command(node, {"hello": 1}))
    members = [{"_id": i, "host": node} for i, node in enumerate(nodes)]
    # The first election comes after one time-out, too: 10 s by default.
    config = {"_id": name, "members": members, "settings": {"electionTimeoutMillis": 2000}}
    reply = command(nodes[0], {"replSetInitiate": config})
    # `ok` is a double; one that was initiated before is as good.
    if b"\x01ok\0" + struct.pack("<d", 1) not in reply and b"AlreadyInitialized" not in reply:
        sys.exit(f"replset.py: {reply[21:]!r}")
    writable = b"\x08isWritablePrimary\0\x01"
    poll("no primary", lambda: any(writable in command(node, {"hello": 1}) for node in nodes))


main()
