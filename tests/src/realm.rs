//! A Kerberos realm for tests: MIT's key server in a folder, on a free port of the loopback. It takes a tenth of a second and
//! no rights, where a domain controller takes seconds and root; what only Active Directory does is tested with one.
//!
//! MIT's library reads where its realms are from the environment, which a process with threads must not change. So a test
//! that uses the library itself runs in a second process, with the right environment from the start ([`in_realm`]).

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::{have, skip};

/// Set in the second process: the folder of the realm.
const INSIDE: &str = "CHANCERY_TEST_REALM";

/// Where servers are installed, which is not in everybody's PATH.
const SERVERS: &str = "/usr/sbin";

/// A free port may be taken again before the key server has it.
const STARTS_MAX: usize = 5;

/// A realm, as its administrators and its people see it.
pub struct Realm {
    folder: PathBuf,
}

/// A realm whose key server runs.
struct Running {
    kdc: Child,
    folder: TempDir,
}

/// Runs the body of a test in a process whose Kerberos library knows a realm of its own. `test` is the test's whole name. Says
/// so and returns where the machine has no key server.
pub fn in_realm(test: &str, body: impl FnOnce(&Realm)) {
    enter(test, body, |command| again(test, command));
}

/// The same for a program that is no test: runs it once more.
pub fn in_realm_of_program(what: &str, body: impl FnOnce(&Realm)) {
    enter(what, body, |command| {
        let command = command.args(std::env::args_os().skip(1));
        assert!(command.status().expect("this very program runs").success(), "{what} failed");
    });
}

fn enter(what: &str, body: impl FnOnce(&Realm), again: impl FnOnce(&mut Command)) {
    if let Some(folder) = std::env::var_os(INSIDE) {
        return body(&Realm { folder: folder.into() });
    }
    let Some(running) = Running::start(what) else { return };
    let realm = Realm { folder: running.folder.path().to_owned() };
    again(realm.command(this_program()).env(INSIDE, &realm.folder));
}

/// Runs a test again, in a process with another environment: `command` is of [`this_program`].
pub fn again(test: &str, command: &mut Command) {
    let output = command.args(["--exact", test, "--nocapture"]).output().expect("this very program runs");
    let said = String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned();
    // A name that is no test's would succeed, too.
    assert!(output.status.success() && said.contains("1 passed"), "{test} in a process of its own:\n{said}");
    eprint!("{said}");
}

/// The program that runs the tests.
pub fn this_program() -> PathBuf {
    std::env::current_exe().expect("a running program has a path")
}

impl Realm {
    /// Its name.
    pub const NAME: &str = "TEST.EXAMPLE";
    /// Another one, whose key server is never there.
    pub const UNREACHABLE: &str = "GONE.EXAMPLE";

    /// A program that finds the key server.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:{SERVERS}"));
        command.env("KRB5_CONFIG", self.file("krb5.conf")).env("KRB5_KDC_PROFILE", self.file("kdc.conf"));
        command.env("KRB5CCNAME", format!("FILE:{}", self.file("nobody").display()));
        command
    }

    /// A path in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes a principal with a random key, and a keytab with it. Again, it changes the key: earlier keytabs are old.
    pub fn keytab(&self, principal: &str) -> PathBuf {
        let file = self.file(&format!("{}-{}.keytab", principal.replace('/', "-"), crate::unique()));
        self.administer(&format!("addprinc -randkey {principal}"));
        self.administer(&format!("ktadd -k {} {principal}", file.display()));
        file
    }

    /// Makes a person, has them sign in, and says where their ticket is: `FILE:...`.
    pub fn person(&self, name: &str) -> String {
        self.administer(&format!("addprinc -randkey {name}"));
        let keytab = self.keytab(name);
        let cache = format!("FILE:{}", self.file(&format!("{name}.cache")).display());
        let status = self.command("kinit").args(["-c", &cache, "-k", "-t"]).arg(keytab).arg(name).status();
        assert!(status.expect("kinit runs").success(), "{name} signs in");
        cache
    }

    fn administer(&self, query: &str) {
        // It succeeds whatever the query does; that it did what it should shows in what follows.
        run(self.command("kadmin.local").args(["-q", query]));
    }
}

impl Running {
    fn start(what: &str) -> Option<Running> {
        let is_here = |program: &str| have(program) || Path::new(SERVERS).join(program).is_file();
        let missing =
            ["krb5kdc", "kdb5_util", "kadmin.local", "kinit"].into_iter().find(|program| !is_here(program));
        if let Some(missing) = missing {
            skip(what, &format!("{missing} is not installed"));
            return None;
        }
        let folder = TempDir::with_prefix("chancery-realm-").expect("a temporary folder");
        let realm = Realm { folder: folder.path().to_owned() };
        for attempt in 0..STARTS_MAX {
            configure(folder.path());
            if attempt == 0 {
                run(realm.command("kdb5_util").args(["create", "-s", "-P", "master", "-r", Realm::NAME]));
            }
            let mut kdc = realm
                .command("krb5kdc")
                .arg("-n")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("krb5kdc starts");
            let log = BufReader::new(kdc.stderr.take().expect("a pipe"));
            let mut lines = log.lines().map_while(Result::ok);
            if lines.any(|line| line.contains("commencing operation")) {
                // A full pipe would stop it.
                std::thread::spawn(move || lines.for_each(drop));
                return Some(Running { kdc, folder });
            }
            kdc.wait().expect("it ended");
        }
        panic!("krb5kdc did not start {STARTS_MAX} times");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Whatever fails here, there is nothing left to do.
        drop(self.kdc.kill());
        drop(self.kdc.wait());
    }
}

fn configure(folder: &Path) {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = port.expect("there are free ports").port();
    let (realm, gone, folder_text) = (Realm::NAME, Realm::UNREACHABLE, folder.display());
    let krb5 = format!(
        "[libdefaults]\ndefault_realm = {realm}\ndns_lookup_realm = false\ndns_lookup_kdc = false\n\
         dns_canonicalize_hostname = false\nrdns = false\nudp_preference_limit = 1\n\
         [realms]\n{realm} = {{\nkdc = 127.0.0.1:{port}\n}}\n{gone} = {{\nkdc = 127.0.0.1:1\n}}\n\
         [logging]\nkdc = STDERR\n"
    );
    std::fs::write(folder.join("krb5.conf"), krb5).expect("the folder is ours");
    let kdc = format!(
        "[kdcdefaults]\nkdc_listen = \"\"\nkdc_tcp_listen = 127.0.0.1:{port}\n\
         [realms]\n{realm} = {{\ndatabase_name = {folder_text}/principal\nkey_stash_file = {folder_text}/stash\n\
         acl_file = {folder_text}/acl\nsupported_enctypes = aes256-cts:normal\n}}\n"
    );
    std::fs::write(folder.join("kdc.conf"), kdc).expect("the folder is ours");
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("Kerberos' own tools run");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
