#!/usr/bin/env python3
"""Two baresip through a SIP server: register, a wrong password, messages, presence, a call that is heard, one that is transferred to a
third, unregister.

baresip_pair.py --port 5061 --transport tls --ca ca.pem --srtp
"""

import os
import time

from baresip import Baresip
from tap import Checks, check_tone, need, options_of, run, wait_for

# Long enough for a second of tone to be in every recording.
SECONDS_OF_CALL = 4


def main():
    options = options_of(__doc__)
    need("baresip")
    checks = Checks()

    def scenario(work, started):
        wrong_password(checks, options, work, started)
        (user_a, password_a), (user_b, password_b) = options.a, options.b
        a = Baresip(work, user_a, password_a, options, peer=user_b, hertz=440)
        started.append(a)
        b = Baresip(work, user_b, password_b, options, peer=user_a, hertz=1000)
        started.append(b)
        registered_a = checks.check("alice registers", a.registration(("OK",)), a.trace)
        registered_b = checks.check("bob registers", b.registration(("OK",)), b.trace)
        if not (registered_a and registered_b):
            return
        if "message" not in options.skip:
            messages(checks, a, b)
        if "presence" not in options.skip:
            presence(checks, a, b)
        if "call" not in options.skip:
            call(checks, options, a, b)
        if "transfer" not in options.skip:
            transfer(checks, options, a, b, work, started)
        a.stop()
        checks.check("alice unregisters when she ends", "Expires: 0" in a.trace(), a.trace)

    run(checks, options, scenario)


def wrong_password(checks, options, work, started):
    user, password = options.a
    client = Baresip(os.path.join(work, "wrong"), user, password + "-wrong", options)
    started.append(client)
    checks.check("a wrong password is refused", client.registration() == "ERR", client.trace)
    client.stop()


def messages(checks, a, b):
    for sender, receiver, text in ((a, b, "hello from alice äöü 中文"), (b, a, "hello back")):
        # `message` goes to the current contact. 1.0.0 has no event for a message that came in.
        sender.command("contact_next")
        sender.command("message", text)
        arrived = receiver.saw("MESSAGE sip:", text, seconds=8)
        checks.check(f"MESSAGE {sender.user} to {receiver.user}", arrived, receiver.trace)


def presence(checks, a, b):
    subscribed = a.saw("Event: presence", "NOTIFY sip:", seconds=12)
    checks.check("SUBSCRIBE gets a NOTIFY", subscribed, a.trace)
    b.command("presence", "online")
    checks.check("PUBLISH gets an entity tag", b.saw("PUBLISH sip:", "SIP-ETag:", seconds=8), b.trace)
    online = wait_for(lambda: "Online" in a.command("contacts"), 12, 0.5)
    checks.check("the watcher sees bob online", online, lambda: a.command("contacts"))


def call(checks, options, a, b):
    since_a, since_b = len(a.events), len(b.events)
    a.command("dial", f"sip:{b.user}@{options.domain}")
    if not checks.check("INVITE reaches bob", b.event("CALL_INCOMING", 10, since_b), a.trace):
        return
    checks.check("alice sees ringing", a.event("CALL_RINGING", 5, since_a))
    b.command("accept")
    established = a.event("CALL_ESTABLISHED", 10, since_a) and b.event("CALL_ESTABLISHED", 10, since_b)
    checks.check("the call is established at both ends", established)
    time.sleep(SECONDS_OF_CALL)
    a.command("hangup")
    checks.check("BYE closes bob's leg", b.event("CALL_CLOSED", 8, since_b))
    wait_for(lambda: a.recordings() and b.recordings(), 5)
    for listener, hertz in ((a, 1000), (b, 440)):
        recording = (listener.recordings() or [None])[-1]
        check_tone(checks, f"{listener.user} hears {hertz} Hz", recording, hertz)
    if options.srtp:
        checks.check("the call used SRTP", "RTP/SAVP" in a.trace() and "a=crypto:" in b.trace())


def transfer(checks, options, a, b, work, started):
    """baresip 1.0.0 can transfer without consultation only."""
    user, password = options.c
    c = Baresip(work, user, password, options, hertz=700)
    started.append(c)
    if not checks.check("carol registers", c.registration(("OK",)), c.trace):
        return
    since_a, since_b, heard = len(a.events), len(b.events), len(c.recordings())
    a.command("dial", f"sip:{b.user}@{options.domain}")
    b.event("CALL_INCOMING", 10, since_b)
    b.command("accept")
    if not checks.check("there is a call to transfer", b.event("CALL_ESTABLISHED", 10, since_b), b.trace):
        return
    since_b = len(b.events)
    a.command("transfer", f"sip:{c.user}@{options.domain}")
    checks.check("REFER reaches bob", b.saw("REFER sip:", f"{c.user}@{options.domain}"), a.trace)
    if not checks.check("bob's INVITE reaches carol", c.event("CALL_INCOMING", 10), b.trace):
        return
    c.command("accept")
    established = c.event("CALL_ESTABLISHED", 10) and b.event("CALL_ESTABLISHED", 10, since_b)
    checks.check("bob and carol talk", established, b.trace)
    checks.check("alice is told of it and out of the call", a.event("CALL_CLOSED", 10, since_a), a.trace)
    checks.check("NOTIFY tells how the transfer went", a.saw("message/sipfrag"), a.trace)
    time.sleep(SECONDS_OF_CALL)
    b.command("hangup")
    checks.check("BYE closes carol's leg", c.event("CALL_CLOSED", 8))
    wait_for(lambda: len(c.recordings()) > heard, 5)
    check_tone(checks, "carol hears bob's 1000 Hz", (c.recordings() or [None])[-1], 1000)


if __name__ == "__main__":
    main()
