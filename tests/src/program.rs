//! Foreign programs: whether they are here, and what they say in TAP.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a driver of foreign clients may take: each of its waits is bounded, and a call is heard for seconds.
const DRIVER_TIME: Duration = Duration::from_secs(180);

/// Whether a program is in the PATH.
pub fn have(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// Whether a program may be given an `/etc/hosts` of its own.
pub fn may_mount() -> bool {
    let status = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Whether networks may be made here. Where they may, what fails with them is a failure.
pub fn may_make_networks() -> bool {
    let status = Command::new("unshare").args(["--net", "--mount", "true"]).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// How many files and sockets a program may have open here, if it asks for all that it may have.
pub fn descriptors_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("this is Linux");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("it is a limit");
    let hard = line.split_whitespace().nth(4).expect("soft, hard, unit");
    // A number, or `unlimited`.
    hard.parse().unwrap_or(usize::MAX)
}

/// Says by name that something was not tested, and why. The log of a run is searched for it.
pub fn skip(what: &str, why: &str) {
    eprintln!("SKIPPED: {what}: {why}");
}

/// A file of `tests/clients`.
pub fn client_script(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(path)
}

/// A folder of the conformance material that lies beside the repository on machines that have it.
pub fn conformance(path: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance").join(path);
    folder.is_dir().then_some(folder)
}

/// Runs a driver that prints TAP, to its end, and asserts that it made at least one check and that none failed.
pub fn run_tap(command: &mut Command) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the driver starts");
    let output = read_all(child.stdout.take().expect("a pipe"));
    let errors = read_all(child.stderr.take().expect("a pipe"));
    let deadline = Instant::now() + DRIVER_TIME;
    let (sender, ended) = std::sync::mpsc::channel();
    let pid = child.id();
    std::thread::spawn(move || drop(sender.send(child.wait())));
    let Ok(status) = ended.recv_timeout(deadline.saturating_duration_since(Instant::now())) else {
        drop(Command::new("kill").arg(pid.to_string()).status());
        panic!("{command:?} did not end within {DRIVER_TIME:?}");
    };
    let (output, errors) = (output.join().expect("it reads"), errors.join().expect("it reads"));
    let count = |prefix: &str| output.lines().filter(|line| line.starts_with(prefix)).count();
    let (passed, failed) = (count("ok "), count("not ok "));
    let succeeded = status.expect("our own child").success();
    assert!(succeeded && passed > 0 && failed == 0, "{command:?}\n{output}\n{errors}");
}

fn read_all(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut octets = Vec::new();
        // What was read until the error is what there is to show.
        drop(pipe.read_to_end(&mut octets));
        String::from_utf8_lossy(&octets).into_owned()
    })
}
