#!/usr/bin/env python3
"""linphonec's contact list in one subscription (RFC 4662, RFC 5367), with a baresip in it that comes, is in a call and goes.

linphone_list.py --port 5061 --transport tls --ca ca.pem

It subscribes to the list where its settings name a list service, as `rls_uri`: the list stands in its SUBSCRIBE, deflated
(`handle_content_encoding`) unless it is told otherwise. It shows what a NOTIFY says only where that spells the package
`Presence`, and has no brackets around its Content-Id.
"""

from baresip import Baresip
from linphone import REGISTERED, Linphone
from tap import Checks, need, options_of, run, wait_for

# How linphonec calls somebody who is in a call.
BUSY = ("Busy", "Do not disturb", "On the phone")
SECONDS_TO_SEE = 12


def main():
    options = options_of(__doc__)
    need("baresip", "linphonec")
    checks = Checks()

    def scenario(work, started):
        (user_a, password_a), (user_b, password_b) = options.a, options.b
        a = Linphone(work, user_a, password_a, options, list_of=(user_b, "nobody"))
        started.append(a)
        if not checks.check("linphonec registers", a.logs(REGISTERED), a.screen):
            return
        subscribed = rf"SUBSCRIBE sip:rls@{options.domain} SIP/2.0.*resource-lists"
        checks.check("linphonec subscribes to the list service", a.logs(subscribed), a.log)
        first = r'NOTIFY sip:.*Require: eventlist.*<list [^>]*fullState="true"'
        checks.check("NOTIFY tells the list", a.logs(first), a.log)
        b = Baresip(work, user_b, password_b, options, peer=user_a)
        started.append(b)
        checks.check("baresip registers", b.registration(("OK",)), b.trace)
        is_seen(checks, a, b, "online", ("Online",))
        # baresip 1.0.0 publishes that it is there, and nothing else; in a call it is busy.
        since = len(b.events)
        a.command(f"call sip:{user_b}@{options.domain}")
        checks.check("INVITE from linphonec to baresip", b.event("CALL_INCOMING", 10, since), a.screen)
        b.command("accept")
        checks.check("the call is up", b.event("CALL_ESTABLISHED", 10, since), b.trace)
        is_seen(checks, a, b, "busy", BUSY)
        b.command("hangup")
        is_seen(checks, a, b, "online again", ("Online",))
        b.stop()
        is_seen(checks, a, b, "go", ("Offline",))
        single = rf"SUBSCRIBE sip:{user_b}@"
        checks.check("linphonec subscribes to nobody alone", single not in a.log(), a.log)

    run(checks, options, scenario)


def is_seen(checks, a, b, what, words):
    seen = wait_for(lambda: a.sees(b.user) in words, SECONDS_TO_SEE, 0.3)
    checks.check(f"linphonec sees baresip {what}", seen, lambda: f"it sees {a.sees(b.user)}")


if __name__ == "__main__":
    main()
