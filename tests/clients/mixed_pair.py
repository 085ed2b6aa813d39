#!/usr/bin/env python3
"""baresip (user A) and linphonec (user B) with each other through a SIP server: messages, presence, a call each way.

mixed_pair.py --port 5061 --transport tls --ca ca.pem
"""

import time

from baresip import Baresip
from linphone import REGISTERED, Linphone
from tap import Checks, check_tone, need, options_of, run, wait_for

# Long enough for a second of tone to be in every recording.
SECONDS_OF_CALL = 4


def main():
    options = options_of(__doc__)
    need("baresip", "linphonec")
    checks = Checks()

    def scenario(work, started):
        (user_a, password_a), (user_b, password_b) = options.a, options.b
        a = Baresip(work, user_a, password_a, options, peer=user_b, hertz=440)
        started.append(a)
        b = Linphone(work, user_b, password_b, options, peer=user_a, hertz=1000)
        started.append(b)
        registered_a = checks.check("baresip registers", a.registration(("OK",)), a.trace)
        registered_b = checks.check("linphonec registers", b.logs(REGISTERED), b.screen)
        if not (registered_a and registered_b):
            return
        if "message" not in options.skip:
            messages(checks, options, a, b)
        if "presence" not in options.skip:
            presence(checks, a, b)
        if "call" not in options.skip:
            calls(checks, options, a, b)
            # The recordings are whole once their writers have ended.
            a.stop()
            b.stop()
            for recording in a.recordings() or [None]:
                check_tone(checks, "baresip hears 1000 Hz", recording, 1000)
            check_tone(checks, "linphonec hears 440 Hz", b.recorded, 440)

    run(checks, options, scenario)


def messages(checks, options, a, b):
    a.command("contact_next")
    a.command("message", "from baresip")
    checks.check("MESSAGE from baresip to linphonec", b.shows("from baresip", 8), b.screen)
    b.command(f'chat sip:{a.user}@{options.domain} "from linphone"')
    checks.check("MESSAGE from linphonec to baresip", a.saw("from linphone", seconds=8), a.trace)


def presence(checks, a, b):
    a.command("presence", "online")
    checks.check("linphonec sees baresip online", b.shows(rf'Friend "{a.user}" <[^>]*> is Online'), b.screen)
    online = wait_for(lambda: "Online" in a.command("contacts"), 10, 0.5)
    checks.check("baresip sees linphonec online", online, lambda: a.command("contacts"))


def calls(checks, options, a, b):
    since = len(a.events)
    a.command("dial", f"sip:{b.user}@{options.domain}")
    if checks.check("INVITE from baresip to linphonec", b.shows("Receiving new incoming call", 10), a.trace):
        b.command("answer")
        checks.check("linphonec's answer arrives", a.event("CALL_ESTABLISHED", 10, since))
        time.sleep(SECONDS_OF_CALL)
        b.command("terminate")
        checks.check("BYE from linphonec", a.event("CALL_CLOSED", 8, since))
    since = len(a.events)
    b.command(f"call sip:{a.user}@{options.domain}")
    if checks.check("INVITE from linphonec to baresip", a.event("CALL_INCOMING", 10, since), b.screen):
        a.command("accept")
        checks.check("baresip's answer arrives", a.event("CALL_ESTABLISHED", 10, since))
        time.sleep(SECONDS_OF_CALL)
        a.command("hangup")
        checks.check("BYE from baresip", b.shows(r"assigned id 2.*ended", 10), b.screen)


if __name__ == "__main__":
    main()
