//! A new configuration file, with every key explained.

use std::fmt::Write as _;

use node::Transport;

use super::keys::{SECTIONS, Section};

/// What a new file says that is not a default.
pub(crate) struct Filling {
    pub(crate) domains: Vec<String>,
    pub(crate) host: String,
    pub(crate) listeners: Vec<(Transport, String)>,
    /// Where HTTPS is served.
    pub(crate) https: Vec<String>,
    /// The data folder, where it is not the default.
    pub(crate) data_dir: Option<String>,
    /// The control socket, where it is not the default.
    pub(crate) control_socket: Option<String>,
    /// Name of the CA's file, where there is one.
    pub(crate) authority_file: Option<String>,
    /// Keys of `[directory]`, and their values as TOML.
    pub(crate) directory: Vec<(&'static str, String)>,
}

/// The text of a new `chancery.toml`: what is filled in stands as a setting, every default as a comment.
pub(crate) fn template(filling: &Filling) -> String {
    let mut text = String::from(
        "# Configuration of Chancery.\n\
         #\n\
         # Commented keys show their defaults. Paths count from the folder of this file. After a change:\n\
         #   chancery check --config THIS-FILE    proves it\n\
         #   chancery reload --config THIS-FILE   takes over what can change, and names what needs a restart\n",
    );
    for section in SECTIONS {
        text.push('\n');
        match section.name {
            "" => {}
            name if section.repeats => {
                comment(&mut text, section.doc);
                repeated(&mut text, name, section, filling);
                continue;
            }
            name => {
                comment(&mut text, section.doc);
                let _ = writeln!(text, "[{name}]");
            }
        }
        for key in section.keys {
            comment(&mut text, key.doc);
            match filled(section.name, key.name, filling) {
                Some(value) => {
                    let _ = writeln!(text, "{} = {value}", key.name);
                }
                None => {
                    let _ = writeln!(text, "# {} = {}", key.name, key.default);
                }
            }
        }
    }
    text
}

fn filled(section: &str, key: &str, filling: &Filling) -> Option<String> {
    match (section, key) {
        ("", "domains") => Some(format!("{:?}", filling.domains)),
        ("server", "host") => Some(format!("{:?}", filling.host)),
        ("server", "data_dir") => filling.data_dir.as_ref().map(|dir| format!("{dir:?}")),
        ("server", "control_socket") => filling.control_socket.as_ref().map(|path| format!("{path:?}")),
        ("https", "listen") if !filling.https.is_empty() => Some(format!("{:?}", filling.https)),
        ("directory", key) => {
            let said = filling.directory.iter().find(|(name, _)| *name == key);
            said.map(|(_, value)| value.clone())
        }
        ("tls", "authority_file") => filling.authority_file.as_ref().map(|file| format!("{file:?}")),
        _ => None,
    }
}

/// The keys are explained once, in front of the sections that repeat.
fn repeated(text: &mut String, name: &str, section: &Section, filling: &Filling) {
    for key in section.keys {
        comment(text, &format!("  {}: {}", key.name, key.doc.replace('\n', "\n    ")));
    }
    if name == "listener" {
        for (transport, address) in &filling.listeners {
            let _ = writeln!(text, "[[{name}]]\ntransport = {:?}\naddress = {address:?}\n", transport.name());
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
}

fn comment(text: &mut String, doc: &str) {
    for line in doc.lines() {
        let _ = writeln!(text, "# {line}");
    }
}
