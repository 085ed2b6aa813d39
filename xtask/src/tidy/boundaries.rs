//! Which crate may depend on which: the absences that the architecture consists of.

use super::{Finding, Tree};
use crate::workspace::{Package, Workspace};

const RULE: &str = "boundary";

/// One role each; a role never depends on a role. They meet through messages.
const ROLES: &[&str] =
    &["access-edge", "address-book", "av-edge", "console", "director", "frontend", "replicator", "web-edge"];

/// The crates that may touch sockets, files, clocks and threads. Every other crate of ours is pure, a new one too.
pub(super) const WORLDLY: &[&str] =
    &["chancery", "fuzz", "gss", "ldap", "net", "storage", "system-tests", "xtask"];

/// Libraries that do I/O, or draw time or randomness, wherever they appear in the dependencies of a pure crate.
const WORLDLY_LIBRARIES: &[&str] = &[
    "async-nats",
    "axum",
    "hickory-resolver",
    "hyper",
    "hyper-util",
    "ldap3",
    "libloading",
    "mio",
    "polling",
    "rusqlite",
    "rustls",
    "socket2",
    "tokio",
    "tokio-postgres",
    "tokio-rustls",
    "tracing-subscriber",
];

/// Libraries that a pure crate may not name itself, though a library it uses may: a hash library that asks for CPU
/// features through libc does no I/O.
const WORLDLY_LIBRARIES_DIRECT: &[&str] = &["chrono", "getrandom", "jiff", "libc", "nix", "rustix", "time"];

/// What a crate must not know, however long the way to it.
const ABSENCES: &[(&str, &[&str], &str)] = &[
    ("access-edge", USER_STORES, "the edge cannot leak what it cannot name"),
    ("web-edge", USER_STORES, "the edge cannot leak what it cannot name"),
    ("av-edge", USER_STORES, "the edge cannot leak what it cannot name"),
    ("sim", &["net", "storage"], "the simulated world stands in their place"),
    ("director", &["records", "storage"], "what it knows it was told, and keeps in memory alone"),
    ("sip-stack", &["directory", "records"], "transactions and dialogs know no users"),
    ("sign-in", &["records", "storage", "sip-stack"], "it asks its caller for accounts"),
    ("turn", &["directory", "records", "sip-message", "sip-stack"], "a relay knows neither users nor SIP"),
    (
        "xcap",
        &["directory", "presence", "records", "sip-message", "sip-stack", "storage"],
        "documents are texts there, whoever they belong to",
    ),
    (
        "presence",
        &["sip-message", "sip-stack", "storage"],
        "presence knows neither its transport nor its store",
    ),
    ("directory", &["ldap", "storage", "sip-message", "sip-stack"], "users exist without LDAP, SQL and SIP"),
    (
        "federation",
        &["directory", "pki", "records", "sip-stack", "storage"],
        "the verdict is about domains and facts, never about users, chains or transactions",
    ),
];

const USER_STORES: &[&str] = &["directory", "records", "storage"];

pub(super) fn check(workspace: &Workspace, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for index in workspace.members() {
        let package = &workspace.packages[index];
        findings.extend(own_crates(workspace, tree, index));
        if !WORLDLY.contains(&package.name.as_str()) {
            findings.extend(libraries(workspace, tree, index));
        }
        findings.extend(manifest(workspace, tree, package));
    }
    findings
}

/// The rules between our own crates.
fn own_crates(workspace: &Workspace, tree: &Tree, index: usize) -> Vec<Finding> {
    let package = &workspace.packages[index];
    let name = package.name.as_str();
    let role = ROLES.contains(&name);
    let mut findings = Vec::new();
    for (other, chain) in workspace.shipped_with(index, |other| other.member) {
        let other = workspace.packages[other].name.as_str();
        if !workspace.packages.iter().any(|package| package.member && package.name == other) {
            continue;
        }
        let absence = ABSENCES
            .iter()
            .find(|(who, absent, _)| *who == name && absent.contains(&other))
            .map(|(_, _, why)| *why);
        let why = if role && ROLES.contains(&other) {
            "a role never depends on a role; they meet through messages"
        } else if matches!(name, "net" | "storage" | "ldap" | "node") && ROLES.contains(&other) {
            "drivers and the waist carry any role and know none"
        } else if matches!(name, "gss" | "sip-message") {
            "it depends on none of our crates"
        } else if other == "gss" && !matches!(name, "chancery" | "ldap" | "fuzz" | "system-tests") {
            "Kerberos is for the directory's driver and the binary"
        } else if let Some(why) = absence {
            why
        } else if !WORLDLY.contains(&name) && WORLDLY.contains(&other) {
            "a pure crate does not reach the world through one of ours"
        } else {
            continue;
        };
        findings.push(finding(workspace, tree, package, &chain, why));
    }
    findings
}

fn libraries(workspace: &Workspace, tree: &Tree, index: usize) -> Vec<Finding> {
    let package = &workspace.packages[index];
    let mut findings = Vec::new();
    // What a worldly library brings along is no news.
    let follow = |package: &Package| !WORLDLY_LIBRARIES.contains(&package.name.as_str());
    for (other, chain) in workspace.shipped_with(index, follow) {
        let other = workspace.packages[other].name.as_str();
        // What one of our own crates brings in is that crate's finding.
        let through_ours = chain[1..chain.len() - 1]
            .iter()
            .any(|name| workspace.packages.iter().any(|package| package.member && package.name == *name));
        let direct = chain.len() == 2;
        if !through_ours
            && (WORLDLY_LIBRARIES.contains(&other) || direct && WORLDLY_LIBRARIES_DIRECT.contains(&other))
        {
            let why = "only the drivers and the binary touch sockets, files, clocks, threads or randomness";
            findings.push(finding(workspace, tree, package, &chain, why));
        }
    }
    findings
}

fn finding(workspace: &Workspace, tree: &Tree, package: &Package, chain: &[&str], why: &str) -> Finding {
    let path = manifest_path(workspace, package);
    let line = tree.line_of(&path, chain[1]);
    Finding::new(
        &path,
        line,
        RULE,
        format!("{} must not depend on {} ({}): {why}", chain[0], chain[chain.len() - 1], chain.join(" > ")),
        "pass the fact in as an input, or move the code to the crate that may know both",
    )
}

/// Versions stand once, in the root manifest, and so do the lints.
fn manifest(workspace: &Workspace, tree: &Tree, package: &Package) -> Vec<Finding> {
    let path = manifest_path(workspace, package);
    let Some(text) = tree.files.get(&path) else { return Vec::new() };
    let mut findings = Vec::new();
    let mut section = "";
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
            continue;
        }
        let names_dependency =
            section.ends_with("dependencies]") && line.contains('=') && !line.starts_with('#');
        let inherited = line.contains(".workspace = true") || line.contains("workspace = true");
        if names_dependency && !inherited {
            findings.push(Finding::new(
                &path,
                index,
                RULE,
                format!("`{line}` does not take its version from the workspace"),
                "put the version into [workspace.dependencies] of the root manifest and write `NAME.workspace = true`",
            ));
        }
    }
    if !text.contains("[lints]\nworkspace = true") {
        findings.push(Finding::new(
            &path,
            0,
            RULE,
            format!("{} does not take the lints of the workspace", package.name),
            "add `[lints]` with `workspace = true`",
        ));
    }
    findings
}

fn manifest_path(workspace: &Workspace, package: &Package) -> String {
    let path = package.manifest.strip_prefix(&workspace.root).unwrap_or(&package.manifest);
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::tests::fake;

    /// The messages without their reasons.
    fn check(lines: &str) -> Vec<String> {
        super::check(&fake(lines), &Tree::default())
            .into_iter()
            .map(|finding| finding.message.split(':').next().unwrap_or_default().to_owned())
            .collect()
    }

    #[test]
    fn the_intended_shape_is_clean() {
        let lines = "
            sip-message: bytes memchr
            node: bytes
            directory: thiserror
            records: directory
            sip-stack: node sip-message
            frontend: node records directory sip-message sip-stack
            net: node sip-message tokio libc
            storage: records node rusqlite
            sim: node records frontend
            chancery: node frontend net storage tokio
            system-tests: chancery tokio";
        assert_eq!(check(lines), Vec::<String>::new());
    }

    #[test]
    fn a_role_knows_a_role() {
        assert_eq!(
            check("frontend:\ndirector: frontend"),
            ["director must not depend on frontend (director > frontend)"]
        );
    }

    #[test]
    fn an_edge_reaches_a_user_store_the_long_way() {
        let lines = "access-edge: policy\npolicy: records\nrecords: directory\ndirectory:";
        assert_eq!(
            check(lines),
            [
                "access-edge must not depend on records (access-edge > policy > records)",
                "access-edge must not depend on directory (access-edge > policy > records > directory)",
            ]
        );
    }

    #[test]
    fn a_driver_knows_a_role() {
        assert_eq!(check("frontend:\nnet: frontend"), ["net must not depend on frontend (net > frontend)"]);
        assert_eq!(check("frontend:\nstorage: frontend").len(), 1);
        assert_eq!(check("frontend:\nnode: frontend").len(), 1);
    }

    #[test]
    fn sip_message_knows_one_of_ours() {
        assert_eq!(check("node:\nsip-message: node").len(), 1);
    }

    #[test]
    fn kerberos_is_for_few() {
        assert_eq!(check("node:\ngss: node").len(), 1);
        assert_eq!(check("gss: libloading tokio\nldap: gss\nchancery: ldap gss"), Vec::<String>::new());
        assert_eq!(check("gss:\nnet: gss"), ["net must not depend on gss (net > gss)"]);
    }

    #[test]
    fn the_simulator_knows_the_real_world() {
        assert_eq!(check("net:\nsim: net"), ["sim must not depend on net (sim > net)"]);
    }

    #[test]
    fn a_pure_crate_does_io() {
        assert_eq!(check("frontend: tokio"), ["frontend must not depend on tokio (frontend > tokio)"]);
        assert_eq!(check("frontend: (dev)tokio"), Vec::<String>::new());
        assert_eq!(check("newcomer: libc").len(), 1, "a crate that no list names is pure");
        assert_eq!(check("outer: inner\ninner: tokio").len(), 1, "told once, where it stands");
    }

    #[test]
    fn a_library_may_use_libc_but_not_tokio() {
        let mut workspace = fake("pki: rcgen\nrcgen: libc tokio\ntokio: mio");
        workspace.packages.iter_mut().filter(|p| p.name != "pki").for_each(|p| p.member = false);
        let messages: Vec<String> =
            super::check(&workspace, &Tree::default()).into_iter().map(|finding| finding.message).collect();
        assert_eq!(messages.len(), 1);
        assert!(messages[0].contains("(pki > rcgen > tokio)"));
    }

    #[test]
    fn a_finding_stands_at_its_line_of_the_manifest() {
        let manifest =
            "[lints]\nworkspace = true\n[dependencies]\nbytes.workspace = true\ntokio.workspace = true\n";
        let tree = Tree::of(&[("crates/node/Cargo.toml", manifest)]);
        assert_eq!(super::check(&fake("node: tokio"), &tree)[0].line, 5);
    }

    #[test]
    fn versions_and_lints_come_from_the_workspace() {
        let check = |manifest: &str| {
            super::check(&fake("node: bytes"), &Tree::of(&[("crates/node/Cargo.toml", manifest)])).len()
        };
        assert_eq!(check("[lints]\nworkspace = true\n[dependencies]\nbytes.workspace = true\n"), 0);
        assert_eq!(check("[lints]\nworkspace = true\n[dependencies]\nbytes = \"1\"\n"), 1);
        assert_eq!(check("[lints]\nworkspace = true\n[dev-dependencies]\nbytes = { version = \"1\" }\n"), 1);
        assert_eq!(check("[dependencies]\nbytes.workspace = true\n"), 1);
    }
}
