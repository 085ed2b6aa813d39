#!/usr/bin/env python3
"""Starts Kamailio as a proxy from TLS to TLS between an organisation's servers and a partner, with certificates both ways.

  kamailio-edge.py start DIR [--profile tuned|single]   prints {"pid":..,"host":..,"tls":..,"inside":..,"outside":..}
  kamailio-edge.py stop DIR

What it does is the least that an edge must do: it listens on both sides, takes and shows certificates on every
connection, relays requests of the right domains between the two, and removes what only inside servers may say. It hides no
Via and no Record-Route, compares no name in a certificate with a domain, and has no policy: all this would cost more.
"""
import argparse
import json
import os
import subprocess
import sys

import kamailio

HERE = os.path.dirname(os.path.abspath(__file__))
NETWORK = "127.61.0"
PORT = 5061
# Who is where, in the network; the same for every peer.
PLACES = {"inside": 1, "outside": 2, "front": 3, "partner": 4}

MODULES = ["tls", "kex", "corex", "tm", "tmx", "sl", "rr", "pv", "maxfwd", "textops", "textopsx", "siputils", "xlog", "sanity"]

ROUTES = """
request_route {
    set_reply_no_connect();
    force_rport();
    if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
    if (!is_peer_verified()) { sl_send_reply("403", "No certificate"); exit; }
    if (is_method("OPTIONS") && uri==myself && $rU==$null) { sl_send_reply("200", "Keepalive"); exit; }
    if (!sanity_check("17895", "7")) { exit; }
    if (is_method("CANCEL")) {
        if (t_check_trans()) { route(RELAY); }
        exit;
    }
    if (!is_method("ACK")) {
        if (t_precheck_trans()) { t_check_trans(); exit; }
        t_check_trans();
    }
    if (has_totag()) {
        if (loose_route()) { route(RELAY); }
        if (is_method("ACK")) { exit; }
    }
    remove_hf("Route");
    if (is_method("INVITE|SUBSCRIBE")) { record_route(); }
    remove_hf("P-Asserted-Identity");
    if ($Ri == "@INSIDE@") {
        if ($fd != "bench.test" || $rd != "partner.test") { sl_send_reply("403", "Not federated"); exit; }
        $fs = "tls:@OUTSIDE@:@PORT@";
        $du = "sip:@PARTNER@:@PORT@;transport=tls";
    } else {
        if ($fd != "partner.test" || $rd != "bench.test") { sl_send_reply("403", "Not federated"); exit; }
        $fs = "tls:@INSIDE@:@PORT@";
        $du = "sip:@FRONT@:@PORT@;transport=tls";
    }
    route(RELAY);
}

route[RELAY] {
    if (!t_relay()) { sl_reply_error(); }
    exit;
}
"""


def address(who):
    return f"{NETWORK}.{PLACES[who]}"


def config(d, a):
    lines = [
        "#!KAMAILIO", "debug=-1", "log_stderror=yes", "memdbg=5", "memlog=5",
        f"children={a.children}", f"tcp_children={a.tcp_children}", "auto_aliases=no",
        'alias="edge.bench.test"', 'alias="access.bench.test"', "dns_try_ipv6=no", "enable_tls=yes",
        "tls_max_connections=18000", "tcp_max_connections=18000", "tcp_connection_lifetime=3605",
        f"listen=tls:{address('inside')}:{PORT}", f"listen=tls:{address('outside')}:{PORT}",
        f'mpath="{kamailio.MODS}"',
    ]
    lines += [f'loadmodule "{m}.so"' for m in MODULES]
    lines += [
        'modparam("sanity", "autodrop", 0)', 'modparam("tm", "failure_reply_mode", 3)', 'modparam("tm", "fr_timer", 30000)',
        'modparam("tm", "fr_inv_timer", 120000)', 'modparam("rr", "enable_full_lr", 0)',
        'modparam("rr", "append_fromtag", 0)', f'modparam("tls", "config", "{d}/tls.cfg")', 'modparam("tls", "tls_force_run", 1)',
    ]
    routes = ROUTES.replace("@PORT@", str(PORT))
    for who in PLACES:
        routes = routes.replace(f"@{who.upper()}@", address(who))
    with open(f"{d}/kamailio.cfg", "w") as f:
        f.write("\n".join(lines) + "\n" + routes)

    def domain(kind, where, side):
        return (f"[{kind}:{where}]\nmethod = TLSv1.2+\nverify_certificate = yes\nrequire_certificate = yes\n"
                f"private_key = {a.certs}/{side}.key\ncertificate = {a.certs}/{side}.pem\nca_list = {a.certs}/ca.pem\n\n")

    with open(f"{d}/tls.cfg", "w") as f:
        f.write(domain("server", "default", "inside") + domain("client", "default", "inside"))
        f.write(domain("server", f"{address('outside')}:{PORT}", "outside"))
        f.write(domain("client", f"{address('partner')}:{PORT}", "outside"))


def start(d, a):
    subprocess.run([os.path.join(HERE, "perimeter-certs.sh"), a.certs], check=True)
    config(d, a)
    pid = kamailio.launch(d, a, (address("outside"), PORT))
    places = {who: f"{address(who)}:{PORT}" for who in PLACES}
    print(json.dumps({"pid": pid, "host": address("outside"), "tls": PORT, "certs": a.certs, **places}))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=["start", "stop"])
    ap.add_argument("dir")
    ap.add_argument("--profile", choices=["tuned", "single"], default="tuned", help="2 TLS workers, or 1")
    ap.add_argument("--shm", type=int, default=6144, help="MiB of shared memory (used only as touched)")
    ap.add_argument("--pkg", type=int, default=32, help="MiB of private memory a process")
    ap.add_argument("--certs", default=os.path.join(HERE, "..", "work", "perimeter-certs"))
    a = ap.parse_args()
    a.tls, a.alloc = True, "tlsf"
    a.children = 1
    a.tcp_children = 1 if a.profile == "single" else 2
    d, a.certs = os.path.abspath(a.dir), os.path.abspath(a.certs)
    os.makedirs(d, exist_ok=True)
    if a.what == "start":
        start(d, a)
    else:
        kamailio.stop(d)


if __name__ == "__main__":
    sys.exit(main())
