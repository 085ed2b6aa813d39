#!/usr/bin/env python3
"""baresip (user A) inside one organisation and linphonec (user B) outside of another, of which she is a remote user over
TLS: messages, presence, and the signalling of a call each way.

Within a call both find servers by names that no DNS knows. linphonec gets an /etc/hosts of its own, which needs root;
baresip, which reads none, a DNS server.

federated_pair.py --inside 127.64.1.1:5060 --outside 127.64.2.11:4443 --outside-ca ca.pem \\
    --inside-name sip.contoso.example --outside-name access.fabrikam.example \\
    --a alice@contoso.example:alice-demo-secret --b bob@fabrikam.example:bob-demo-secret
"""

import argparse
import os
import socket
import threading
from types import SimpleNamespace

from baresip import Baresip
from linphone import REGISTERED, Linphone
from tap import Checks, need, run, wait_for

# Servers see one another for the first time: TLS comes up on each hop.
SECONDS_TO_ARRIVE = 15


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inside", required=True, metavar="ADDRESS:PORT", help="A's front end, over TCP")
    parser.add_argument("--outside", required=True, metavar="ADDRESS:PORT", help="B's access edge, over TLS")
    parser.add_argument("--outside-ca", required=True, help="PEM file of the CA of the edge's certificate")
    parser.add_argument("--outside-name", required=True, help="the edge's name, which its certificate bears")
    parser.add_argument("--inside-name", required=True, help="the front end's name, as its Record-Routes have it")
    parser.add_argument("--a", required=True, metavar="USER@DOMAIN:PASSWORD")
    parser.add_argument("--b", required=True, metavar="USER@DOMAIN:PASSWORD")
    parser.add_argument("--local", default="127.0.0.1", help="an address of this machine that A's front end reaches")
    parser.add_argument("--outside-network", metavar="FILE", help="the network namespace of B; A has that of the driver")
    parser.add_argument("--work", help="a folder to work in that is kept")
    options = parser.parse_args()
    need("baresip", "linphonec")
    checks = Checks()
    network = ["nsenter", f"--net={options.outside_network}", "--"] if options.outside_network else []

    def scenario(work, started):
        hosts = os.path.join(work, "hosts")
        with open(hosts, "w") as file:
            file.write(f"127.0.0.1 localhost\n{options.outside.rsplit(':', 1)[0]} {options.outside_name}\n")
        script = 'mount --bind "$0" /etc/hosts && exec "$@"'
        within = [*network, "unshare", "--mount", "sh", "-c", script, hosts]
        dns = serve_name(options.inside_name, options.inside.rsplit(":", 1)[0])
        address_a, password_a = options.a.split(":", 1)
        address_b, password_b = options.b.split(":", 1)
        a = Baresip(
            work,
            address_a.split("@")[0],
            password_a,
            of(address_a, options.inside, "tcp", None, local=options.local, dns=dns),
            peer=address_b,
        )
        started.append(a)
        b = Linphone(
            work,
            address_b.split("@")[0],
            password_b,
            of(address_b, options.outside, "tls", options.outside_ca, name=options.outside_name, within=within),
            peer=address_a,
        )
        started.append(b)
        registered_a = checks.check("baresip registers inside", a.registration(("OK",)), a.trace)
        registered_b = checks.check("linphonec registers outside", b.logs(REGISTERED), b.screen)
        if registered_a and registered_b:
            messages(checks, a, b, address_a)
            presence(checks, a, b, address_a)
            calls(checks, a, b, address_a, address_b)

    run(checks, options, scenario)


def of(address, server, transport, ca, name="", local="127.0.0.1", dns="", within=()):
    """What a client is told of its server."""
    host, port = server.rsplit(":", 1)
    return SimpleNamespace(
        host=host,
        port=int(port),
        transport=transport,
        local=local,
        dns=dns,
        within=within,
        tls_name=name,
        ca=ca,
        domain=address.split("@")[1],
        srtp=False,
        skip=set(),
    )


def serve_name(name, address):
    """Serves one A record on a port of loopback, for as long as the driver runs; nothing else exists. Returns where."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    wanted = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0" + b"\0\x01\0\x01"

    def answer():
        while True:
            query, peer = server.recvfrom(4096)
            # Header, question, and the name as a pointer to that of the question (RFC 1035 §4.1).
            question = query[12 : query.index(b"\0", 12) + 5]
            record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + socket.inet_aton(address)
            found = question.lower() == wanted
            flags, count = (b"\x84\0", b"\0\x01") if found else (b"\x84\x03", b"\0\0")
            head = query[:2] + flags + b"\0\x01" + count + b"\0\0\0\0"
            server.sendto(head + question + (record if found else b""), peer)

    threading.Thread(target=answer, daemon=True).start()
    return "%s:%d" % server.getsockname()


def messages(checks, a, b, address_a):
    a.command("contact_next")
    a.command("message", "from inside")
    arrived = b.shows("from inside", SECONDS_TO_ARRIVE)
    checks.check("MESSAGE from baresip inside to linphonec outside", arrived, lambda: a.trace() + b.screen())
    b.command(f'chat sip:{address_a} "from outside"')
    arrived = a.saw("from outside", seconds=SECONDS_TO_ARRIVE)
    checks.check("MESSAGE from linphonec outside to baresip inside", arrived, a.trace)


def presence(checks, a, b, address_a):
    a.command("presence", "online")
    online = b.shows(rf'Friend "[^"]*" <sip:{address_a}> is Online', SECONDS_TO_ARRIVE)
    checks.check("linphonec sees baresip online", online, b.screen)
    online = wait_for(lambda: "Online" in a.command("contacts"), SECONDS_TO_ARRIVE, 0.5)
    checks.check("baresip sees linphonec online", online, lambda: a.command("contacts"))


def calls(checks, a, b, address_a, address_b):
    since = len(a.events)
    a.command("dial", f"sip:{address_b}")
    rings = b.shows("Receiving new incoming call", SECONDS_TO_ARRIVE)
    if checks.check("INVITE from baresip to linphonec", rings, a.trace):
        b.command("answer")
        checks.check("linphonec's answer arrives", a.event("CALL_ESTABLISHED", SECONDS_TO_ARRIVE, since), a.trace)
        b.command("terminate")
        checks.check("BYE from linphonec", a.event("CALL_CLOSED", SECONDS_TO_ARRIVE, since), a.trace)
    since = len(a.events)
    b.command(f"call sip:{address_a}")
    rings = a.event("CALL_INCOMING", SECONDS_TO_ARRIVE, since)
    if checks.check("INVITE from linphonec to baresip", rings, b.screen):
        a.command("accept")
        checks.check("baresip's answer arrives", a.event("CALL_ESTABLISHED", SECONDS_TO_ARRIVE, since), a.trace)
        a.command("hangup")
        checks.check("BYE from baresip", b.shows(r"assigned id 2.*ended", SECONDS_TO_ARRIVE), b.screen)


if __name__ == "__main__":
    main()
