//! Where things are: the configuration, and the control socket of the running server.

use std::path::{Path, PathBuf};

use crate::cli::{RestoreArguments, ServerArguments};
use crate::config::{CONTROL_SOCKET, FILE_NAME, SYSTEM_FILE, Settings};
use crate::exit::{Exit, Failure};

/// The data folder of a demo, and of a new configuration, below its folder.
pub(crate) const DATA_DIR: &str = "data";
/// The database's file in the data folder.
pub(crate) const DATABASE: &str = "chancery.db";
/// Backups for which no other place was named, in the data folder.
pub(crate) const BACKUPS: &str = "backups";

/// The configuration that was named, else ./chancery.toml, else the system's.
pub(crate) fn config_file(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(file) = given {
        return Ok(file.to_owned());
    }
    let candidates = [Path::new(FILE_NAME), Path::new(SYSTEM_FILE)];
    candidates.iter().find(|file| file.exists()).map(|file| (*file).to_owned()).ok_or_else(|| {
        Failure::text(
            Exit::Configuration,
            format!(
                "there is no configuration: neither ./{FILE_NAME} nor {SYSTEM_FILE}\n  help: `chancery init` writes one; \
                 `--config FILE` names another"
            ),
        )
    })
}

/// The control socket of the running server.
pub(crate) fn control_socket(server: &ServerArguments) -> Result<PathBuf, Failure> {
    if let Some(socket) = &server.socket {
        return Ok(socket.clone());
    }
    if let Some(dir) = &server.dir {
        let config = dir.join(FILE_NAME);
        return match config.exists() {
            true => Ok(Settings::load(&config)?.control_socket),
            false => Ok(dir.join(DATA_DIR).join(CONTROL_SOCKET)),
        };
    }
    let file = config_file(server.config.as_deref()).map_err(|failure| {
        Failure::text(
            Exit::NoServer,
            format!("{failure}\n        `--dir DIR` finds the server of `chancery demo --dir DIR`"),
        )
    })?;
    Ok(Settings::load(&file)?.control_socket)
}

/// The data folder of the server; `None` where only its socket was named.
pub(crate) fn data_dir(server: &ServerArguments) -> Result<Option<PathBuf>, Failure> {
    match server.socket {
        Some(_) => Ok(None),
        None => data_dir_of(server.config.as_deref(), server.dir.as_deref()).map(Some),
    }
}

/// The data folder that a backup is restored to.
pub(crate) fn restored_data_dir(arguments: &RestoreArguments) -> Result<PathBuf, Failure> {
    data_dir_of(arguments.config.as_deref(), arguments.dir.as_deref())
}

fn data_dir_of(config: Option<&Path>, dir: Option<&Path>) -> Result<PathBuf, Failure> {
    let file = match dir {
        Some(dir) if dir.join(FILE_NAME).exists() => dir.join(FILE_NAME),
        Some(dir) => return Ok(dir.join(DATA_DIR)),
        None => config_file(config)?,
    };
    Ok(Settings::load(&file)?.data_dir)
}
