//! `cargo xtask dist`: the server as it is installed, built for the work that it does.
//!
//! A server's code is broad and flat: what a message passes through is spread over the whole program, and the compiler
//! cannot know which of two branches is the error. So it is told (profile-guided optimisation): the program is built once
//! to count what is run, is put under the loads of `bench/`, and is built again with what was counted.
//!
//! Where the program's pieces stand is then decided by the linker, which knows nothing of it, and a server that waits between
//! two messages finds its caches cold: it pays for every line that it fetches. So LLVM's BOLT counts once more, in the
//! finished program, and lays it out anew: what runs together stands together, what never ran stands apart. Cryptography is
//! left as its authors wrote it.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{Usage, machine, shell, workspace::Workspace};

/// What separates flags in `CARGO_ENCODED_RUSTFLAGS`, where a flag may hold spaces.
const FLAG_SEPARATOR: &str = "\x1f";

/// Functions of a kind that runs together stand together; their parts that never ran, the handling of panics with them,
/// stand apart.
const LAYOUT: [&str; 5] = [
    "-reorder-blocks=ext-tsp",
    "-reorder-functions=cdsort",
    "-split-functions",
    "-split-all-cold",
    "-split-eh",
];
/// AWS-LC's assembly is written and proved as it stands.
const UNTOUCHED: &str = "-skip-funcs=aws_lc_.*";

/// What an edge, a front end under each transport, and a front end full of watchers are put to. Bounded by counts: what is
/// learned is what happens, not how fast. `{}` is the transport.
const FRONT_END_LOADS: &[&str] = &[
    "register --users 1000 --warmup-secs 0 --count 30000 --window 50",
    "message --users 1000 --warmup-secs 0 --count 30000 --window 50 --size 100",
    "message --users 1000 --warmup-secs 0 --count 2000 --rate 1000 --window 1000 --size 100",
    "call --users 1000 --warmup-secs 0 --count 10000 --window 50",
];
const PRESENCE_LOADS: &[&str] = &[
    "presence --watchers 100 --presentities 10 --warmup-secs 0 --count 300 --window 4",
    "contacts --watchers 30 --contacts 150 --by list --cycles 1",
    "contacts --watchers 30 --contacts 40 --by single --cycles 1",
];
const TLS_LOADS: &[&str] = &["handshake --count 1000 --window 20"];
const EDGE_LOADS: &[&str] = &["relay --warmup 1000 --count 30000 --window 50 --size 100"];

/// What the server is built for where nothing else is asked for: processors with AVX2 and BMI2, which servers have had
/// since 2013 (Intel) and 2015 (AMD). Searching lines and cutting tokens is a good part of SIP, and theirs.
const CPU_X86_64: &str = "x86-64-v3";

/// What is asked for on the command line.
#[derive(Debug, PartialEq, Eq)]
struct Wishes {
    install: bool,
    cpu: Option<String>,
}

impl Wishes {
    fn read(arguments: &[String]) -> Result<Wishes, Usage> {
        let mut wishes = Wishes { install: true, cpu: None };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--no-install" => wishes.install = false,
                "--cpu" => match arguments.next() {
                    Some(cpu) => wishes.cpu = Some(cpu.clone()),
                    None => {
                        return Err(Usage(
                            "--cpu needs a name; `rustc --print target-cpus` lists them".into(),
                        ));
                    }
                },
                other => return Err(Usage(format!("dist takes no `{other}`"))),
            }
        }
        Ok(wishes)
    }
}

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let wishes = Wishes::read(arguments)?;
    let workspace = Workspace::load()?;
    let folder = workspace.target_directory.join("pgo");
    let compiler = Compiler::asked()?;
    let cpu = wishes.cpu.or_else(|| compiler.host.starts_with("x86_64-").then(|| CPU_X86_64.to_owned()));
    let cpu = cpu.map(|cpu| OsString::from(format!("-Ctarget-cpu={cpu}")));
    let merger = machine::profdata(&compiler.llvm_major, wishes.install)?;
    // What an older program counted says nothing of this one.
    let counts = folder.join("counts");
    if counts.exists() {
        fs::remove_dir_all(&counts).with_context(|| format!("cannot remove {}", counts.display()))?;
    }
    fs::create_dir_all(&counts).with_context(|| format!("cannot make {}", counts.display()))?;

    let bolt = machine::bolt(&compiler.llvm_major, wishes.install);
    eprintln!("xtask dist: building a server that counts (1 of 4)");
    // It is run once: what linking as a whole costs would be lost.
    let flags = cpu.iter().cloned().chain([flag("-Cprofile-generate=", &counts)]);
    let counting = build(&workspace, &folder, &compiler, flags, "off")?;

    eprintln!("xtask dist: putting it to work (2 of 4)");
    shell::run(shell::cargo().current_dir(workspace.root.join("bench/loadgen")).args([
        "build",
        "--release",
        "--locked",
    ]))?;
    let bench = Bench { folder: workspace.root.join("bench"), server: &counting, work: folder.join("work") };
    bench.everything(&counts)?;
    let merged = folder.join("merged.profdata");
    shell::run(Command::new(merger).arg("merge").arg("-o").arg(&merged).arg(&counts))?;

    eprintln!("xtask dist: building the server (3 of 4)");
    let flags = cpu.into_iter().chain([flag("-Cprofile-use=", &merged)]);
    let built = match &bolt {
        // What is moved needs to be found again.
        Ok(_) => build(
            &workspace,
            &folder,
            &compiler,
            flags.chain(["-Clink-arg=-Wl,--emit-relocs".into()]),
            "fat",
        )?,
        Err(_) => build(&workspace, &folder, &compiler, flags, "fat")?,
    };
    let installed = workspace.target_directory.join("dist/chancery");
    fs::create_dir_all(workspace.target_directory.join("dist"))?;
    match bolt {
        Ok(bolt) => {
            eprintln!("xtask dist: laying it out (4 of 4)");
            Layout { bolt: &bolt, built: &built, folder: folder.join("layout") }
                .make(&workspace, &installed)?;
        }
        Err(why) => {
            eprintln!("xtask dist: it stays laid out as it was linked (4 of 4): {why:#}");
            fs::copy(&built, &installed)
                .with_context(|| format!("cannot copy {} to {}", built.display(), installed.display()))?;
        }
    }
    println!("{}", installed.display());
    Ok(())
}

/// BOLT, and what it works on.
struct Layout<'a> {
    bolt: &'a machine::Bolt,
    built: &'a Path,
    folder: PathBuf,
}

impl Layout<'_> {
    fn make(&self, workspace: &Workspace, installed: &Path) -> anyhow::Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("cannot remove {}", self.folder.display()))?;
        }
        let counts = self.folder.join("counts");
        fs::create_dir_all(&counts).with_context(|| format!("cannot make {}", counts.display()))?;
        let counting = self.folder.join("chancery");
        let mut file = OsString::from("-instrumentation-file=");
        file.push(counts.join("count"));
        let mut instrument = self.rewrite(&counting);
        quietly(instrument.args(["-instrument", "-instrumentation-file-append-pid"]).arg(file))?;
        let bench =
            Bench { folder: workspace.root.join("bench"), server: &counting, work: self.folder.join("work") };
        bench.everything(&counts)?;
        let merged = self.folder.join("merged.fdata");
        let mut all: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(&counts)? {
            all.push(entry?.path());
        }
        quietly(Command::new(&self.bolt.merger).arg("-o").arg(&merged).args(&all))?;
        let mut data = OsString::from("-data=");
        data.push(&merged);
        quietly(self.rewrite(installed).arg(data).args(LAYOUT))
    }

    fn rewrite(&self, output: &Path) -> Command {
        let mut command = Command::new(&self.bolt.program);
        command.arg(self.built).arg("-o").arg(output).arg(UNTOUCHED);
        command
    }
}

/// Runs something that tells much of interest to its own developers; it is shown where it fails.
fn quietly(command: &mut Command) -> anyhow::Result<()> {
    eprintln!("xtask dist: {}", shell::show(command));
    let output = command.output().with_context(|| format!("cannot run {}", shell::show(command)))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    bail!("{} failed ({}):\n{}", shell::show(command), output.status, String::from_utf8_lossy(&said))
}

/// Of the compiler what a profile depends on.
struct Compiler {
    host: String,
    llvm_major: String,
}

impl Compiler {
    fn asked() -> anyhow::Result<Compiler> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        Compiler::of(&shell::output(Command::new(rustc).arg("-vV"))?)
    }

    fn of(version: &str) -> anyhow::Result<Compiler> {
        let field = |name: &str| {
            let value = version.lines().find_map(|line| line.strip_prefix(name));
            value.map(str::trim).with_context(|| format!("`rustc -vV` says nothing of `{name}`"))
        };
        let llvm = field("LLVM version:")?;
        let llvm_major = llvm.split('.').next().unwrap_or(llvm).to_owned();
        Ok(Compiler { host: field("host:")?.to_owned(), llvm_major })
    }
}

fn flag(name: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(path);
    flag
}

/// Builds the server with more flags, and gives its path. The target is named, so that build scripts and macros are not
/// built with the flag.
fn build(
    workspace: &Workspace,
    folder: &Path,
    compiler: &Compiler,
    more: impl Iterator<Item = OsString>,
    lto: &str,
) -> anyhow::Result<PathBuf> {
    let mut flags = std::env::var_os("CARGO_ENCODED_RUSTFLAGS").unwrap_or_else(|| {
        let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        flags.split_whitespace().collect::<Vec<_>>().join(FLAG_SEPARATOR).into()
    });
    for flag in more {
        if !flags.is_empty() {
            flags.push(FLAG_SEPARATOR);
        }
        flags.push(flag);
    }
    let build =
        ["build", "--locked", "--profile", "dist", "--package", "chancery", "--target", &compiler.host];
    shell::run(
        shell::cargo()
            .current_dir(&workspace.root)
            .args(build)
            .args(["--config", &format!("profile.dist.lto={lto:?}")])
            .arg("--target-dir")
            .arg(folder)
            .env("CARGO_ENCODED_RUSTFLAGS", flags),
    )?;
    Ok(folder.join(&compiler.host).join("dist/chancery"))
}

/// The benchmark's own servers and load.
struct Bench<'a> {
    folder: PathBuf,
    server: &'a Path,
    /// What the servers write.
    work: PathBuf,
}

impl Bench<'_> {
    fn everything(&self, counts: &Path) -> anyhow::Result<()> {
        for transport in ["udp", "tcp", "tls"] {
            let tls: &[&str] = if transport == "tls" { &["--tls"] } else { &[] };
            let more = if transport == "tls" { TLS_LOADS } else { &[] };
            for loads in [FRONT_END_LOADS, PRESENCE_LOADS, more] {
                if !loads.is_empty() {
                    self.front_end(transport, tls, loads)?;
                }
            }
        }
        self.edge()?;
        // A process writes what it counted when it ends, and says nothing where it cannot.
        if fs::read_dir(counts)?.next().is_none() {
            bail!("the servers counted nothing: {} is empty", counts.display());
        }
        Ok(())
    }

    fn front_end(&self, transport: &str, options: &[&str], loads: &[&str]) -> anyhow::Result<()> {
        self.served("peer", options, |ready| {
            let port =
                ready[transport].as_u64().with_context(|| format!("no port of {transport}: {ready}"))?;
            for load in loads {
                self.load(load, &["--proto", transport, "--port", &port.to_string()])?;
            }
            Ok(())
        })
    }

    fn edge(&self) -> anyhow::Result<()> {
        let certs = self.work.join("certs");
        let certs = certs.to_str().context("the path of the target folder is not UTF-8")?;
        self.served("perimeter", &["--certs", certs], |ready| {
            let places = ["inside", "outside", "front", "partner", "certs"].map(|name| {
                let place = ready[name].as_str().with_context(|| format!("no `{name}`: {ready}"));
                place.map(|place| [format!("--{name}"), place.to_owned()])
            });
            let mut options =
                vec!["--proto".to_owned(), "tls".to_owned(), "--port".to_owned(), "5061".to_owned()];
            for place in places {
                options.extend(place?);
            }
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            EDGE_LOADS.iter().try_for_each(|load| self.load(load, &options))
        })
    }

    /// Starts a server, uses it, and stops it in any case.
    fn served(
        &self,
        script: &str,
        options: &[&str],
        work: impl FnOnce(&Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let folder = self.work.join(script);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let command = |verb: &str| {
            let mut command = Command::new(self.folder.join(script));
            command.arg(verb).arg(&folder).env("CHANCERY_BIN", self.server);
            command
        };
        let ready = shell::output(command("start").args(options))?;
        let worked = serde_json::from_str(&ready)
            .with_context(|| format!("`{script} start` printed no JSON"))
            .and_then(|ready| work(&ready));
        let stopped = shell::run(&mut command("stop"));
        worked.and(stopped)
    }

    fn load(&self, load: &str, options: &[&str]) -> anyhow::Result<()> {
        let program = self.folder.join("loadgen/target/release/sipload");
        let mut command = Command::new(program);
        command.args(load.split(' ')).args(options);
        eprintln!("xtask dist: {}", shell::show(&command));
        // Its figures are of no use: a server that counts is slow.
        shell::output(&mut command).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_says_for_whom_it_builds_and_with_what() {
        let said = "rustc 1.95.0\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        let compiler = Compiler::of(said).expect("all is there");
        assert_eq!(
            (compiler.host.as_str(), compiler.llvm_major.as_str()),
            ("x86_64-unknown-linux-gnu", "22")
        );
        let error = Compiler::of("rustc 1.95.0\n").err().expect("nothing is there");
        assert!(error.to_string().contains("LLVM version"), "{error}");
    }

    #[test]
    fn what_it_does_not_know_is_refused() {
        let read =
            |arguments: &[&str]| Wishes::read(&arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&[]).ok(), Some(Wishes { install: true, cpu: None }));
        let both = Wishes { install: false, cpu: Some("x86-64".to_owned()) };
        assert_eq!(read(&["--cpu", "x86-64", "--no-install"]).ok(), Some(both));
        for wrong in [&["--fast"][..], &["--cpu"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
