"""What the test domain of `domain.py` contains, and its configuration files.

The database is filled offline, on the files of a stopped domain controller."""
import os, struct, time, zlib

try:
    import ldb
    import samba.dckeytab  # gives Net its export_keytab
    from samba.auth import system_session
    from samba.credentials import Credentials
    from samba.dcerpc import security
    from samba.ndr import ndr_pack, ndr_unpack
    from samba.net import Net
    from samba.param import LoadParm
    from samba.samdb import SamDB
except ImportError as e:
    raise SystemExit("domain.py: %s: needs the packages of xtask/src/machine.rs and Debian's /usr/bin/python3" % e)

REALM, DOMAIN, HOST = "CORP.EXAMPLE", "CORP", "dc1"
DNSNAME, BASE = REALM.lower(), ",".join("DC=" + p for p in REALM.lower().split("."))
ADMIN_PW, USER_PW, SVC_PW = "Admin-Passw0rd", "User-Passw0rd", "Service-Passw0rd"
OUS = STAFF, STATE_OU, SERVICES, GROUP_OU, BULK = ["OU=%s,%s" % (ou, BASE) for ou in
                                                   ("Staff", "States", "Services", "Groups", "Bulk")]

# msRTCSIP-* attributes as OCS 2007 adds to user and contact: name, AD syntax + oMSyntax, indexed.
# The OIDs are made up (arc below): LDAP clients only ever use the names.
UNI, BOOL, INT, DN = ("2.5.5.12", 64), ("2.5.5.8", 1), ("2.5.5.9", 2), ("2.5.5.1", 127)
OID = "1.2.840.113556.1.8000.2554.20071.10161.4242.1"
RTC = [("PrimaryUserAddress", UNI, 1), ("UserEnabled", BOOL, 1), ("PrimaryHomeServer", DN, 1),
       ("TargetHomeServer", DN, 0), ("OptionFlags", INT, 0), ("Line", UNI, 1), ("LineServer", UNI, 0),
       ("FederationEnabled", BOOL, 0), ("InternetAccessEnabled", BOOL, 0), ("ArchivingEnabled", INT, 0),
       ("UserExtension", UNI, 0), ("OwnerUrn", UNI, 0), ("DeploymentLocator", UNI, 0)]

# login, given name, surname, department, title, office, manager
PEOPLE = [line.split("|") for line in """\
alice|Alice|Anders|Management|Chief Executive|HQ 4.01|
bob|Bob|Brown|Engineering|Head of Engineering|HQ 3.10|alice
carol|Carol|Castro|Sales|Head of Sales|HQ 2.02|alice
dave|Dave|Dubois|Engineering|Developer|HQ 3.11|bob
erin|Erin|Eriksen|Engineering|Developer|HQ 3.12|bob
frank|Frank|Fischer|Engineering|Tester|HQ 3.13|bob
grace|Grace|García|Engineering|Architect|HQ 3.14|bob
heidi|Heidi|Håkansson|Sales|Account Manager|HQ 2.03|carol
ivan|Ivan|Иванов|Sales|Account Manager|Branch 1.01|carol
judy|Judy|Jones|Sales|Assistant|HQ 2.04|carol
kenji|Kenji|山田|Support|Support Lead|Branch 1.02|alice
laura|Laura|López|Support|Agent|Branch 1.03|kenji
mallory|Mallory|Müller|Support|Agent|Branch 1.04|kenji
niaj|Niaj|Nasser|Support|Agent|Branch 1.05|kenji
olivia|Olivia|O'Brien|Finance|Head of Finance|HQ 1.01|alice
peggy|Peggy|Park|Finance|Accountant|HQ 1.02|olivia
quentin|Quentin|Quist|Finance|Accountant|HQ 1.03|olivia
rupert|Rupert|Rossi|Legal|Counsel|HQ 1.10|alice
sybil|Sybil|Smith, Jr.|Legal|Counsel|HQ 1.11|rupert
trent|Trent|Taylor|IT|Head of IT|HQ 0.01|alice
ursula|Ursula|Ulrich|IT|Administrator|HQ 0.02|trent
victor|Victor|Vance|IT|Administrator|HQ 0.03|trent
wendy|Wendy|Weiß|Reception|Receptionist|HQ 0.00|alice
yvonne|Yvonne|Yilmaz|Management|Assistant|HQ 4.02|alice""".splitlines()]
# accounts in a state that must refuse a login (README: the error of each)
STATES = ["disabled", "lockedout", "pwexpired", "mustchange", "acctexpired"]
GROUPS = {  # name: members (logins, or groups named earlier: nested)
    "Engineering": "bob,dave,erin,frank,grace", "Sales": "carol,heidi,ivan,judy", "IT": "trent,ursula,victor",
    "Support": "kenji,laura,mallory,niaj", "Technical": "Engineering,IT", "SIP Administrators": "trent",
    "All Staff": "alice,olivia,peggy,quentin,rupert,sybil,wendy,yvonne,Technical,Sales,Support"}

# configuration files
SMB_CONF = """[global]
	netbios name = {name}
	realm = {realm}
	workgroup = {domain}
	interfaces = {addr}/8
	bind interfaces only = yes
	private dir = {d}/private
	state directory = {d}/state
	cache directory = {d}/cache
	lock directory = {d}/lock
	pid directory = {d}/run
	ncalrpc dir = {d}/ncalrpc
	winbindd socket directory = {d}/winbindd
	log file = {d}/log.%m
	rpc start on demand helpers = no
"""  # those would log under /var and outlive the rest; `interfaces` needs the /8: with /32 samba finds no interface
SMB_CONF_DC = """	server role = active directory domain controller
	server services = s3fs, rpc, ldap, cldap, kdc, winbindd, dns
	ldap server require strong auth = allow_sasl_over_tls
	smb ports = 445
	dns forwarder =
	ntp signd socket directory = {d}/ntp_signd
	binddns dir = {d}/bind-dns
	tls certfile = {d}/private/tls/dc.pem
	tls keyfile = {d}/private/tls/dc.key
	tls cafile = {d}/ca.pem
[sysvol]
	path = {d}/state/sysvol
	read only = no
[netlogon]
	path = {d}/state/sysvol/{dns}/scripts
	read only = no
"""
SMB_CONF_MEMBER = """	security = ads
	password server = {host}
	name resolve order = host
	disable netbios = yes
	kerberos method = dedicated keytab
	dedicated keytab file = FILE:{d}/sip.keytab
	idmap config * : backend = tdb
	idmap config * : range = 100000-199999
"""
KRB5_CONF = """[libdefaults]
	default_realm = {realm}
	dns_lookup_realm = false
	dns_lookup_kdc = false
	dns_canonicalize_hostname = false
	rdns = false
[realms]
	{realm} = {{
		kdc = {addr}
		kpasswd_server = {addr}
	}}
[domain_realm]
	.{dns} = {realm}
	{dns} = {realm}
"""


def open_sam(d, **kw):
    """The directory database, opened as the system (no access checks)."""
    lp = LoadParm()
    lp.load(d + "/etc/smb.conf")
    lp.set("dsdb:schema update allowed", "yes")
    return lp, SamDB(url=d + "/private/sam.ldb", session_info=system_session(), lp=lp, **kw)


def extend_schema(sam):
    schema = sam.get_schema_basedn().get_linearized()
    sam.transaction_start()
    for n, (name, (syntax, om), indexed) in enumerate(RTC, 1):
        sam.add({"dn": "CN=ms-RTC-SIP-%s,%s" % (name, schema), "objectClass": "attributeSchema",
                 "lDAPDisplayName": "msRTCSIP-" + name, "attributeID": "%s.%d" % (OID, n),
                 "attributeSyntax": syntax, "oMSyntax": str(om), "isSingleValued": "TRUE",
                 "searchFlags": str(indexed), "isMemberOfPartialAttributeSet": "TRUE",
                 **({"oMObjectClass": b"\x2b\x0c\x02\x87\x73\x1c\x00\x85\x4a"} if om == 127 else {})})
    sam.transaction_commit()
    sam.set_schema_update_now()
    for cls in "User", "Contact":
        sam.modify_ldif("dn: CN=%s,%s\nchangetype: modify\nadd: mayContain\n" % (cls, schema) +
                        "".join("mayContain: msRTCSIP-%s\n" % r[0] for r in RTC))
    sam.set_schema_update_now()


def photo(n):
    """A real, tiny picture (PNG 8x8 in one colour of its own) for thumbnailPhoto."""
    def chunk(t, b):
        return struct.pack(">I", len(b)) + t + b + struct.pack(">I", zlib.crc32(t + b))
    row = b"\0" + bytes([n * 37 % 256, n * 91 % 256, n * 151 % 256]) * 8
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) +
            chunk(b"IDAT", zlib.compress(row * 8)) + chunk(b"IEND", b""))


def user(sam, login, cn, ou, pw, uac=512, controls=None, **attrs):
    dn = "CN=%s,%s" % (cn.replace(",", "\\,"), ou)
    if pw:
        attrs["clearTextPassword"] = pw.encode("utf-16-le")
    sam.add({"dn": dn, "objectClass": "user", "sAMAccountName": login, "displayName": cn,
             "userPrincipalName": login + "@" + DNSNAME, "userAccountControl": str(uac),
             **{k.replace("_", "-"): v for k, v in attrs.items() if v}}, controls)
    return dn


def staff(sam, n, ou, pw, login, given, sn, dept, title, office, manager=None, **more):
    sip = "sip:%s@%s" % (login, DNSNAME)
    return user(sam, login, given + " " + sn, ou, pw, givenName=given, sn=sn, department=dept, title=title,
                physicalDeliveryOfficeName=office, company="Example Corp", manager=manager,
                mail="%s@%s" % (login, DNSNAME), telephoneNumber="+1 425 555 %04d" % (n % 10000),
                mobile="+1 206 555 %04d" % (n % 10000), thumbnailPhoto=photo(n),
                proxyAddresses=["SMTP:%s@%s" % (login, DNSNAME), sip], msRTCSIP_PrimaryUserAddress=sip,
                msRTCSIP_UserEnabled="TRUE", msRTCSIP_OptionFlags="256",
                msRTCSIP_Line="tel:+1425555%04d" % (n % 10000), **more)


def grant(sam, dn, ace):
    """Add one entry to the access list of an object (which may be the hidden deleted-objects container)."""
    dom = security.dom_sid(sam.get_domain_sid())
    old = sam.search(dn, ldb.SCOPE_BASE, attrs=["nTSecurityDescriptor"], controls=["show_deleted:1"])
    dacl, s, sacl = ndr_unpack(security.descriptor, old[0]["nTSecurityDescriptor"][0]).as_sddl(dom).partition("S:")
    new = ndr_pack(security.descriptor.from_sddl(dacl + ace + s + sacl, dom))
    m = ldb.Message(ldb.Dn(sam, dn))
    m["sd"] = ldb.MessageElement(new, ldb.FLAG_MOD_REPLACE, "nTSecurityDescriptor")
    sam.modify(m, ["show_deleted:1", "sd_flags:1:4"])


def populate(d, addr):
    lp, sam = open_sam(d)
    dn = {}
    extend_schema(sam)
    # Passwords may be changed at once; 5 bad ones lock the account until an administrator unlocks it.
    sam.modify_ldif("dn: %s\nchangetype: modify\nreplace: minPwdAge\nminPwdAge: 0\n"
                    "replace: lockoutThreshold\nlockoutThreshold: 5\n"
                    "replace: lockoutDuration\nlockoutDuration: -9223372036854775808\n" % BASE)
    # Lets a client that names the DC by address get a Kerberos ticket for its LDAP service.
    sam.modify_ldif("dn: CN=%s,OU=Domain Controllers,%s\nchangetype: modify\nadd: servicePrincipalName\n"
                    "servicePrincipalName: ldap/%s\n" % (HOST.upper(), BASE, addr))
    sam.transaction_start()
    for ou in OUS:
        sam.add({"dn": ou, "objectClass": "organizationalUnit"})
    for n, p in enumerate(PEOPLE):
        dn[p[0]] = staff(sam, n, STAFF, USER_PW, *p[:6], manager=dn.get(p[6]))
    for n, login in enumerate(STATES, 100):
        dn[login] = staff(sam, n, STATE_OU, USER_PW, login, "State", login.title(), "None", "None", "None")
    dn["svc-sip"] = user(sam, "svc-sip", "svc-sip", SERVICES, SVC_PW, 66048,
                         servicePrincipalName=["sip/sip." + DNSNAME, "http/sip." + DNSNAME],
                         msDS_SupportedEncryptionTypes="24")  # AES only
    dn["svc-sync"] = user(sam, "svc-sync", "svc-sync", SERVICES, SVC_PW, 66048)
    for g, members in GROUPS.items():
        dn[g] = "CN=%s,%s" % (g, GROUP_OU)
        mail = "%s@%s" % (g.lower().replace(" ", "-"), DNSNAME)
        sam.add({"dn": dn[g], "objectClass": "group", "sAMAccountName": g, "displayName": g, "mail": mail,
                 "groupType": "8" if g == "All Staff" else "-2147483646",  # distribution / security
                 "member": [dn[m] for m in members.split(",")]})
    sam.add({"dn": "CN=Pat Partner," + STAFF, "objectClass": "contact", "displayName": "Pat Partner",
             "givenName": "Pat", "sn": "Partner", "mail": "pat@partner.example", "company": "Partner Inc",
             "telephoneNumber": "+44 20 7946 0001", "msRTCSIP-PrimaryUserAddress": "sip:pat@partner.example"})
    sam.transaction_commit()

    def state(login, controls=None, **attrs):
        m = ldb.Message(ldb.Dn(sam, dn[login]))
        for k, v in attrs.items():
            m[k] = ldb.MessageElement(str(v), ldb.FLAG_MOD_REPLACE, k)
        sam.modify(m, controls)
    day, now = 864 * 10**9, int((time.time() + 11644473600) * 10**7)
    state("disabled", userAccountControl=514)
    state("mustchange", pwdLastSet=0)
    state("acctexpired", accountExpires=now - day)
    state("lockedout", lockoutTime=now, badPwdCount=5, badPasswordTime=now)
    state("pwexpired", ["local_oid:1.3.6.1.4.1.7165.4.3.20:0"], pwdLastSet=now - 100 * day)
    # svc-sync may use DirSync (right "Replicating Directory Changes") and see deleted objects.
    sid = ndr_unpack(security.dom_sid, sam.search(dn["svc-sync"], ldb.SCOPE_BASE, attrs=["objectSid"])[0]["objectSid"][0])
    grant(sam, BASE, "(OA;;CR;1131f6aa-9c07-11d1-f79f-00c04fc2dcd2;;%s)" % sid)
    grant(sam, "CN=Deleted Objects," + BASE, "(A;CI;LCRP;;;%s)" % sid)
    pid = os.fork()  # in a child, with the chatter of the C code sent to the log
    if pid == 0:
        os.dup2(os.open(d + "/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        for spn in "sip/sip." + DNSNAME, "http/sip." + DNSNAME, "svc-sip":
            Net(None, lp).export_keytab(keytab=d + "/sip.keytab", principal=spn)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("domain.py: could not export the keytab")


def bulk(d, n):
    """n more users bulk000000... in one offline transaction.  They get only the NT hash of the password
    (NTLM, LDAP binds and RC4 tickets work): deriving Kerberos AES keys would take ten times as long."""
    _, sam = open_sam(d, options=["batch_mode:1"])
    have = len(sam.search(BULK, expression="(sAMAccountName=bulk*)", attrs=["cn"]))
    cred = Credentials()
    cred.set_password(USER_PW)
    sam.transaction_start()
    for i in range(have, have + n):
        staff(sam, i, BULK, None, "bulk%06d" % i, "Bulk", "User %06d" % i, "Dept %02d" % (i % 40), "Clerk", "Hall",
              unicodePwd=bytes(cred.get_nt_hash()), controls=["local_oid:1.3.6.1.4.1.7165.4.3.9:0"])
    sam.transaction_commit()
