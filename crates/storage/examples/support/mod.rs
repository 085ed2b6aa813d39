//! What the measurements share.

#[allow(dead_code, reason = "not every measurement makes them")]
pub(crate) mod changes;

use std::sync::mpsc::Receiver;

use node::store::{Completion, PersistToken, Store, Submission, Urgency};
use records::{Change, Rows};
use storage::Sqlite;

/// Submits as one batch and waits until it is durable.
pub(crate) fn persist(store: &mut Sqlite, receiver: &Receiver<Vec<Completion<Rows>>>, changes: Vec<Change>) {
    let persist = |change| Submission::Persist { token: PersistToken(0), change, urgency: Urgency::Now };
    let mut missing = changes.len();
    store.submit(changes.into_iter().map(persist).collect());
    while missing > 0 {
        let completions = receiver.recv().expect("completions");
        assert!(completions.iter().all(|c| matches!(c, Completion::Persisted { .. })), "{completions:?}");
        missing -= completions.len();
    }
}

/// CPU time of the thread named "storage", in microseconds (proc(5), schedstat: nanoseconds on the CPU).
pub(crate) fn writer_cpu() -> f64 {
    let stat = std::fs::read_to_string(writer().join("schedstat")).expect("schedstat");
    stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).expect("nanoseconds") / 1000.0
}

/// How often that thread waited for something (proc(5), status).
#[allow(dead_code, reason = "not every measurement asks")]
pub(crate) fn writer_waits() -> f64 {
    let status = std::fs::read_to_string(writer().join("status")).expect("status");
    let waits = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    waits.expect("it has one").trim().parse().expect("a number")
}

fn writer() -> std::path::PathBuf {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let folder = tasks.map(|t| t.expect("a thread").path()).find(|task| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim_end() == "storage")
    });
    folder.expect("the writer runs")
}

/// Octets that the process has written so far, and with how many calls (proc(5), io).
#[allow(dead_code, reason = "not every measurement asks")]
pub(crate) fn written() -> (f64, f64) {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux");
    let number = |name: &str| {
        let line = io.lines().find_map(|line| line.strip_prefix(name)).expect("it has one");
        line.trim().parse::<f64>().expect("a number")
    };
    (number("wchar:"), number("syscw:"))
}
