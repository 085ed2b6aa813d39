#!/usr/bin/env python3
"""Two linphonec through a SIP server: register, a wrong password, messages, presence, a call that is heard, unregister.

linphone_pair.py --port 5061 --transport tls --ca ca.pem --srtp
"""

import os
import re
import time

from linphone import REGISTERED, Linphone
from tap import Checks, check_tone, need, options_of, run

# Long enough for a second of tone to be in every recording.
SECONDS_OF_CALL = 5


def main():
    options = options_of(__doc__)
    need("linphonec")
    checks = Checks()

    def scenario(work, started):
        wrong_password(checks, options, work, started)
        (user_a, password_a), (user_b, password_b) = options.a, options.b
        a = Linphone(work, user_a, password_a, options, peer=user_b, hertz=440)
        started.append(a)
        b = Linphone(work, user_b, password_b, options, peer=user_a, hertz=1000)
        started.append(b)
        registered_a = checks.check("alice registers", a.logs(REGISTERED), a.screen)
        registered_b = checks.check("bob registers", b.logs(REGISTERED), b.screen)
        if not (registered_a and registered_b):
            return
        if "message" not in options.skip:
            for sender, receiver, text in ((a, b, "hello from alice"), (b, a, "hello back")):
                sender.command(f'chat sip:{receiver.user}@{options.domain} "{text}"')
                arrived = receiver.shows(re.escape(text))
                checks.check(f"MESSAGE {sender.user} to {receiver.user}", arrived, receiver.screen)
        if "presence" not in options.skip:
            presence(checks, a, b)
        in_call = "call" not in options.skip and call(checks, options, a, b)
        # The recordings are whole once their writers have ended.
        a.stop()
        b.stop()
        if in_call:
            for listener, hertz in ((a, 1000), (b, 440)):
                check_tone(checks, f"{listener.user} hears {hertz} Hz", listener.recorded, hertz)
        unregistered = re.search(r"REGISTER sip:.*?(Expires: 0|expires=0)", a.log(), re.S)
        checks.check("alice unregisters when she ends", unregistered)

    run(checks, options, scenario)


def wrong_password(checks, options, work, started):
    user, password = options.a
    client = Linphone(os.path.join(work, "wrong"), user, password + "-wrong", options)
    started.append(client)
    refused = client.logs(r"SIP/2\.0 (401|403).*SIP/2\.0 (401|403)")
    checks.check("a wrong password is refused", refused and not re.search(REGISTERED, client.log()), client.screen)
    client.stop()


def presence(checks, a, b):
    checks.check("PUBLISH gets an entity tag", b.logs(r"PUBLISH sip:.*SIP-ETag:"))
    checks.check("SUBSCRIBE gets a NOTIFY", a.logs(rf"SUBSCRIBE sip:{b.user}@.*NOTIFY sip:"))
    checks.check("the watcher sees bob online", a.shows(rf'Friend "{b.user}" <[^>]*> is Online'), a.screen)
    pidf = rf'NOTIFY sip:.*<presence[^>]*entity="(?:sip|pres):{b.user}@.*<basic>open</basic>'
    checks.check("NOTIFY carries bob's PIDF", a.logs(pidf))


def call(checks, options, a, b):
    """Returns whether there was a call."""
    a.command(f"call sip:{b.user}@{options.domain}")
    incoming = b.shows(r"incoming call|is contacting you|Receiving new incoming call")
    if not checks.check("INVITE reaches bob", incoming, b.screen):
        return False
    checks.check("alice sees ringing", a.shows(r"[Rr]inging|Remote ringing", 6), a.screen)
    b.command("answer")
    up = r"connected|StreamsRunning|answered"
    checks.check("the call is established at both ends", a.shows(up) and b.shows(up), a.screen)
    time.sleep(SECONDS_OF_CALL)
    a.command("terminate")
    checks.check("BYE closes bob's leg", b.shows(r"[Cc]all.*(ended|terminated)"), b.screen)
    if options.srtp:
        checks.check("the call used SRTP", re.search(r"RTP/SAVP.*a=crypto:", a.log(), re.S))
    return True


if __name__ == "__main__":
    main()
