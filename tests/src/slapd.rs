//! OpenLDAP's `slapd` on loopback, as the directory of an organisation without Windows: people (`inetOrgPerson`), groups
//! (`groupOfNames`), a reader, TLS with a CA of the test.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::configured::own_addresses;
use crate::{PATIENCE, PrivateCa, have, skip};

/// LDAP over TLS, on an address that this test alone uses: no right of root is needed.
const LDAPS_PORT: u16 = 6360;
/// Plain LDAP, for StartTLS.
const LDAP_PORT: u16 = 3890;
/// Where Debian keeps the modules and the schemas.
const MODULES: &str = "/usr/lib/ldap";
const SCHEMAS: &str = "/etc/ldap/schema";
/// The people of the tree: login, given name, surname, telephone number.
const PEOPLE: [(&str, &str, &str, &str); 3] = [
    ("ada", "Ada", "Lovelace", "+44 20 7946 0100"),
    ("emmy", "Emmy", "Noether", "+49 9131 555 0101"),
    ("kurt", "Kurt", "Gödel", "+43 1 555 0102"),
];

/// A running `slapd`. It is ended with this.
pub struct OpenLdap {
    child: Child,
    folder: TempDir,
    address: std::net::Ipv4Addr,
}

impl OpenLdap {
    /// What stands behind the `@` of its people's addresses.
    pub const DOMAIN: &'static str = "ldap.example";
    /// The root of the tree.
    pub const BASE: &'static str = "dc=ldap,dc=example";
    /// May read everything but passwords.
    pub const READER: &'static str = "cn=reader,dc=ldap,dc=example";
    /// The password of the reader.
    pub const READER_PASSWORD: &'static str = "reader-secret";
    /// May do everything.
    const ADMINISTRATOR: &'static str = "cn=admin,dc=ldap,dc=example";
    const ADMINISTRATOR_PASSWORD: &'static str = "admin-secret";

    /// Starts one, with ada, emmy and kurt, whose passwords are `NAME-secret`, all in the group `everybody`, and ada and emmy in
    /// the group `scientists`. `None`, with a word in the log, where it is not installed.
    pub fn start(what: &str) -> Option<OpenLdap> {
        let program = ["/usr/sbin/slapd", "/usr/libexec/slapd"].map(Path::new);
        let installed = program.into_iter().find(|path| path.is_file());
        let Some(program) = installed.filter(|_| have("ldapmodify") && Path::new(MODULES).is_dir()) else {
            skip(what, "slapd or ldap-utils is not installed");
            return None;
        };
        let folder = TempDir::with_prefix("chancery-slapd-").expect("a temporary folder");
        let [address] = own_addresses();
        let ca = PrivateCa::new("CA of the directory");
        std::fs::write(folder.path().join("ca.pem"), ca.pem()).expect("the folder is ours");
        ca.issue_with(folder.path(), "slapd", &["ldap.ldap.example"], |params| {
            params.subject_alt_names.push(rcgen::SanType::IpAddress(address.into()));
        });
        let configuration = folder.path().join("slapd.conf");
        std::fs::create_dir(folder.path().join("database")).expect("the folder is ours");
        std::fs::write(&configuration, configured(folder.path())).expect("the folder is ours");
        fill(&configuration);
        let urls = format!("ldaps://{address}:{LDAPS_PORT}/ ldap://{address}:{LDAP_PORT}/");
        // Without -d it would become a daemon.
        let mut command = Command::new(program);
        command.args(["-d", "0", "-h", &urls, "-f"]).arg(&configuration);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let slapd = OpenLdap { child: child.expect("slapd runs"), folder, address };
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(slapd.ldaps()).is_err() {
            assert!(Instant::now() < until, "slapd does not listen on {}", slapd.ldaps());
            std::thread::yield_now();
        }
        Some(slapd)
    }

    /// Where it speaks LDAP over TLS.
    pub fn ldaps(&self) -> SocketAddr {
        (self.address, LDAPS_PORT).into()
    }

    /// Where it speaks LDAP, for StartTLS.
    pub fn ldap(&self) -> SocketAddr {
        (self.address, LDAP_PORT).into()
    }

    /// The CA of its certificate, PEM.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The name of a person of the tree.
    pub fn dn(login: &str) -> String {
        format!("uid={login},ou=people,{}", OpenLdap::BASE)
    }

    /// Changes the tree as its administrator: LDIF with `changetype`.
    pub fn modify(&self, ldif: &str) {
        let mut child = Command::new("ldapmodify")
            .args(["-x", "-H", &format!("ldap://{}", self.ldap()), "-D", OpenLdap::ADMINISTRATOR])
            .args(["-w", OpenLdap::ADMINISTRATOR_PASSWORD])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("ldapmodify runs");
        child.stdin.take().expect("a pipe").write_all(ldif.as_bytes()).expect("ldapmodify reads");
        assert!(child.wait().expect("ldapmodify ends").success(), "{ldif}");
    }
}

impl Drop for OpenLdap {
    fn drop(&mut self) {
        // Whatever fails here, there is nothing left to do.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn configured(folder: &Path) -> String {
    let schemas: String =
        ["core", "cosine", "inetorgperson"].map(|name| format!("include {SCHEMAS}/{name}.schema\n")).concat();
    format!(
        "{schemas}modulepath {MODULES}\nmoduleload back_mdb\nmoduleload ppolicy\n\
         TLSCACertificateFile {folder}/ca.pem\nTLSCertificateFile {folder}/slapd.pem\nTLSCertificateKeyFile {folder}/slapd.key\n\
         database mdb\nsuffix \"{base}\"\nrootdn \"{administrator}\"\nrootpw {password}\ndirectory {folder}/database\n\
         index objectClass,entryUUID,entryCSN,uid eq\n\
         access to attrs=userPassword by self write by anonymous auth by * none\n\
         access to * by users read by * none\n\
         overlay ppolicy\nppolicy_default \"cn=policy,{base}\"\nppolicy_use_lockout\n",
        folder = folder.display(),
        base = OpenLdap::BASE,
        administrator = OpenLdap::ADMINISTRATOR,
        password = OpenLdap::ADMINISTRATOR_PASSWORD,
    )
}

/// Writes the tree into the database before anybody serves it.
fn fill(configuration: &Path) {
    let base = OpenLdap::BASE;
    let mut ldif = format!(
        "dn: {base}\nobjectClass: dcObject\nobjectClass: organization\ndc: ldap\no: Example\n\n\
         dn: ou=people,{base}\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: ou=groups,{base}\nobjectClass: organizationalUnit\nou: groups\n\n\
         dn: cn=policy,{base}\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\npwdAttribute: userPassword\n\
         pwdMustChange: TRUE\npwdLockout: TRUE\n\n\
         dn: {reader}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: reader\n\
         userPassword: {password}\n\n",
        reader = OpenLdap::READER,
        password = OpenLdap::READER_PASSWORD,
    );
    for (login, given, surname, telephone) in PEOPLE {
        let (dn, domain) = (OpenLdap::dn(login), OpenLdap::DOMAIN);
        ldif += &format!(
            "dn: {dn}\nobjectClass: inetOrgPerson\nuid: {login}\ncn: {given} {surname}\ngivenName: {given}\nsn: {surname}\n\
             displayName: {given} {surname}\nmail: {login}@{domain}\ntelephoneNumber: {telephone}\nuserPassword: {login}-secret\n\n"
        );
    }
    for (name, members) in [("everybody", &PEOPLE[..]), ("scientists", &PEOPLE[..2])] {
        ldif += &format!("dn: cn={name},ou=groups,{base}\nobjectClass: groupOfNames\ncn: {name}\n");
        for (login, ..) in members {
            ldif += &format!("member: {}\n", OpenLdap::dn(login));
        }
        ldif += "\n";
    }
    let mut child = Command::new("/usr/sbin/slapadd")
        .arg("-f")
        .arg(configuration)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("slapadd runs");
    child.stdin.take().expect("a pipe").write_all(ldif.as_bytes()).expect("slapadd reads");
    let output = child.wait_with_output().expect("slapadd ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
