#!/usr/bin/env python3
"""SIPp through a SIP server: registrations, messages and calls, `--count` of each.

    sipp_load.py --port 5061 --transport tls --ca ca.pem --count 20

Debian's SIPp 3.6.1 is built without TLS: there socat stands in front of it. Through such a tunnel the callee cannot
be reached at an address of its own, so that only registrations are made.
"""

import os
import subprocess

from baresip import free_ports, stop_process
from tap import Checks, need, options_of, read_text, run, wait_for

SCENARIOS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sipp")
COUNT = 20
RATE_PER_SECOND = 20
# Above what SIPp needs for all its retransmissions.
SECONDS_OF_SCENARIO = 60


class Process:
    """A program that runs beside the checks."""

    def __init__(self, command, output):
        self.output = output
        with open(output, "wb") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def stop(self):
        self.process.terminate()
        stop_process(self.process)


def main():
    options = options_of(__doc__)
    need("sipp", *(["socat"] if options.transport == "tls" else []))
    checks = Checks()

    def scenario(work, started):
        target = f"{options.host}:{options.port}"
        if options.transport == "tls":
            target = tunnel(options, work, started)
        for name, (user, password), peer in (("a", options.a, options.b[0]), ("b", options.b, options.a[0])):
            with open(os.path.join(work, f"{name}.csv"), "w") as file:
                credentials = f"[authentication username={user} password={password}]"
                file.write(f"SEQUENTIAL\n{user};{options.domain};{credentials};{peer}\n")

        def sipp(scenario_file, users, port, *more):
            mode = "u1" if options.transport == "udp" else "t1"
            return [
                *("sipp", target, "-t", mode, "-i", "127.0.0.1", "-p", str(port), "-nostdin"),
                *("-sf", os.path.join(SCENARIOS, scenario_file)),
                *(["-inf", os.path.join(work, users)] if users else []),
                *more,
            ]

        def play(name, scenario_file, users, port, count):
            output = os.path.join(work, scenario_file + ".out")
            bounds = ("-m", str(count), "-r", str(RATE_PER_SECOND), "-timeout", f"{SECONDS_OF_SCENARIO}s")
            command = sipp(scenario_file, users, port, *bounds, "-timeout_error")
            with open(output, "wb") as file:
                done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=work)
            return checks.check(name, done.returncode == 0, lambda: read_text(output))

        play(f"{COUNT} registrations", "register.xml", "a.csv", free_ports(), COUNT)
        if options.transport == "tls":
            return
        # The callee listens where it registered from; over TCP the server opens a connection to it.
        port = free_ports()
        if play("the callee registers", "register.xml", "b.csv", port, 1):
            started.append(Process(sipp("call_uas.xml", None, port), os.path.join(work, "callee.out")))
            play(f"{COUNT} messages", "message.xml", "a.csv", free_ports(), COUNT)
            play(f"{COUNT} calls", "call_uac.xml", "a.csv", free_ports(), COUNT)

    run(checks, options, scenario)


def tunnel(options, work, started):
    """Starts socat and returns where it listens."""
    port = free_ports()
    listen = f"TCP4-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr"
    name = options.tls_name
    connect = f"OPENSSL:{options.host}:{options.port},cafile={options.ca},commonname={name},snihost={name}"
    process = Process(["socat", "-d", "-d", listen, connect], os.path.join(work, "socat.out"))
    started.append(process)
    if not wait_for(lambda: "listening on" in read_text(process.output), 5):
        raise RuntimeError("socat does not listen: " + read_text(process.output))
    return f"127.0.0.1:{port}"


if __name__ == "__main__":
    main()
