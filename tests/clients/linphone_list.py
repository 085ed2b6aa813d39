#!/usr/bin/env python3
"""linphonec's contact list in one subscription (RFC 4662, RFC 5367), with two baresip and linphonec in it.

linphone_list.py --port 5061 --transport tls --ca ca.pem

It subscribes to the list where its settings name a list service, as `rls_uri`: the list stands in its SUBSCRIBE, deflated
(`handle_content_encoding`) unless it is told otherwise.
"""

from baresip import Baresip
from linphone import REGISTERED, Linphone
from tap import Checks, need, options_of, run


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
        b.command("presence", "online")
        online = rf'Friend "{user_b}" <[^>]*> is Online'
        checks.check("linphonec sees baresip online", a.shows(online), a.screen)
        b.command("presence", "busy")
        busy = rf'Friend "{user_b}" <[^>]*> is (Busy|Do not disturb)'
        checks.check("linphonec sees baresip busy", a.shows(busy), a.screen)
        b.stop()
        offline = rf'{online}.*Friend "{user_b}" <[^>]*> is Offline'
        checks.check("linphonec sees baresip go", a.shows(offline), a.screen)
        single = rf"SUBSCRIBE sip:{user_b}@"
        checks.check("linphonec subscribes to nobody alone", single not in a.log(), a.log)

    run(checks, options, scenario)


if __name__ == "__main__":
    main()
