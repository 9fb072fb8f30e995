"""``--network none`` has loopback alone; ``--network host`` has what the host has."""

import os
import socket
import threading

import pytest

pytestmark = pytest.mark.same_without_root

SHOW = ("busybox", "sh", "-c", "ls /sys/class/net; cat /proc/net/route | wc -l; readlink /proc/self/ns/net")


def test_none_is_the_default_and_has_loopback_alone(cli):
    *links, routes, namespace = cli("run", "--rm", *SHOW, check=True).stdout.split()
    assert (links, routes) == (["lo"], "1")
    assert namespace != os.readlink("/proc/self/ns/net")


def test_none_has_loopback_up(cli):
    listen = "(echo hello | nc -l -p 4000) & sleep 0.3; nc 127.0.0.1 4000 < /dev/null"
    script = f"{listen}; ping -c1 -w2 127.0.0.1 | grep -c '1 packets received'"
    assert cli("run", "--rm", "--network", "none", "busybox", "sh", "-c", script).stdout.split() == ["hello", "1"]


def test_host_has_the_hosts_network(cli):
    *links, _, namespace = cli("run", "--rm", "--network", "host", *SHOW, check=True).stdout.split()
    assert links == sorted(os.listdir("/sys/class/net"))
    assert namespace == os.readlink("/proc/self/ns/net")


def test_host_reaches_a_server_on_the_host(cli):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        threading.Thread(target=greet, args=(server,), daemon=True).start()
        call = ("busybox", "nc", "-w", "2", "127.0.0.1", str(server.getsockname()[1]))
        assert cli("run", "--rm", "--network", "none", *call).returncode != 0
        assert cli("run", "--rm", "--network=host", *call).stdout == "hello\n"


def greet(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(b"hello\n")


def test_a_low_port_may_be_bound(cli):
    script = "nc -l -p 80 & sleep 0.2; kill $! && echo listened"
    assert "listened" in cli("run", "--rm", "--cap-drop", "ALL", "busybox", "sh", "-c", script).stdout
