//! A real Active Directory for tests: `tests/ad/domain.py` runs a Samba domain controller on a loopback address of its own.
//!
//! Making a domain takes seconds, and nextest runs each test in a process of its own: the tests of a run share one, which the
//! last of them leaves to a process that takes it away ([`ActiveDirectory::shared`]). Such a test changes only people that it
//! made itself ([`ActiveDirectory::person`]). A test that stops the domain, locks its people out or removes them in numbers
//! has one of its own ([`ActiveDirectory::own`]).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use crate::{Account, have, skip, unique};

/// A domain of a test's own goes after so many seconds, should the test be killed before it can end it.
const OWN_SECONDS: &str = "900";

/// A domain.
pub struct ActiveDirectory {
    environment: BTreeMap<String, String>,
    held: Held,
}

/// What keeps it there.
enum Held {
    /// A lock that is shared with other tests, gone with the file.
    Lent {
        _lease: File,
    },
    Own(TempDir),
}

/// Somebody in the directory, whom one test made and may do anything to.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Person {
    pub login: String,
    pub dn: String,
    pub password: String,
    pub domain: String,
}

impl Person {
    /// `login@domain`: the SIP address without its scheme, the mail address and the name to sign in with.
    pub fn address(&self) -> String {
        format!("{}@{}", self.login, self.domain)
    }

    /// For a SIP device, with a password that stands for what the server takes: not that of the directory.
    pub fn account(&self, user: &str, password: &str) -> Account {
        Account { user: user.to_owned(), password: password.to_owned(), domain: self.domain.clone() }
    }
}

impl ActiveDirectory {
    /// The domain that the tests of this run share. `None`, with a word in the log, where this machine cannot have one.
    pub fn shared(what: &str) -> Option<ActiveDirectory> {
        if !can_have(what) {
            return None;
        }
        // Without nextest all tests are one process.
        let run = std::env::var("NEXTEST_RUN_ID").unwrap_or_else(|_| std::process::id().to_string());
        let folder = std::env::temp_dir().join(format!("chancery-ad-{run}"));
        let lease = lease(&folder);
        let output = program("lend", &folder).stdout(Stdio::piped()).output().expect("domain.py runs");
        assert!(output.status.success(), "no domain: {}", said(&output));
        Some(ActiveDirectory { environment: environment(&output), held: Held::Lent { _lease: lease } })
    }

    /// A domain of this test alone.
    pub fn own(what: &str) -> Option<ActiveDirectory> {
        if !can_have(what) {
            return None;
        }
        let folder = TempDir::with_prefix("chancery-ad-").expect("a temporary folder");
        run(&mut program("up", folder.path()));
        let output = program("env", folder.path()).arg("--json").output().expect("domain.py runs");
        Some(ActiveDirectory { environment: environment(&output), held: Held::Own(folder) })
    }

    /// Stops a domain of one's own; [`ActiveDirectory::start`] brings it back as it was.
    pub fn stop(&self) {
        run(&mut program("down", self.own_folder()));
    }

    /// See [`ActiveDirectory::stop`].
    pub fn start(&self) {
        run(&mut program("up", self.own_folder()));
    }

    /// Adds users `bulk000000`... to a domain of one's own.
    pub fn bulk(&self, count: usize) {
        run(program("bulk", self.own_folder()).arg(count.to_string()));
    }

    /// A fact of it, by the name that `domain.py env` gives it without `AD_`, such as `HOST`.
    pub fn fact(&self, name: &str) -> &str {
        let name = format!("AD_{name}");
        self.environment.get(&name).unwrap_or_else(|| panic!("{name} in {:?}", self.environment))
    }

    /// Where it listens.
    pub fn ip(&self) -> IpAddr {
        self.fact("ADDR").parse().expect("an address")
    }

    /// The CA of its certificate, PEM.
    pub fn ca(&self) -> PathBuf {
        self.fact("CA_FILE").into()
    }

    /// A program that finds the domain's key distribution centre and believes its CA. Tickets are for this command alone unless
    /// `KRB5CCNAME` is set anew.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for name in ["KRB5_CONFIG", "KRB5CCNAME", "LDAPTLS_CACERT"] {
            command.env(name, &self.environment[name]);
        }
        command
    }

    /// The variables of a server that uses Kerberos.
    pub fn kerberos(&self) -> (&'static str, &str) {
        ("KRB5_CONFIG", &self.environment["KRB5_CONFIG"])
    }

    /// Writes a keytab with the key that follows from a user's password: what an administrator does with `ktutil`.
    pub fn keytab(&self, principal: &str, password: &str, file: &Path) {
        let mut child = self
            .command("ktutil")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ktutil runs");
        let said_to = format!(
            "addent -password -p {principal} -k 1 -e aes256-cts-hmac-sha1-96\n{password}\nwkt {}\nquit\n",
            file.display()
        );
        child.stdin.take().expect("a pipe").write_all(said_to.as_bytes()).expect("ktutil reads");
        let output = child.wait_with_output().expect("ktutil ends");
        assert!(file.exists(), "{}", said(&output));
    }

    /// Adds a user with SIP and mail address, telephone number and department, by a name that nobody else has.
    pub fn person(&self) -> Person {
        self.person_with("")
    }

    /// The same with further lines of LDIF.
    pub fn person_with(&self, lines: &str) -> Person {
        // A login of Windows has at most 20 characters: what differs between runs and within one stands at the end.
        let unique = unique();
        let login = format!("t{}", &unique[unique.len().saturating_sub(16)..]);
        let domain = self.fact("DNS_DOMAIN").to_owned();
        let dn = format!("CN=Test {login},OU=Staff,{}", self.fact("BASE_DN"));
        let password = self.fact("USER_PASSWORD").to_owned();
        let secret = STANDARD.encode(utf16(&format!("\"{password}\"")));
        self.modify(&format!(
            "dn: {dn}\nchangetype: add\nobjectClass: user\nsAMAccountName: {login}\nuserPrincipalName: {login}@{domain}\n\
             userAccountControl: 512\nunicodePwd:: {secret}\ndisplayName: Test {login}\ngivenName: Test\nsn: {login}\n\
             mail: {login}@{domain}\nproxyAddresses: sip:{login}@{domain}\nproxyAddresses: SMTP:{login}@{domain}\n\
             msRTCSIP-PrimaryUserAddress: sip:{login}@{domain}\nmsRTCSIP-UserEnabled: TRUE\n\
             telephoneNumber: +1 425 555 0100\ndepartment: Tests\n{lines}"
        ));
        Person { login, dn, password, domain }
    }

    /// Changes the directory as an administrator: LDIF with `changetype`.
    pub fn modify(&self, ldif: &str) {
        let (succeeded, said) = self.try_modify(ldif);
        assert!(succeeded, "{said}\n{ldif}");
    }

    /// Replaces an attribute of an object; an empty value removes it.
    pub fn replace(&self, dn: &str, attribute: &str, value: &str) {
        let line = if value.is_empty() { String::new() } else { format!("{attribute}: {value}\n") };
        self.modify(&format!("dn: {dn}\nchangetype: modify\nreplace: {attribute}\n{line}"));
    }

    /// Removes an object, as far as that goes in Active Directory.
    pub fn delete(&self, dn: &str) {
        self.modify(&format!("dn: {dn}\nchangetype: delete\n"));
    }

    /// Brings a deleted object back to where it was, as an administrator does without a recycle bin: what the deletion took is
    /// given by further changes, in LDIF (`replace: mail` ...).
    pub fn restore(&self, login: &str, dn: &str, changes: &str) {
        let deleted = self.deleted(&format!("(&(isDeleted=TRUE)(sAMAccountName={login}))"));
        self.modify(&format!(
            "dn: {deleted}\nchangetype: modify\ndelete: isDeleted\n-\nreplace: distinguishedName\ndistinguishedName: {dn}\n{changes}"
        ));
    }

    /// What `ldapsearch` says of the live objects below the base.
    pub fn search(&self, filter: &str, attributes: &[&str]) -> String {
        self.search_with(&[], filter, attributes)
    }

    fn deleted(&self, filter: &str) -> String {
        let found = self.search_with(&["-E", SHOW_DELETED], filter, &["dn"]);
        let line = |line: &str| line.strip_prefix("dn: ").map(str::to_owned);
        let encoded = |line: &str| {
            let octets = STANDARD.decode(line.strip_prefix("dn:: ")?).ok()?;
            String::from_utf8(octets).ok()
        };
        let named = found.lines().find_map(|text| line(text).or_else(|| encoded(text)));
        let named = named.unwrap_or_else(|| panic!("nothing deleted matches {filter}: {found}"));
        // The name of a deleted object has a line feed in it.
        named.replace('\n', "\\0A")
    }

    fn search_with(&self, more: &[&str], filter: &str, attributes: &[&str]) -> String {
        let mut command = self.administrator("ldapsearch");
        command.args(["-LLL", "-o", "ldif-wrap=no", "-b", self.fact("BASE_DN")]);
        let output = command.args(more).arg(filter).args(attributes).output().expect("ldapsearch runs");
        // Referrals to other parts of the forest end a search of the whole domain with a complaint of its own.
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn try_modify(&self, ldif: &str) -> (bool, String) {
        let mut command = self.administrator("ldapmodify");
        command.args(["-e", SHOW_DELETED]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ldapmodify runs");
        child.stdin.take().expect("a pipe").write_all(ldif.as_bytes()).expect("ldapmodify reads");
        let output = child.wait_with_output().expect("ldapmodify ends");
        (output.status.success(), said(&output))
    }

    fn administrator(&self, program: &str) -> Command {
        let mut command = self.command(program);
        let name = format!("{}@{}", self.fact("ADMIN"), self.fact("REALM"));
        command.args(["-x", "-H", self.fact("LDAPS_URL"), "-D", &name, "-w", self.fact("ADMIN_PASSWORD")]);
        command
    }

    fn own_folder(&self) -> &Path {
        match &self.held {
            Held::Own(folder) => folder.path(),
            Held::Lent { .. } => panic!("other tests use this domain too: take `ActiveDirectory::own`"),
        }
    }
}

impl Drop for ActiveDirectory {
    fn drop(&mut self) {
        if let Held::Own(folder) = &self.held {
            // Whatever fails here, the domain ends by itself later.
            drop(program("down", folder.path()).status());
        }
    }
}

/// The control LDAP_SERVER_SHOW_DELETED_OID, critical.
const SHOW_DELETED: &str = "!1.2.840.113556.1.4.417";

fn can_have(what: &str) -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    if !root {
        skip(what, "only root can open the ports of a domain controller");
        return false;
    }
    let missing = ["samba", "ldapmodify", "kinit"].into_iter().find(|program| !have(program));
    if let Some(missing) = missing {
        skip(what, &format!("{missing} is not installed"));
    }
    missing.is_none()
}

/// Locks the folder's lease with others. Whoever takes the domain away removes the file, and we begin anew.
fn lease(folder: &Path) -> File {
    let path = folder.join("lease");
    loop {
        std::fs::create_dir_all(folder).expect("a temporary folder");
        let Ok(file) = File::create(&path) else { continue };
        file.lock_shared().expect("locks work");
        let own = file.metadata().expect("an open file").ino();
        if std::fs::metadata(&path).is_ok_and(|metadata| metadata.ino() == own) {
            return file;
        }
    }
}

fn program(verb: &str, folder: &Path) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("ad/domain.py"));
    command.arg(verb).arg(folder).env("AD_DC_SECONDS", OWN_SECONDS).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) {
    let output = command.output().expect("domain.py runs");
    assert!(output.status.success(), "{command:?}: {}", said(&output));
}

fn environment(output: &Output) -> BTreeMap<String, String> {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}
