"""linphonec (Debian 12: linphone-cli 5.1.65) without a screen.

Each instance has its own HOME and linphonerc and is driven through standard input; its SIP messages are read from its
debug log. `soundcard use files` makes it play and record wav files instead of opening a sound card.

It checks the server's certificate and the name in it, never IP addresses. It sends MESSAGEs of its own (receipts,
CPIM or XML) beside those that it is told to send.
"""

import os
import re
import subprocess
import time

from baresip import free_ports, peers, stop_process
from tap import read_text, wait_for, write_tone

REGISTERED = r"LinphoneRegistrationProgress\] to \[LinphoneRegistrationOk\]"
# It reads its input between two rounds of its loop.
SECONDS_BETWEEN_COMMANDS = 0.4


class Linphone:
    def __init__(self, work, user, password, options, peer=None, hertz=440, list_of=()):
        self.user = user
        self.folder = os.path.join(work, user)
        self.home = os.path.join(self.folder, "home")
        for name in (".config/linphone", ".local/share/linphone", ".cache"):
            os.makedirs(os.path.join(self.home, name), exist_ok=True)
        self.played = os.path.join(self.folder, "tone.wav")
        self.recorded = os.path.join(self.folder, "recorded.wav")
        self.logged = os.path.join(self.folder, "linphone.log")
        write_tone(self.played, hertz)
        settings = os.path.join(self.folder, "linphonerc")
        with open(settings, "w") as file:
            file.write("\n".join(self._settings(user, password, options, peer, list_of)) + "\n")
        self.output = open(os.path.join(self.folder, "output"), "wb")
        environment = {key: os.environ[key] for key in os.environ if key not in ("DISPLAY", "PULSE_SERVER")}
        environment.update(
            HOME=self.home,
            XDG_DATA_HOME=os.path.join(self.home, ".local/share"),
            XDG_CONFIG_HOME=os.path.join(self.home, ".config"),
            TERM="dumb",
        )
        self.process = subprocess.Popen(
            [*options.within, "linphonec", "-c", settings, "-d", "6", "-l", self.logged],
            stdin=subprocess.PIPE,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        for line in ("soundcard use files", f"play {self.played}", f"record {self.recorded}"):
            self.command(line)

    def command(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        time.sleep(SECONDS_BETWEEN_COMMANDS)

    def shows(self, pattern, seconds=12):
        """Waits until its screen shows this."""
        return wait_for(lambda: re.search(pattern, self.screen(), re.S), seconds, 0.3)

    def sees(self, user):
        """What its screen said last of a friend: Online, Busy, Offline and others."""
        found = re.findall(rf'Friend "{user}" <[^>]*> is ([A-Z][^\r\n.]*)', self.screen())
        return found[-1] if found else ""

    def logs(self, pattern, seconds=12):
        """Waits until its log holds this."""
        return wait_for(lambda: re.search(pattern, self.log(), re.S), seconds, 0.3)

    def screen(self):
        return read_text(self.output.name)

    def log(self):
        return read_text(self.logged)

    def stop(self):
        if self.process.poll() is None:
            try:
                self.command("quit")
            except OSError:
                pass  # It is ending already.
            stop_process(self.process)
        self.output.close()

    def _settings(self, user, password, options, peer, list_of):
        host = options.tls_name if options.transport == "tls" else options.host
        proxy = f"sip:{host}:{options.port};transport={options.transport}"
        media = free_ports()
        # -1 takes a free port, 0 none.
        port = {name: -1 if name == options.transport else 0 for name in ("udp", "tcp", "tls")}
        settings = [
            "[sip]",
            f"sip_port={port['udp']}",
            f"sip_tcp_port={port['tcp']}",
            f"sip_tls_port={port['tls']}",
            "use_ipv6=0",
            "guess_hostname=1",
            "register_only_when_network_is_up=0",
            "media_encryption=" + ("srtp" if options.srtp else "none"),
            f"media_encryption_mandatory={int(options.srtp)}",
            "root_ca=" + (options.ca or "/etc/ssl/certs/ca-certificates.crt"),
            f"verify_server_certs={int(bool(options.ca))}",
            f"verify_server_cn={int(bool(options.ca))}",
            "default_proxy=0",
            "keepalive_period=30000",
            "use_rport=1",
            *([f"rls_uri=sip:rls@{options.domain}"] if list_of else []),
            "[net]",
            "firewall_policy=0",
            "[rtp]",
            f"audio_rtp_port={media}",
            f"video_rtp_port={media + 100}",
            "[video]",
            "enabled=0",
            "capture=0",
            "display=0",
            "[sound]",
            "echocancellation=0",
            "[misc]",
            "uuid=",
            "enable_basic_to_client_group_chat_room_migration=0",
            "hide_empty_chat_rooms=0",
            "[lime]",
            "enabled=0",
            "[storage]",
            "backend=sqlite3",
            f"uri={self.folder}/linphone.db",
            f"call_logs_db_uri={self.folder}/logs.db",
            "friends_db_uri=",
            "zrtp_secrets_db_uri=null",
            "[proxy_0]",
            f"reg_proxy=<{proxy}>",
            f"reg_route=<{proxy};lr>",
            f"reg_identity=sip:{user}@{options.domain}",
            "reg_expires=120",
            "reg_sendregister=1",
            f"publish={int('presence' not in options.skip)}",
            "publish_expires=120",
            "quality_reporting_enabled=0",
            "[auth_info_0]",
            f"username={user}",
            f"passwd={password}",
            f"realm={options.domain}",
            f"domain={options.domain}",
        ]
        friends = list_of or (peers(peer) if "presence" not in options.skip else [])
        for number, name in enumerate(friends):
            address = name if "@" in name else f"{name}@{options.domain}"
            friend = f'"{name}" <sip:{address}>'
            settings += [f"[friend_{number}]", f"url={friend}", "pol=accept", "subscribe=1"]
        return settings
