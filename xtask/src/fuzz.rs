//! `cargo xtask fuzz`: hands over to the runner in `fuzz/`.

use anyhow::bail;

use crate::{shell, workspace::Workspace};

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    if !workspace.packages.iter().any(|package| package.member && package.name == "fuzz") {
        bail!("the workspace has no member `fuzz`");
    }
    // Release without debug assertions would miss overflows; the profile is adjusted here rather than in the root
    // manifest, because only fuzzing wants both speed and checks.
    shell::run(
        shell::cargo()
            .current_dir(&workspace.root)
            .args(["run", "--release", "--config", "profile.release.debug-assertions=true"])
            .args(["--config", "profile.release.overflow-checks=true"])
            .args(["--config", "profile.release.lto=false", "--target-dir"])
            .arg(workspace.target_directory.join("fuzz"))
            .args(["--package", "fuzz", "--"])
            .args(arguments),
    )
}
