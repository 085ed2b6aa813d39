//! `cargo xtask directory-scale`: builds the server for release and measures it on a large directory.

use crate::{shell, workspace::Workspace};

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    let cargo = || {
        let mut command = shell::cargo();
        command.current_dir(&workspace.root);
        command
    };
    shell::run(cargo().args(["build", "--release", "--package", "chancery"]))?;
    // The measuring program itself needs no optimiser.
    shell::run(
        cargo()
            .args(["run", "--package", "system-tests", "--example", "directory_scale", "--"])
            .args(arguments)
            .env("CHANCERY_BIN", workspace.target_directory.join("release/chancery")),
    )
}
