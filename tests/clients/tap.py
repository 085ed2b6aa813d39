"""What the drivers of foreign SIP clients share: named checks in TAP, bounded waiting, tones to play and to hear.

Standard library only. A driver is given a server that runs; it starts the clients, makes its checks, and leaves
nothing running.
"""

import argparse
import math
import os
import shutil
import struct
import sys
import tempfile
import time
import wave

# Power of a tone among all that was heard, and loudness of it, from which it counts as heard.
TONE_SHARE_MIN = 0.6
TONE_RMS_MIN = 300
# Longest detail that a failed check prints, in characters.
DETAIL_CHARACTERS_MAX = 400


class Checks:
    """Named checks, printed as TAP."""

    def __init__(self):
        self.count = 0
        self.failed = 0

    def check(self, name, outcome, detail=""):
        """Prints one check and returns whether it passed. `detail` may be a function: it is called on failure."""
        self.count += 1
        line = f"{self.count} - {name}"
        if outcome:
            print(f"ok {line}", flush=True)
            return True
        self.failed += 1
        text = detail() if callable(detail) else detail
        text = " ".join(str(text)[-DETAIL_CHARACTERS_MAX:].split())
        print(f"not ok {line}" + (f"  # {text}" if text else ""), flush=True)
        return False

    def finish(self):
        """Prints the plan and ends the program: with 0 where every check passed."""
        print(f"1..{self.count}")
        print(f"{self.count - self.failed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed or not self.count else 0)


def run(checks, options, scenario):
    """Plays `scenario(work, started)` in a folder of its own; what it appends to `started` is stopped at the end."""
    started = []
    work = options.work or tempfile.mkdtemp(prefix="clients-")
    os.makedirs(work, exist_ok=True)
    try:
        scenario(work, started)
    except Exception as error:  # A driver that breaks is a failed check, and still stops its clients.
        checks.check("the driver ran to its end", False, repr(error))
    finally:
        for client in started:
            client.stop()
        if not options.work:
            shutil.rmtree(work, ignore_errors=True)
    checks.finish()


def wait_for(look, seconds, step=0.1):
    """Calls `look` until it returns something true, for at most so long; returns what it returned last."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found or time.monotonic() > end:
            return found
        time.sleep(step)


def options_of(description, more=lambda parser: None):
    """The command line that all drivers have; `more` adds what one has besides."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--transport", choices=["udp", "tcp", "tls"], default="udp")
    parser.add_argument("--tls-name", default="localhost", help="a name in the server's certificate")
    parser.add_argument("--ca", help="PEM file of the CA of the server's certificate")
    parser.add_argument("--domain", default="example.test")
    parser.add_argument("--a", default="alice:alice-secret", metavar="USER:PASSWORD")
    parser.add_argument("--b", default="bob:bob-secret", metavar="USER:PASSWORD")
    parser.add_argument("--c", default="carol:carol-secret", metavar="USER:PASSWORD")
    parser.add_argument("--srtp", action="store_true", help="call with SRTP, keys in SDP")
    parser.add_argument("--skip", default="", help="a list with commas of: message, presence, call, transfer")
    parser.add_argument("--work", help="a folder to work in that is kept")
    more(parser)
    options = parser.parse_args()
    options.local, options.dns, options.within = "127.0.0.1", "", []
    options.skip = set(options.skip.split(","))
    options.a = options.a.split(":", 1)
    options.b = options.b.split(":", 1)
    options.c = options.c.split(":", 1)
    return options


def need(*programs):
    """Ends the driver where a client is not installed."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        print("Bail out! not installed: " + " ".join(missing))
        sys.exit(77)


def read_text(path):
    """A file's text so far; nothing where it is not there yet."""
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf8", "replace")
    except FileNotFoundError:
        return ""


def write_tone(path, hertz, seconds=30, rate=8000, amplitude=0.4):
    """Writes a wav file for a client to play."""
    samples = (int(amplitude * 32767 * math.sin(2 * math.pi * hertz * i / rate)) for i in range(seconds * rate))
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))


def check_tone(checks, name, path, hertz):
    """Checks that a recording holds a tone somewhere in it."""
    rate, samples = read_wav(path) if path and os.path.exists(path) else (8000, [])
    share, rms = best_second(samples, rate, hertz)
    heard = share > TONE_SHARE_MIN and rms > TONE_RMS_MIN
    checks.check(name, heard, f"share {share:.2f}, rms {rms:.0f}, {len(samples)} samples")


def read_wav(path):
    """Rate and samples of the first channel of a 16-bit wav file whose sizes may never have been filled in."""
    with open(path, "rb") as file:
        octets = file.read()
    rate, channels, at = 8000, 1, 12
    while octets[:4] == b"RIFF" and at + 8 <= len(octets):
        kind, size = octets[at : at + 4], struct.unpack("<I", octets[at + 4 : at + 8])[0]
        if kind == b"fmt ":
            channels, rate = struct.unpack("<HI", octets[at + 10 : at + 16])
        if kind == b"data":
            whole = size and at + 8 + size <= len(octets)
            data = octets[at + 8 : at + 8 + size] if whole else octets[at + 8 :]
            count = len(data) // (2 * channels) * channels
            return rate, list(struct.unpack(f"<{count}h", data[: 2 * count]))[::channels]
        at += 8 + size + (size & 1)
    return rate, []


def best_second(samples, rate, hertz):
    """Share of power at a frequency, and loudness, in the second that has the tone best."""
    best = (0.0, 0.0)
    for start in range(0, max(1, len(samples) - rate + 1), rate // 2):
        share, rms = tone(samples[start : start + rate], rate, hertz)
        if share * min(1, rms / TONE_RMS_MIN) > best[0] * min(1, best[1] / TONE_RMS_MIN):
            best = (share, rms)
    return best


def tone(samples, rate, hertz):
    """Share of the power at one frequency (Goertzel), from 0 to 1, and the root mean square."""
    if len(samples) < rate // 4:
        return 0.0, 0.0
    k = 2 * math.cos(2 * math.pi * hertz / rate)
    one = two = 0.0
    for sample in samples:
        one, two = sample + k * one - two, one
    power = (one * one + two * two - k * one * two) / (len(samples) / 2)
    total = sum(sample * sample for sample in samples)
    return (power / total if total else 0.0), math.sqrt(total / len(samples))
