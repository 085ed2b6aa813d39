#!/usr/bin/env python3
"""baresip, linphonec and SIP.js watch one another: each sees the other two come, be busy, and go.

presence_triangle.py --port 5061 --transport tls --ca ca.pem --ws wss://localhost:5081/

SIP.js is busy because it says so; baresip and linphonec, which have no word for it, because they are in a call.
"""

import os

from baresip import Baresip
from linphone import REGISTERED, Linphone
from sipjs import SipJs
from tap import Checks, need, options_of, run, wait_for

# What each client calls what it sees. linphonec tells calls from other business.
WORDS = {
    "online": ("Online", "online"),
    "busy": ("Busy", "busy", "Do not disturb", "On the phone"),
    "offline": ("Offline", "offline"),
}
# Two NOTIFYs of one dialog may be seconds apart, and linphonec looks at its work in rounds.
SECONDS_TO_SEE = 15


def main():
    options = options_of(__doc__, lambda parser: parser.add_argument("--ws", required=True, help="URL of SIP over WebSocket"))
    need("baresip", "linphonec", "node")
    checks = Checks()

    def scenario(work, started):
        Triangle(checks, options, work, started).play()

    run(checks, options, scenario)


class Triangle:
    def __init__(self, checks, options, work, started):
        self.checks, self.options, self.work, self.started = checks, options, work, started
        self.rounds = 0

    def play(self):
        (user_a, password_a), (user_b, password_b) = self.options.a, self.options.b
        user_c, password_c = self.options.c
        self.a = self.start(Baresip, user_a, password_a, peer=(user_b, user_c))
        self.b = self.start(Linphone, user_b, password_b, peer=(user_a, user_c))
        self.c = self.start(SipJs, user_c, password_c, watched=(user_a, user_b))
        registered = [
            self.checks.check("baresip registers", self.a.registration(("OK",)), self.a.trace),
            self.checks.check("linphonec registers", self.b.logs(REGISTERED), self.b.screen),
            self.checks.check("SIP.js registers", self.c.registers(), self.c.trace),
        ]
        if not all(registered):
            return
        self.c.command("online")
        for client in (self.a, self.b, self.c):
            self.is_seen(client, "online")
        self.c.command("busy")
        self.is_seen(self.c, "busy")
        self.c.command("online")
        self.is_seen(self.c, "online")
        self.call()
        # One goes after the other, and comes back.
        self.c.stop()
        self.is_seen(self.c, "offline")
        self.c = self.start(SipJs, user_c, password_c, watched=(user_a, user_b))
        self.is_seen(self.c, "online")
        self.a.stop()
        self.is_seen(self.a, "offline")
        self.a = self.start(Baresip, user_a, password_a, peer=(user_b, user_c))
        self.is_seen(self.a, "online")
        self.b.stop()
        self.is_seen(self.b, "offline")

    def start(self, kind, *arguments, **more):
        self.rounds += 1
        folder = os.path.join(self.work, str(self.rounds))
        os.makedirs(folder)
        client = kind(folder, *arguments[:2], self.options, **more)
        self.started.append(client)
        return client

    def call(self):
        """linphonec calls baresip: both are busy while they talk."""
        since = len(self.a.events)
        self.b.command(f"call sip:{self.a.user}@{self.options.domain}")
        rings = self.a.event("CALL_INCOMING", 10, since)
        if not self.checks.check("INVITE from linphonec to baresip", rings, self.b.screen):
            return
        self.a.command("accept")
        self.checks.check("the call is up", self.a.event("CALL_ESTABLISHED", 10, since), self.a.trace)
        self.is_seen(self.b, "busy")
        self.is_seen(self.a, "busy")
        self.a.command("hangup")
        self.is_seen(self.b, "online")
        self.is_seen(self.a, "online")

    def is_seen(self, of, state):
        """Checks that the two others see somebody so."""
        for watcher in (self.a, self.b, self.c):
            if watcher.user == of.user:
                continue
            seen = wait_for(lambda: watcher.sees(of.user) in WORDS[state], SECONDS_TO_SEE, 0.3)
            names = f"{type(watcher).__name__} sees {type(of).__name__} {state}"
            self.checks.check(names, seen, lambda: watcher.sees(of.user))


if __name__ == "__main__":
    main()
