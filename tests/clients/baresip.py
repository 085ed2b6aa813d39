"""baresip (Debian 12: 1.0.0) without a screen.

Each instance has a folder with `config`, `accounts` and `contacts`, and is driven through its module ctrl_tcp:
netstrings of JSON, `{"command", "params", "token"}` in, answers and events out. The module aufile plays a tone from a
wav file, sndfile records what was decoded to another.

It does not check the server's certificate, so that it is no test of that. It listens for TLS on the port after its
SIP port, without a certificate: the server must reach it over the connection that it opened.
"""

import glob
import json
import os
import random
import re
import socket
import subprocess
import threading

from tap import read_text, wait_for, write_tone

MODULES = "/usr/lib/baresip/modules"


class Baresip:
    def __init__(self, work, user, password, options, peer=None, hertz=440, seconds_registered=60):
        self.user = user
        self.folder = os.path.join(work, user)
        os.makedirs(self.folder, exist_ok=True)
        self.events, self.replies, self.tokens = [], {}, 0
        self.control = free_ports()
        self._write_files(user, password, options, peer, seconds_registered)
        write_tone(os.path.join(self.folder, "tone.wav"), hertz)
        self.log = open(os.path.join(self.folder, "log"), "wb")
        self.process = subprocess.Popen(
            ["baresip", "-4", "-n", options.local, "-f", self.folder, "-s"],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            env=dict(os.environ, HOME=self.folder),
        )
        self.socket = wait_for(self._connect, 10)
        if not self.socket:
            self.stop()
            raise RuntimeError("baresip's control port did not open: " + self.trace()[-300:])
        threading.Thread(target=self._read, daemon=True).start()

    def command(self, name, params="", seconds=5):
        """Runs a command of baresip's menu and returns what it prints."""
        self.tokens += 1
        token = str(self.tokens)
        octets = json.dumps({"command": name, "params": params, "token": token}).encode()
        self.socket.sendall(b"%d:%s," % (len(octets), octets))
        return (wait_for(lambda: self.replies.get(token), seconds) or {}).get("data", "")

    def event(self, kind, seconds=10, since=0):
        """Waits for an event of this kind among those after the first `since`."""

        def look():
            return next((event for event in self.events[since:] if event.get("type") == kind), None)

        return wait_for(look, seconds)

    def registration(self, wanted=("OK", "ERR"), seconds=12):
        """What `reginfo` says: OK, ERR or nothing. Events from before the control port was open are lost."""

        def look():
            text = re.sub("\x1b[^m;]*;?m|\x1b\\[[0-9;]*m", "", self.command("reginfo"))
            found = re.search(r"> sip:\S+\s+(OK|ERR)", text)
            return found and found.group(1) in wanted and found.group(1)

        return wait_for(look, seconds, 0.3) or ""

    def sees(self, user):
        """What its list says of a contact: Online, Busy, Offline or Unknown."""
        text = re.sub("\x1b[^m;]*;?m|\x1b\\[[0-9;]*m", "", self.command("contacts"))
        found = re.search(rf"(Online|Busy|Offline|Unknown)[^\n]*sip:{user}@", text)
        return found.group(1) if found else ""

    def saw(self, *texts, seconds=10):
        """Waits until all these texts stand in the trace of its SIP messages."""
        return wait_for(lambda: all(text in self.trace() for text in texts), seconds)

    def trace(self):
        return read_text(self.log.name)

    def recordings(self):
        """The wav files of what it heard, oldest first."""
        return sorted(glob.glob(os.path.join(self.folder, "dump-*dec.wav")))

    def stop(self):
        if self.process.poll() is None:
            try:
                self.command("quit", seconds=0.5)
            except (OSError, AttributeError):
                pass  # It is ending already, or never opened its control port.
            stop_process(self.process)
        self.log.close()

    def _write_files(self, user, password, options, peer, seconds_registered):
        server = f"sip:{options.host}:{options.port};transport={options.transport}"
        account = (
            f"<sip:{user}@{options.domain};transport={options.transport}>;auth_user={user};auth_pass={password};"
            f'outbound="{server}";regint={seconds_registered};pubint=60;answermode=manual;'
            "audio_codecs=PCMU,PCMA" + (";mediaenc=srtp-mand" if options.srtp else "")
        )
        contacts = [
            f'"{name}" <sip:{name if "@" in name else f"{name}@{options.domain}"}>;presence=p2p' for name in peers(peer)
        ]
        media = free_ports()
        config = [
            "poll_method epoll",
            f"sip_listen {options.local}:{free_ports()}",
            f"sip_cafile {options.ca}" if options.ca else "",
            f"dns_server {options.dns}" if options.dns else "",
            "sip_verify_server " + ("yes" if options.ca else "no"),
            "call_local_timeout 30",
            "call_max_calls 4",
            "audio_path /usr/share/baresip",
            "audio_player aubridge,none",
            f"audio_source aufile,{self.folder}/tone.wav",
            "audio_alert aubridge,none",
            "ausrc_srate 8000",
            "auplay_srate 8000",
            "ausrc_channels 1",
            "auplay_channels 1",
            "audio_buffer 20-160",
            f"rtp_ports {media}-{media + 20}",
            "rtcp_mux no",
            "jitter_buffer_delay 1-5",
            "rtp_stats no",
            f"module_path {MODULES}",
            *(f"module {name}.so" for name in ("g711", "aufile", "aubridge", "sndfile", "uuid", "srtp")),
            f"snd_path {self.folder}",
            "module_tmp account.so",
            *(f"module_app {name}.so" for name in ("contact", "presence", "menu", "ctrl_tcp")),
            f"ctrl_tcp_listen 127.0.0.1:{self.control}",
            "menu_bell no",
            "ringback_disabled yes",
            "redial_attempts 0",
        ]
        for name, lines in (("accounts", [account]), ("contacts", contacts), ("config", config)):
            with open(os.path.join(self.folder, name), "w") as file:
                file.write("\n".join(lines) + "\n")

    def _connect(self):
        try:
            return socket.create_connection(("127.0.0.1", self.control), 1)
        except OSError:
            return None

    def _read(self):
        self.socket.settimeout(None)
        buffer = b""
        while True:
            try:
                octets = self.socket.recv(65536)
            except OSError:
                return
            if not octets:
                return
            buffer += octets
            while b":" in buffer:
                length, rest = buffer.split(b":", 1)
                if len(rest) <= int(length):
                    break
                message, buffer = json.loads(rest[: int(length)].decode("utf8", "replace")), rest[int(length) + 1 :]
                if message.get("event"):
                    self.events.append(message)
                else:
                    self.replies[message.get("token", "")] = message


def peers(names):
    """Whom a client knows: nobody, one, or several."""
    return [names] if isinstance(names, str) else list(names or ())


def stop_process(process):
    """Waits for a process that was asked to end, and asks more and more firmly."""
    for ask in (process.terminate, process.kill):
        try:
            process.wait(6)
            return
        except subprocess.TimeoutExpired:
            ask()
    process.wait()


def free_ports():
    """A port below the ephemeral range that is free with its successor, over UDP and TCP."""
    while True:
        port = random.randrange(20000, 31000, 2)
        try:
            for number in (port, port + 1):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with socket.socket(socket.AF_INET, kind) as probe:
                        probe.bind(("127.0.0.1", number))
            return port
        except OSError:
            pass
