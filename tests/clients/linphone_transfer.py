#!/usr/bin/env python3
"""Three linphonec through a SIP server: a call that the first transfers to the third after consulting them (REFER, Replaces).

linphone_transfer.py --port 5061 --transport tls --ca ca.pem
"""

import time

from linphone import REGISTERED, Linphone
from tap import Checks, check_tone, need, options_of, run

# Long enough for a second of tone to be in every recording.
SECONDS_OF_CALL = 5
INCOMING = r"incoming call|is contacting you|Receiving new incoming call"


def main():
    options = options_of(__doc__)
    need("linphonec")
    checks = Checks()

    def scenario(work, started):
        people = []
        for (user, password), hertz in ((options.a, 440), (options.b, 1000), (options.c, 700)):
            people.append(Linphone(work, user, password, options, hertz=hertz))
            started.append(people[-1])
        registered = [checks.check(f"{one.user} registers", one.logs(REGISTERED), one.screen) for one in people]
        if all(registered) and transfer(checks, options, *people):
            # The recordings are whole once their writers have ended.
            for one in people:
                one.stop()
            check_tone(checks, "carol hears bob's 1000 Hz", people[2].recorded, 1000)
            check_tone(checks, "bob hears carol's 700 Hz", people[1].recorded, 700)

    run(checks, options, scenario)


def transfer(checks, options, a, b, c):
    """Returns whether it came to a call of those two who did not call each other."""
    a.command(f"call sip:{b.user}@{options.domain}")
    if not checks.check("INVITE reaches bob", b.shows(INCOMING), b.screen):
        return False
    b.command("answer")
    checks.check("alice and bob talk", a.shows(r"Call 1 .*connected|StreamsRunning|answered"), a.screen)
    a.command("pause 1")
    checks.check("bob is put on hold", b.shows(r"paused by remote|has been paused|PausedByRemote|on hold"), b.screen)
    a.command(f"call sip:{c.user}@{options.domain}")
    if not checks.check("alice consults carol", c.shows(INCOMING), a.screen):
        return False
    c.command("answer")
    checks.check("carol answers", c.shows(r"connected|StreamsRunning|answered"), c.screen)
    time.sleep(1)
    a.command("transfer 1 --to-call 2")
    checks.check("REFER names the call to replace", b.logs(r"REFER sip:.*Refer-To:[^\n]*Replaces="), a.screen)
    replacing = c.logs(r"INVITE sip:[^\n]*\r?\n(?:[^\n]+\n)*Replaces:")
    if not checks.check("bob's INVITE finds carol's device", replacing, b.screen):
        return False
    told = a.logs(r"NOTIFY sip:.*Event: refer.*SIP/2\.0 200", 15)
    checks.check("NOTIFY tells how the transfer went", told, a.screen)
    time.sleep(SECONDS_OF_CALL)
    a.command("calls")
    checks.check("alice is out of both calls", a.shows(r"There is no calls at this time|No active call", 8), a.screen)
    return True


if __name__ == "__main__":
    main()
