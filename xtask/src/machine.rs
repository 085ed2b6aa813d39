//! What the tests need from the machine: what is missing, installing it, and the facts of the machine for the log.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::shell;

/// Debian packages of the foreign programs that the system tests talk to, and of the tools around them.
const DEBIAN_PACKAGES: &[&str] = &[
    "baresip-core",
    "curl",
    "iproute2",
    "kamailio",
    "kamailio-tls-modules",
    "krb5-admin-server",
    "krb5-kdc",
    "krb5-user",
    "ldap-utils",
    "ldb-tools",
    "libgssapi-krb5-2",
    "libnss-wrapper",
    "libsasl2-modules-gssapi-mit",
    "libxml2-utils",
    "linphone-cli",
    "openssl",
    "python3",
    "samba",
    "samba-ad-dc",
    "samba-ad-provision",
    "samba-dsdb-modules",
    "samba-vfs-modules",
    "sip-tester",
    "sipsak",
    "slapd",
    "smbclient",
    "socat",
    "sqlite3",
    "vdirsyncer",
    "winbind",
];

/// What some of them would run as a service. Tests start these programs themselves, each on addresses of its own; a service
/// would take the ports, and a machine must not serve files or names because somebody ran tests on it.
const SERVICES: &[(&str, &[&str])] = &[
    ("kamailio", &["kamailio"]),
    ("krb5-admin-server", &["krb5-admin-server"]),
    ("krb5-kdc", &["krb5-kdc"]),
    ("samba", &["smbd", "nmbd"]),
    ("samba-ad-dc", &["samba-ad-dc"]),
    ("slapd", &["slapd"]),
    ("winbind", &["winbind"]),
];

/// Installs the packages that it is given without starting a service, and leaves the policy of the machine as it was. Debian
/// asks `policy-rc.d` before it starts one; 101 is "forbidden by policy" (deb-systemd-invoke(1p)).
const INSTALL_SCRIPT: &str = "\
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\\nexit 101\\n' >$policy
    chmod 755 $policy
fi
apt-get install -y --no-install-recommends \"$@\"";

/// Keeps services from being started with the machine. They are named by units; where there is no systemd nothing starts them.
const DISABLE_SCRIPT: &str = "\
if command -v systemctl >/dev/null; then
    systemctl disable --quiet \"$@\" || echo \"xtask: could not disable $*\" >&2
fi";

/// The SIP clients over WebSocket (JsSIP, SIP.js), with a `package-lock.json`.
const WEBSOCKET_CLIENTS: &str = "tests/clients/websocket";

/// Installs what is missing. Programs that a developer chooses (Rust, Node) are asked for, never installed.
pub(crate) fn set_up(root: &Path) -> anyhow::Result<()> {
    for (program, what) in [("node", "Node.js"), ("npm", "npm"), ("cc", "a C compiler")] {
        if shell::probe(Command::new(program).arg("--version")).is_none() {
            bail!("{what} is a prerequisite, and `{program}` is not in the PATH; see CONTRIBUTING.md");
        }
    }
    debian_packages()?;
    npm_packages(root)?;
    nextest();
    Ok(())
}

/// Whether cargo-nextest can run the tests.
pub(crate) fn has_nextest() -> bool {
    shell::probe(shell::cargo().args(["nextest", "--version"])).is_some()
}

fn debian_packages() -> anyhow::Result<()> {
    // It fails when one of the packages is unknown, and then still prints the others.
    let installed = Command::new("dpkg-query")
        .args(["-W", "-f=${Package} ${db:Status-Status}\\n"])
        .args(DEBIAN_PACKAGES)
        .output()
        .context(
            "cannot ask dpkg-query what is installed; elsewhere than on Debian, install the programs of \
                  xtask/src/machine.rs yourself and say --no-install",
        )?;
    let missing = missing(&String::from_utf8_lossy(&installed.stdout));
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("xtask: installing {}", missing.join(" "));
    let mut whole = vec!["apt-get", "install", "-y", "--no-install-recommends"];
    whole.extend(&missing);
    as_root(&["apt-get", "update"], &whole)?;
    as_root(&with_arguments(INSTALL_SCRIPT, &missing), &whole)?;
    let services = services_of(&missing);
    if services.is_empty() {
        return Ok(());
    }
    as_root(&with_arguments(DISABLE_SCRIPT, &services), &whole)
}

/// A script of the shell with its arguments.
fn with_arguments<'a>(script: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    let mut command = vec!["sh", "-ec", script, "install"];
    command.extend(arguments);
    command
}

/// The services of these packages. What was installed before belongs to somebody who may want it to run.
fn services_of(packages: &[&str]) -> Vec<&'static str> {
    let of_these = SERVICES.iter().filter(|(package, _)| packages.contains(package));
    of_these.flat_map(|(_, services)| services.iter().copied()).collect()
}

fn missing(dpkg_lines: &str) -> Vec<&'static str> {
    let installed = |name: &str| dpkg_lines.lines().any(|line| line == format!("{name} installed"));
    DEBIAN_PACKAGES.iter().copied().filter(|name| !installed(name)).collect()
}

/// Runs as root, through sudo where we are not. `whole` is what a person without sudo has to ask for.
fn as_root(command: &[&str], whole: &[&str]) -> anyhow::Result<()> {
    let root = shell::probe(Command::new("id").arg("-u")).as_deref() == Some("0");
    let mut run = if root {
        Command::new(command[0])
    } else if shell::probe(Command::new("sudo").arg("--version")).is_some() {
        let mut sudo = Command::new("sudo");
        sudo.arg(command[0]);
        sudo
    } else {
        bail!("packages are missing, and neither root nor sudo is here; as root run: {}", whole.join(" "));
    };
    // Packages that ask questions would wait for ever.
    shell::run(run.args(&command[1..]).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Installs a Debian package that only one command needs.
fn install_one(package: &str) -> anyhow::Result<()> {
    eprintln!("xtask: installing {package}");
    let whole = ["apt-get", "install", "-y", "--no-install-recommends", package];
    as_root(&["apt-get", "update"], &whole)?;
    as_root(&with_arguments(INSTALL_SCRIPT, &[package]), &whole)
}

/// The program that merges what servers counted, of the compiler's LLVM: another version does not understand its files.
pub(crate) fn profdata(llvm_major: &str, install: bool) -> anyhow::Result<PathBuf> {
    if let Some(found) = profdata_found(llvm_major) {
        return Ok(found);
    }
    let package = format!("llvm-{llvm_major}");
    let mend = format!(
        "llvm-profdata of LLVM {llvm_major} is missing: `rustup component add llvm-tools`, or the Debian package {package}, \
         or name the program in LLVM_PROFDATA"
    );
    if !install {
        bail!(mend);
    }
    let rustup = Command::new("rustup").args(["component", "add", "llvm-tools"]).status();
    if rustup.is_ok_and(|status| status.success())
        && let Some(found) = profdata_found(llvm_major)
    {
        return Ok(found);
    }
    install_one(&package).context(mend.clone())?;
    profdata_found(llvm_major).context(mend)
}

fn profdata_found(llvm_major: &str) -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("LLVM_PROFDATA") {
        return Some(named.into());
    }
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libraries =
        shell::probe(Command::new(compiler).args(["--print", "target-libdir"])).unwrap_or_default();
    let places = [
        Path::new(&libraries).with_file_name("bin").join("llvm-profdata"),
        PathBuf::from(format!("/usr/lib/llvm-{llvm_major}/bin/llvm-profdata")),
        PathBuf::from(format!("llvm-profdata-{llvm_major}")),
    ];
    places.into_iter().find(|place| shell::probe(Command::new(place).arg("--version")).is_some())
}

/// LLVM's post-link optimiser.
pub(crate) struct Bolt {
    /// It reads and rewrites a program.
    pub(crate) program: PathBuf,
    /// It joins what several processes counted.
    pub(crate) merger: PathBuf,
}

/// Finds BOLT. It reads programs, whatever made them: any version does, that of the compiler's LLVM is asked for first.
pub(crate) fn bolt(llvm_major: &str, install: bool) -> anyhow::Result<Bolt> {
    if let Some(found) = bolt_found(llvm_major) {
        return Ok(found);
    }
    let package = format!("bolt-{llvm_major}");
    let mend = format!(
        "llvm-bolt is missing: the Debian package {package}, or name the folder that llvm-bolt and merge-fdata are in in LLVM_BOLT_DIR"
    );
    if !install {
        bail!(mend);
    }
    install_one(&package).context(mend.clone())?;
    bolt_found(llvm_major).context(mend)
}

fn bolt_found(llvm_major: &str) -> Option<Bolt> {
    let places = [
        std::env::var_os("LLVM_BOLT_DIR").map(PathBuf::from),
        Some(PathBuf::from(format!("/usr/lib/llvm-{llvm_major}/bin"))),
        // Found in PATH.
        Some(PathBuf::new()),
    ];
    let bolts = places
        .into_iter()
        .flatten()
        .map(|folder| Bolt { program: folder.join("llvm-bolt"), merger: folder.join("merge-fdata") });
    let runs = |program: &Path| shell::probe(Command::new(program).arg("--version")).is_some();
    bolts.into_iter().find(|bolt| runs(&bolt.program) && runs(&bolt.merger))
}

fn npm_packages(root: &Path) -> anyhow::Result<()> {
    let folder = root.join(WEBSOCKET_CLIENTS);
    let lock = folder.join("package-lock.json");
    if !lock.is_file() {
        return Ok(());
    }
    // npm writes this file last; `npm ci` on every run would take its seconds every time.
    let installed = folder.join("node_modules/.package-lock.json");
    let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified());
    if let (Ok(locked), Ok(installed)) = (modified(&lock), modified(&installed))
        && installed >= locked
    {
        return Ok(());
    }
    eprintln!("xtask: npm ci in {WEBSOCKET_CLIENTS}");
    shell::run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder))
}

/// Without nextest the tests still run, so that failing to install it is not a failure.
fn nextest() {
    if has_nextest() {
        return;
    }
    eprintln!("xtask: installing cargo-nextest");
    if let Err(error) = shell::run(shell::cargo().args(["install", "cargo-nextest", "--locked"])) {
        eprintln!("xtask: {error:#}; the tests will run with `cargo test`");
    }
}

/// What explains a difference between two runs.
pub(crate) fn facts(root: &Path) -> String {
    let first_line = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line[key.len()..].trim().trim_matches('"').to_owned())
    };
    let version = |program: &str, argument: &str| shell::probe(Command::new(program).arg(argument));
    let facts = [
        ("system", first_line("/etc/os-release", "PRETTY_NAME=")),
        ("kernel", first_line("/proc/sys/kernel/osrelease", "")),
        ("cores", std::thread::available_parallelism().ok().map(|cores| cores.to_string())),
        ("memory", first_line("/proc/meminfo", "MemTotal:")),
        ("load", first_line("/proc/loadavg", "")),
        ("open files", shell::probe(Command::new("sh").args(["-c", "ulimit -n"]))),
        ("rustc", version("rustc", "--version")),
        ("nextest", shell::probe(shell::cargo().args(["nextest", "--version"]))),
        ("node", version("node", "--version")),
        ("npm", version("npm", "--version")),
        (
            "commit",
            shell::probe(Command::new("git").arg("-C").arg(root).args([
                "-c",
                "safe.directory=*",
                "log",
                "-1",
                "--format=%h %s",
            ])),
        ),
    ];
    let mut text = String::new();
    for (name, fact) in facts {
        text.push_str(&format!("  {name:<10} {}\n", fact.as_deref().unwrap_or("unknown")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_are_there() {
        let all: String = DEBIAN_PACKAGES.iter().map(|name| format!("{name} installed\n")).collect();
        assert!(missing(&all).is_empty());
        assert_eq!(missing(&all.replace("socat installed", "socat config-files")), ["socat"]);
        assert_eq!(missing(""), DEBIAN_PACKAGES);
    }

    #[test]
    fn services_are_those_of_packages_that_are_installed_now() {
        assert_eq!(services_of(&["openssl", "samba"]), ["smbd", "nmbd"]);
        assert!(SERVICES.iter().all(|(package, _)| DEBIAN_PACKAGES.contains(package)));
    }
}
