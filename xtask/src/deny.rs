//! `cargo xtask deny`: the licences, the sources and the names of everything that we depend on.
//!
//! It does what we would ask of cargo-deny without a second tool to install. Advisories are not its business: they
//! need a database that changes daily and would make the same tree pass today and fail tomorrow.

use anyhow::bail;

use crate::{
    spdx::Expression,
    workspace::{Package, Workspace},
};

/// Permissive licences that ask for attribution at most, so that the binary stays Apache-2.0 OR MIT.
const LICENSES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    // Parts of AWS-LC.
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// The name that cargo gives to crates.io.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Crates that must not enter the tree by any door, tests included.
const BANNED: &[(&str, &str)] = &[
    ("native-tls", "TLS is rustls"),
    ("openssl", "TLS is rustls, cryptography is aws-lc"),
    ("openssl-sys", "TLS is rustls, cryptography is aws-lc"),
    ("ring", "a second cryptography library beside aws-lc: choose the `aws_lc_rs` feature"),
];

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    if let Some(extra) = arguments.first() {
        return Err(crate::Usage(format!("it takes no arguments, not `{extra}`")).into());
    }
    let workspace = Workspace::load()?;
    let faults = check(&workspace);
    for fault in &faults {
        eprintln!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} fault(s) in the dependencies", faults.len());
    }
    eprintln!("deny: {} packages, licences, sources and names are in order", workspace.built().len());
    Ok(())
}

fn check(workspace: &Workspace) -> Vec<String> {
    let mut faults = Vec::new();
    for package in workspace.built().into_iter().map(|index| &workspace.packages[index]) {
        if let Some((_, why)) = BANNED.iter().find(|(name, _)| *name == package.name) {
            faults.push(fault(workspace, package, &format!("is banned: {why}")));
        }
        match package.source.as_deref() {
            Some(REGISTRY) => {}
            // A path outside the repository builds on one machine only.
            None if package.manifest.starts_with(&workspace.root) => {}
            None => faults.push(fault(workspace, package, "is a path outside of the repository")),
            Some(other) => faults.push(fault(workspace, package, &format!("comes from `{other}`"))),
        }
    }
    for index in shipped(workspace) {
        let package = &workspace.packages[index];
        if let Err(why) = license(package) {
            faults.push(fault(workspace, package, &why));
        }
    }
    faults
}

fn license(package: &Package) -> Result<(), String> {
    let Some(text) = package.license.as_deref() else {
        return Err("names no licence; read its licence file, then look for another crate".to_owned());
    };
    let expression = Expression::parse(text).map_err(|error| format!("has the licence `{text}`: {error}"))?;
    if expression.satisfied(&|id| LICENSES.contains(&id)) {
        Ok(())
    } else {
        Err(format!("has the licence `{text}`, which is not in the list of xtask/src/deny.rs"))
    }
}

/// What ships with us or builds what ships: the members and all their normal and build dependencies.
fn shipped(workspace: &Workspace) -> Vec<usize> {
    let mut found: Vec<usize> = workspace
        .members()
        .flat_map(|member| {
            workspace.shipped_with(member, |_| true).into_iter().map(|(index, _)| index).chain([member])
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn fault(workspace: &Workspace, package: &Package, what: &str) -> String {
    let mut text = format!("{} {} {what}", package.name, package.version);
    let chain = workspace.members().find_map(|member| {
        workspace
            .shipped_with(member, |_| true)
            .into_iter()
            .find(|(index, _)| std::ptr::eq(&workspace.packages[*index], package))
            .map(|(_, chain)| chain.join(" > "))
    });
    if let Some(chain) = chain {
        text.push_str(&format!("\n    by way of {chain}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::tests::fake;

    fn set(workspace: &mut Workspace, name: &str, change: impl Fn(&mut Package)) {
        change(workspace.packages.iter_mut().find(|package| package.name == name).expect("a fake package"));
    }

    #[test]
    fn a_clean_tree_has_no_faults() {
        assert_eq!(check(&fake("chancery: net bytes\nnet: tokio")), Vec::<String>::new());
    }

    #[test]
    fn a_licence_outside_of_the_list() {
        let mut workspace = fake("chancery: net\nnet: deep");
        set(&mut workspace, "deep", |package| package.license = Some("MIT AND GPL-3.0-only".into()));
        assert_eq!(
            check(&workspace),
            ["deep 1.0.0 has the licence `MIT AND GPL-3.0-only`, which is not in the list of \
              xtask/src/deny.rs\n    by way of chancery > net > deep"]
        );
        set(&mut workspace, "deep", |package| package.license = Some("MIT OR GPL-3.0-only".into()));
        assert!(check(&workspace).is_empty());
    }

    #[test]
    fn a_missing_or_malformed_licence() {
        let mut workspace = fake("chancery: odd");
        set(&mut workspace, "odd", |package| package.license = None);
        assert!(check(&workspace)[0].contains("names no licence"));
        set(&mut workspace, "odd", |package| package.license = Some("MIT OR".into()));
        assert!(check(&workspace)[0].contains("a name is missing"));
    }

    #[test]
    fn a_licence_of_a_test_dependency_is_not_shipped() {
        let mut workspace = fake("chancery: (dev)tool");
        set(&mut workspace, "tool", |package| package.license = Some("GPL-3.0-only".into()));
        assert!(check(&workspace).is_empty());
    }

    #[test]
    fn a_source_that_is_not_the_registry() {
        let mut workspace = fake("chancery: fork (dev)tool");
        set(&mut workspace, "fork", |package| package.source = Some("git+https://host.example/fork".into()));
        assert!(check(&workspace)[0].contains("comes from `git+https://host.example/fork`"));
        set(&mut workspace, "fork", |package| {
            package.source = None;
            package.manifest = "/elsewhere/Cargo.toml".into();
        });
        assert!(check(&workspace)[0].contains("outside of the repository"));
    }

    #[test]
    fn a_banned_crate_even_for_tests() {
        assert_eq!(check(&fake("chancery: ring")).len(), 1);
        assert!(check(&fake("chancery: (dev)openssl-sys"))[0].contains("banned"));
    }
}
