#!/usr/bin/env python3
"""baresip (user A) inside one organisation and linphonec (user B) outside of another, of which she is a remote user over
TLS: messages and presence each way.

linphonec finds the edge by its name, which no DNS knows: it gets an /etc/hosts of its own. That needs root.

federated_pair.py --inside 127.64.1.1:5060 --outside 127.64.2.11:4443 --outside-ca ca.pem \\
    --outside-name access.fabrikam.example \\
    --a alice@contoso.example:alice-demo-secret --b bob@fabrikam.example:bob-demo-secret
"""

import argparse
import os
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
        address_a, password_a = options.a.split(":", 1)
        address_b, password_b = options.b.split(":", 1)
        a = Baresip(
            work,
            address_a.split("@")[0],
            password_a,
            of(address_a, options.inside, "tcp", None, local=options.local),
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

    run(checks, options, scenario)


def of(address, server, transport, ca, name="", local="127.0.0.1", within=()):
    """What a client is told of its server."""
    host, port = server.rsplit(":", 1)
    return SimpleNamespace(
        host=host,
        port=int(port),
        transport=transport,
        local=local,
        within=within,
        tls_name=name,
        ca=ca,
        domain=address.split("@")[1],
        srtp=False,
        skip=set(),
    )


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


if __name__ == "__main__":
    main()
