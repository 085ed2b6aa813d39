#!/usr/bin/python3
"""A throwaway Active Directory (a Samba domain controller) for tests, wholly inside one directory.

  domain.py up DIR          provision and fill it (the first time), start it, wait until it answers
  domain.py lend FOLDER     the same in FOLDER/dc for many tests at once: it is stopped and FOLDER is removed when nobody
                            has held a lock on FOLDER/lease for a while; prints the environment as JSON
  domain.py env DIR         print shell exports:  eval "$(domain.py env DIR)"; with --json as JSON
  domain.py run DIR CMD...  run CMD with that environment, the domain's host names resolvable, and libwbclient
                            (ntlm_auth, wbinfo) talking to this domain's winbindd
  domain.py member DIR      also join a member server SIPSRV1 and start its winbindd; env and run then use that one
  domain.py bulk DIR N      add N more users (it is stopped meanwhile and started again)
  domain.py down DIR        stop; the data stays and `up` starts it again. `rm -rf DIR` forgets it

Settings (environment): AD_DC_ADDR loopback address (default: the first free of 127.78.N.1), AD_DC_SECONDS stop by itself
after so long (default 14400), AD_DC_DEBUG samba's log level (1). It must be root, to bind AD's fixed ports (53 88 135
389 445 464 636 3268 3269 49152-49154) on that one address, and touches nothing in /etc, /run and /var. README.md beside
it says what the domain contains and how it behaves.
"""
import fcntl, json, os, re, shlex, shutil, signal, socket, subprocess, sys, time

# How long nobody may use a lent domain before it goes: tests of one run follow each other within this time.
IDLE_SECONDS = 30


def die(msg):
    sys.exit("domain.py: " + msg)


def sh(*cmd, **kw):
    r = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
    if r.returncode:
        die("%s failed (%d):\n%s" % (" ".join(cmd[:3]), r.returncode, r.stdout[-3000:]))


def put(path, text):
    with open(path, "w") as f:
        f.write(text)


def get(path):
    with open(path) as f:
        return f.read().strip()


def processes(d):
    """Every samba process of this directory: all run with it as working directory."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            exe = os.path.basename(os.readlink("/proc/%s/exe" % pid))
            if os.readlink("/proc/%s/cwd" % pid) == d and re.match("samba|smbd|winbindd|rpcd|timeout", exe):
                found.append(int(pid))
        except OSError:
            pass
    return found


def root_of(d):
    """pid of the process that started the others, or None."""
    pid = int(get(d + "/pid")) if os.path.exists(d + "/pid") else None
    return pid if pid in processes(d) else None


def can_bind(addr):
    with socket.socket() as s:
        try:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((addr, 389))
            return True
        except PermissionError:
            die("must be root to bind port 389")
        except OSError:
            return False


def provision(d, c):
    wanted = [os.environ["AD_DC_ADDR"]] if "AD_DC_ADDR" in os.environ else ["127.78.%d.1" % n for n in range(250)]
    addr = next(filter(can_bind, wanted), None) or die("port 389 is taken on " + ", ".join(wanted[:3]))
    v = dict(d=d, addr=addr, name=c.HOST.upper(), realm=c.REALM, domain=c.DOMAIN, dns=c.DNSNAME)
    fqdn = c.HOST + "." + c.DNSNAME
    # Not winbindd, ntp_signd and ncalrpc: samba makes them, with the modes it insists on.
    for sub in ("private/tls", "state", "cache", "lock", "run", "etc"):
        os.makedirs(d + "/" + sub, exist_ok=True)
    put(d + "/etc/smb.conf", (c.SMB_CONF + c.SMB_CONF_DC).format(**v))
    put(d + "/krb5.conf", c.KRB5_CONF.format(**v))  # clients look up nothing in DNS: the KDC is an address
    put(d + "/hosts", f"127.0.0.1 localhost\n{addr} {fqdn} {c.HOST} {c.DNSNAME}\n127.0.0.1 sip.{c.DNSNAME}\n")
    # A CA of our own: the certificate samba makes for itself has no subjectAltName.
    key = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-days", "3650"]
    sh(*key, "-x509", "-subj", "/CN=Test bed CA", "-keyout", d + "/ca.key", "-out", d + "/ca.pem")
    sh(*key, "-subj", "/CN=" + fqdn, "-keyout", d + "/private/tls/dc.key", "-out", d + "/dc.csr")
    put(d + "/ext", f"subjectAltName=DNS:{fqdn},DNS:{c.DNSNAME},IP:{addr}\nextendedKeyUsage=serverAuth\n")
    sh("openssl", "x509", "-req", "-in", d + "/dc.csr", "-CA", d + "/ca.pem", "-CAkey", d + "/ca.key",
       "-CAcreateserial", "-days", "3650", "-extfile", d + "/ext", "-out", d + "/private/tls/dc.pem")
    os.chmod(d + "/private/tls/dc.key", 0o600)  # samba refuses a key that others can read
    sh("samba-tool", "domain", "provision", "-s", d + "/etc/smb.conf", "--realm=" + c.REALM,
       "--domain=" + c.DOMAIN, "--server-role=dc", "--host-name=" + c.HOST, "--host-ip=" + addr,
       "--dns-backend=SAMBA_INTERNAL", "--adminpass=" + c.ADMIN_PW)
    sh("samba_spnupdate", "-s", d + "/etc/smb.conf")  # ldap/dc1...: else no Kerberos to the LDAP service
    put(d + "/addr", addr + "\n")


def environment(d, c):
    addr, m = get(d + "/addr"), d + "/member" if os.path.exists(d + "/member/ready") else d
    env = {
        "AD_DIR": d, "AD_REALM": c.REALM, "AD_DOMAIN": c.DOMAIN, "AD_DNS_DOMAIN": c.DNSNAME, "AD_BASE_DN": c.BASE,
        "AD_ADDR": addr, "AD_HOST": c.HOST + "." + c.DNSNAME, "AD_DNS_SERVER": addr + ":53",
        "AD_LDAP_URL": "ldap://" + addr, "AD_LDAPS_URL": "ldaps://" + addr, "AD_CA_FILE": d + "/ca.pem",
        "AD_ADMIN": "Administrator", "AD_ADMIN_PASSWORD": c.ADMIN_PW,
        "AD_USERS": " ".join(p[0] for p in c.PEOPLE), "AD_USER_PASSWORD": c.USER_PW,
        "AD_STATE_USERS": " ".join(c.STATES),
        "AD_SYNC_DN": "CN=svc-sync," + c.SERVICES, "AD_SYNC_USER": "svc-sync", "AD_SYNC_PASSWORD": c.SVC_PW,
        "AD_SIP_USER": "svc-sip", "AD_SIP_PASSWORD": c.SVC_PW, "AD_SIP_SPN": "sip/sip." + c.DNSNAME,
        "AD_KEYTAB": d + "/sip.keytab", "AD_MEMBER_KEYTAB": d + "/member/sip.keytab",
        "AD_SMB_CONF": d + "/etc/smb.conf", "AD_HOSTS_FILE": d + "/hosts",
        "KRB5_CONFIG": d + "/krb5.conf", "KRB5CCNAME": "FILE:" + d + "/krb5cc", "LDAPTLS_CACERT": d + "/ca.pem",
        # libwbclient has the place of winbindd's socket compiled in; it takes another one only while
        # nss_wrapper is preloaded, whose hosts file also answers getaddrinfo.
        "NSS_WRAPPER_HOSTS": d + "/hosts", "NSS_WRAPPER_PASSWD": "/etc/passwd", "NSS_WRAPPER_GROUP": "/etc/group",
        "SELFTEST_WINBINDD_SOCKET_DIR": m + "/winbindd"}
    env["AD_NTLM_AUTH"] = "env LD_PRELOAD=libnss_wrapper.so ntlm_auth --configfile=%s/etc/smb.conf" % m
    return env


def start(d, env, cmd, ports, addr):
    """Start a daemon with d as working directory; wait for its ports and for its winbindd."""
    if root_of(d):
        return
    if ports and not can_bind(addr):
        die("%s:389 is in use by something else; this domain is bound to that address" % addr)
    env = dict(os.environ, **env, LD_PRELOAD="libnss_wrapper.so")
    env.update(SELFTEST_WINBINDD_SOCKET_DIR=d + "/winbindd", KRB5CCNAME="MEMORY:")
    with open(d + "/log", "ab") as log:
        p = subprocess.Popen(cmd + ["-F", "--no-process-group", "--debug-stdout", "-s", d + "/etc/smb.conf",
                                    "-d", os.environ.get("AD_DC_DEBUG", "1")], env=env, cwd=d, start_new_session=True,
                             stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    put(d + "/pid", "%d\n" % p.pid)
    end = time.time() + 60
    while ports or subprocess.run(["wbinfo", "-p"], env=env, capture_output=True).returncode:
        if p.poll() is not None or time.time() > end:
            stop(d)
            die("%s did not come up; the end of %s/log:\n%s" % (cmd[0], d, get(d + "/log")[-2000:]))
        with socket.socket() as s:
            if ports and s.connect_ex((addr, ports[0])) == 0:
                ports = ports[1:]
            else:
                time.sleep(0.05)


def stop(d):
    """Ask the root process, which takes its children with it; then ask, then kill, what is left."""
    for pids, sig in ((lambda: [root_of(d)] if root_of(d) else []), signal.SIGTERM), \
                     ((lambda: processes(d)), signal.SIGTERM), ((lambda: processes(d)), signal.SIGKILL):
        for pid in pids():
            try:
                os.kill(pid, sig)
            except ProcessLookupError:  # it ended in between
                pass
        end = time.time() + 10
        while pids() and time.time() < end:
            time.sleep(0.05)


def up(d, c):
    secs = os.environ.get("AD_DC_SECONDS", "14400")
    start(d, environment(d, c), ["samba", "--maximum-runtime=" + secs], [53, 88, 389, 445, 636, 49152], get(d + "/addr"))
    if os.path.exists(d + "/member/ready"):
        start(d + "/member", environment(d, c), ["timeout", secs, "winbindd"], [], None)


def member(d, c):
    m, env = d + "/member", environment(d, c)
    if not os.path.exists(m + "/ready"):
        shutil.rmtree(m, ignore_errors=True)
        for sub in ("private", "state", "cache", "lock", "run", "etc"):
            os.makedirs(m + "/" + sub)
        put(m + "/etc/smb.conf", (c.SMB_CONF + c.SMB_CONF_MEMBER).format(
            d=m, name="SIPSRV1", realm=c.REALM, domain=c.DOMAIN, addr=env["AD_ADDR"], host=env["AD_HOST"]))
        net = dict(env=dict(os.environ, **env, LD_PRELOAD="libnss_wrapper.so"), cwd=m)
        conf = ["-s", m + "/etc/smb.conf"]
        sh("net", "ads", "join", "-S", env["AD_HOST"], "-U", "Administrator%" + c.ADMIN_PW, "--no-dns-updates", *conf, **net)
        sh("net", "ads", "keytab", "add_update_ads", "sip", "-P", *conf, **net)  # its SPNs and keytab
        put(m + "/ready", "")
    up(d, c)


def make(d, c, quiet=False):
    """Provisions and fills the domain where there is none yet."""
    if os.path.exists(d + "/ready"):
        return
    if os.path.isdir(d) and os.listdir(d):
        die("%s is neither empty nor a finished domain: remove it first" % d)
    t = time.time()
    provision(d, c)
    t1 = time.time()
    c.populate(d, get(d + "/addr"))
    put(d + "/ready", "")
    if not quiet:
        print("provisioned in %.1f s, populated in %.1f s" % (t1 - t, time.time() - t1))


def tend(d, lock):
    """Leaves a process behind that waits until the domain in d/dc is idle, and takes it away. One for each is enough."""
    tender = open(d + "/tender", "w")
    try:
        fcntl.flock(tender, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    if os.fork():
        return
    os.setsid()
    lock.close()
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in 0, 1, 2:
        os.dup2(nothing, fd)
    lease, idle = open(d + "/lease", "a"), 0
    while idle < IDLE_SECONDS:
        time.sleep(1)
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            idle = 0
            continue
        idle += 1
        if idle < IDLE_SECONDS:
            fcntl.flock(lease, fcntl.LOCK_UN)
    # The lease is ours: whoever wants it now waits, and then finds that the file is another one.
    stop(d + "/dc")
    shutil.rmtree(d, ignore_errors=True)
    os._exit(0)


def main(verb="help", d=None, *args):
    if verb not in ("up", "lend", "env", "run", "member", "bulk", "down") or not d or (verb in ("run", "bulk") and not args):
        sys.exit(__doc__)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    missing = [p for p in ("samba", "samba-tool", "winbindd", "ntlm_auth", "openssl") if not shutil.which(p)]
    if missing:
        die("%s not found: `cargo xtask test` installs the packages" % ", ".join(missing))
    sys.dont_write_bytecode = True
    import contents as c
    d, t = os.path.realpath(d), time.time()
    if verb not in ("up", "lend") and not os.path.exists(d + "/ready"):
        die("no domain in %s: run `domain.py up %s`" % (d, d))
    lock = socket.socket(socket.AF_UNIX)  # one at a time, so that two do not pick the same address
    while verb in ("up", "lend", "member", "bulk", "down"):
        try:
            lock.bind("\0chancery-test-domain")
            break
        except OSError:
            time.sleep(0.1)
    if verb == "up":
        make(d, c)
        t = time.time()
        up(d, c)
        print("%s.%s is up on %s (%.1f s)" % (c.HOST, c.DNSNAME, get(d + "/addr"), time.time() - t))
    elif verb == "lend":
        dc = d + "/dc"
        os.makedirs(dc, exist_ok=True)
        # Who was interrupted left half a domain behind; whoever asks holds the lease, and nobody removes it meanwhile.
        if not os.path.exists(dc + "/ready"):
            shutil.rmtree(dc)
        make(dc, c, quiet=True)
        up(dc, c)
        tend(d, lock)
        print(json.dumps(environment(dc, c)))
    elif verb == "env" and args == ("--json",):
        print(json.dumps(environment(d, c)))
    elif verb == "env":
        for k, val in environment(d, c).items():
            print("export %s=%s" % (k, shlex.quote(val)))
    elif verb == "run":
        os.execvpe(args[0], args, dict(os.environ, **environment(d, c), LD_PRELOAD="libnss_wrapper.so"))
    elif verb == "member":
        member(d, c)
        print("member server SIPSRV1 is up (%.1f s)" % (time.time() - t))
    elif verb == "bulk":
        was = root_of(d)
        stop(d + "/member")
        stop(d)
        c.bulk(d, int(args[0]))
        print("%s users added in %.1f s" % (args[0], time.time() - t))
        if was:
            up(d, c)
    elif verb == "down":
        stop(d + "/member")
        stop(d)


if __name__ == "__main__":
    main(*sys.argv[1:])
