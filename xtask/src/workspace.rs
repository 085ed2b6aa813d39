//! What cargo knows about the workspace: packages, licences, sources and who depends on whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use anyhow::{Context, anyhow};
use serde_json::Value;

use crate::shell;

pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target_directory: PathBuf,
    pub(crate) packages: Vec<Package>,
}

pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// An SPDX expression.
    pub(crate) license: Option<String>,
    /// `None` is a folder of this repository.
    pub(crate) source: Option<String>,
    pub(crate) manifest: PathBuf,
    pub(crate) member: bool,
    pub(crate) dependencies: Vec<Dependency>,
}

pub(crate) struct Dependency {
    /// Index into [`Workspace::packages`].
    pub(crate) package: usize,
    /// Ships with us or builds what ships: a normal or a build dependency, not only one of tests.
    pub(crate) shipped: bool,
}

impl Workspace {
    pub(crate) fn load() -> anyhow::Result<Workspace> {
        let json = shell::output(shell::cargo().args(["metadata", "--format-version", "1"]))?;
        let json = serde_json::from_str(&json).context("cargo metadata did not print JSON")?;
        let mut workspace = Workspace::parse(&json).context("cargo metadata has an unexpected shape")?;
        // The edges in the metadata include optional dependencies that only a weak feature (`name?/feature`)
        // mentions and nothing builds; `cargo tree` resolves features exactly.
        let tree = shell::output(shell::cargo().current_dir(&workspace.root).args([
            "tree",
            "--workspace",
            "--edges=all",
            "--target=all",
            "--prefix=none",
            "--format={p}",
        ]))?;
        workspace.keep_built(&tree);
        Ok(workspace)
    }

    /// Removes the dependencies on packages that are not in `tree`, whose lines are `name v1.2.3 ...`.
    fn keep_built(&mut self, tree: &str) {
        let built: BTreeSet<(&str, &str)> = tree
            .lines()
            .filter_map(|line| line.split_once(" v"))
            .map(|(name, rest)| (name, rest.split(' ').next().unwrap_or(rest)))
            .collect();
        let kept: Vec<bool> = self
            .packages
            .iter()
            .map(|package| built.contains(&(package.name.as_str(), package.version.as_str())))
            .collect();
        for package in &mut self.packages {
            package.dependencies.retain(|dependency| kept[dependency.package]);
        }
    }

    fn parse(json: &Value) -> anyhow::Result<Workspace> {
        let members: Vec<&str> = array(json, "workspace_members")?.iter().filter_map(Value::as_str).collect();
        let mut packages = Vec::new();
        let mut index = BTreeMap::new();
        for package in array(json, "packages")? {
            let id = text(package, "id")?;
            index.insert(id, packages.len());
            packages.push(Package {
                name: text(package, "name")?.to_owned(),
                version: text(package, "version")?.to_owned(),
                license: package["license"].as_str().map(str::to_owned),
                source: package["source"].as_str().map(str::to_owned),
                manifest: PathBuf::from(text(package, "manifest_path")?),
                member: members.contains(&id),
                dependencies: Vec::new(),
            });
        }
        for node in array(&json["resolve"], "nodes")? {
            let from = *index.get(text(node, "id")?).ok_or_else(|| anyhow!("a node without a package"))?;
            for dependency in array(node, "deps")? {
                let package = *index
                    .get(text(dependency, "pkg")?)
                    .ok_or_else(|| anyhow!("a dependency without a package"))?;
                let shipped =
                    array(dependency, "dep_kinds")?.iter().any(|kind| kind["kind"].as_str() != Some("dev"));
                packages[from].dependencies.push(Dependency { package, shipped });
            }
        }
        Ok(Workspace {
            root: PathBuf::from(text(json, "workspace_root")?),
            target_directory: PathBuf::from(text(json, "target_directory")?),
            packages,
        })
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = usize> {
        (0..self.packages.len()).filter(|index| self.packages[*index].member)
    }

    /// Everything that is built for somebody, tests included, members first.
    pub(crate) fn built(&self) -> Vec<usize> {
        let mut found: Vec<usize> = self.members().collect();
        let mut next = 0;
        while let Some(index) = found.get(next).copied() {
            next += 1;
            for dependency in &self.packages[index].dependencies {
                if !found.contains(&dependency.package) {
                    found.push(dependency.package);
                }
            }
        }
        found
    }

    /// Everything that `from` ships with, nearest first, each with the chain of names that leads to it.
    /// `follow` says through which packages the walk may go on.
    pub(crate) fn shipped_with(
        &self,
        from: usize,
        follow: impl Fn(&Package) -> bool,
    ) -> Vec<(usize, Vec<&str>)> {
        let mut found: Vec<(usize, Vec<&str>)> = vec![(from, vec![&self.packages[from].name])];
        let mut next = 0;
        while next < found.len() {
            let (package, chain) = found[next].clone();
            next += 1;
            if package != from && !follow(&self.packages[package]) {
                continue;
            }
            for dependency in self.packages[package].dependencies.iter().filter(|d| d.shipped) {
                if found.iter().all(|(known, _)| *known != dependency.package) {
                    let mut chain = chain.clone();
                    chain.push(&self.packages[dependency.package].name);
                    found.push((dependency.package, chain));
                }
            }
        }
        found.remove(0);
        found
    }
}

fn array<'a>(json: &'a Value, key: &str) -> anyhow::Result<&'a Vec<Value>> {
    json[key].as_array().ok_or_else(|| anyhow!("`{key}` is not a list"))
}

fn text<'a>(json: &'a Value, key: &str) -> anyhow::Result<&'a str> {
    json[key].as_str().ok_or_else(|| anyhow!("`{key}` is not a text"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Where the fake packages that are not members come from.
    pub(crate) const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

    /// A workspace from lines such as `frontend: node tokio (dev)proptest`. What has a line is a member; every other
    /// name is a package of the registry under MIT.
    pub(crate) fn fake(lines: &str) -> Workspace {
        let mut packages: Vec<Package> = Vec::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, dependencies) = line.split_once(':').expect("a line is `name: dependencies`");
            let from = intern(&mut packages, name.trim());
            packages[from].member = true;
            packages[from].source = None;
            for dependency in dependencies.split_whitespace() {
                let name = dependency.strip_prefix("(dev)");
                let package = intern(&mut packages, name.unwrap_or(dependency));
                packages[from].dependencies.push(Dependency { package, shipped: name.is_none() });
            }
        }
        Workspace { root: PathBuf::from("/w"), target_directory: PathBuf::from("/w/target"), packages }
    }

    fn intern(packages: &mut Vec<Package>, name: &str) -> usize {
        if let Some(known) = packages.iter().position(|package| package.name == name) {
            return known;
        }
        packages.push(Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: Some("MIT".to_owned()),
            source: Some(REGISTRY.to_owned()),
            manifest: PathBuf::from(format!("/w/crates/{name}/Cargo.toml")),
            member: false,
            dependencies: Vec::new(),
        });
        packages.len() - 1
    }

    #[test]
    fn metadata_becomes_packages_and_kinds() {
        let json = serde_json::json!({
            "workspace_root": "/w", "target_directory": "/t", "workspace_members": ["a 1"],
            "packages": [
                {"id": "a 1", "name": "a", "version": "1.0.0", "license": null, "source": null,
                 "manifest_path": "/w/a/Cargo.toml"},
                {"id": "b 2", "name": "b", "version": "2.0.0", "license": "MIT", "source": REGISTRY,
                 "manifest_path": "/r/b/Cargo.toml"},
                {"id": "c 3", "name": "c", "version": "3.0.0", "license": "MIT", "source": REGISTRY,
                 "manifest_path": "/r/c/Cargo.toml"},
            ],
            "resolve": {"nodes": [
                {"id": "a 1", "deps": [
                    {"pkg": "b 2", "dep_kinds": [{"kind": "dev"}]},
                    {"pkg": "c 3", "dep_kinds": [{"kind": "dev"}, {"kind": null}]},
                ]},
                {"id": "b 2", "deps": []},
                {"id": "c 3", "deps": []},
            ]},
        });
        let workspace = Workspace::parse(&json).expect("the shape is cargo's");
        assert!(workspace.packages[0].member && !workspace.packages[1].member);
        let shipped: Vec<usize> =
            workspace.shipped_with(0, |_| true).into_iter().map(|(package, _)| package).collect();
        assert_eq!(shipped, [2], "b is only for tests");
        assert!(Workspace::parse(&serde_json::json!({})).is_err());
    }

    #[test]
    fn what_nothing_builds_is_no_dependency() {
        let mut workspace = fake("a: b weak\nb: (dev)c");
        workspace.keep_built("a v1.0.0 (/w/a)\nb v1.0.0 (*)\nc v1.0.0\nweak v2.0.0");
        let names: Vec<&str> =
            workspace.built().into_iter().map(|index| workspace.packages[index].name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"], "only another version of `weak` is built");
    }

    #[test]
    fn chains_are_told_from_the_start() {
        let workspace = fake("a: b\nb: c\nc: a");
        let chains: Vec<String> =
            workspace.shipped_with(0, |_| true).into_iter().map(|(_, chain)| chain.join(" > ")).collect();
        assert_eq!(chains, ["a > b", "a > b > c"]);
    }
}
