"""SIP.js in Node, over WebSocket: one person who is told what to publish and says whom it sees (`websocket/person.mjs`)."""

import json
import os
import subprocess
import threading

from baresip import stop_process
from tap import read_text, wait_for

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "websocket", "person.mjs")


class SipJs:
    def __init__(self, work, user, password, options, watched):
        self.user, self.is_registered, self.seen = user, None, {}
        self.errors = open(os.path.join(work, f"{user}-sipjs.log"), "ab")
        more = ["--ca", options.ca] if options.ca and options.ws.startswith("wss:") else []
        self.process = subprocess.Popen(
            ["node", SCRIPT, "--url", options.ws, "--domain", options.domain, "--user", f"{user}:{password}"]
            + ["--watch", ",".join(watched), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def command(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def registers(self, seconds=12):
        wait_for(lambda: self.is_registered is not None, seconds)
        return self.is_registered

    def sees(self, user):
        """What it was told last of somebody: online, busy or offline."""
        return self.seen.get(user, "")

    def trace(self):
        return f"{self.seen} {read_text(self.errors.name)}"

    def stop(self):
        if self.process.poll() is None:
            try:
                self.command("quit")
            except OSError:
                pass  # It is ending already.
            stop_process(self.process)
        self.errors.close()

    def _read(self):
        for line in self.process.stdout:
            told = json.loads(line)
            if "is" in told:
                self.is_registered = told["is"] == "registered"
            else:
                self.seen[told["user"]] = told["state"]
