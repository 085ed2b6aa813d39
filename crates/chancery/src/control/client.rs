//! The asking side.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::protocol::{ANSWER_OCTETS_MAX, AnswerLine, CallLine, Request};
use super::socket::ShortPath;
use crate::exit::{Exit, Failure};

/// How long an answer may take: a commit on a slow disk, behind a queue of others.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to the running server.
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    socket: PathBuf,
}

impl Client {
    pub(crate) fn connect(socket: &Path) -> Result<Client, Failure> {
        let connected = ShortPath::of(socket).and_then(|short| UnixStream::connect(short.as_path()));
        let stream = connected.map_err(|error| no_server(socket, &error))?;
        stream
            .set_read_timeout(Some(ANSWER_TIMEOUT))
            .and_then(|()| stream.set_write_timeout(Some(ANSWER_TIMEOUT)))
            .context("cannot prepare the control connection")?;
        Ok(Client { stream: BufReader::new(stream), socket: socket.to_owned() })
    }

    /// Asks and waits for the answer. A refusal is an answer.
    pub(crate) fn ask(&mut self, call: CallLine) -> Result<AnswerLine, Failure> {
        self.exchange(call).map_err(|error| self.gave_none(error))
    }

    /// Asks for something long, and hears how far it is.
    pub(crate) fn ask_long(
        &mut self,
        call: CallLine,
        mut progress: impl FnMut(&AnswerLine),
    ) -> Result<AnswerLine, Failure> {
        let mut answer = self.ask(call)?;
        while matches!(answer, AnswerLine::Progress { .. } | AnswerLine::Replicating { .. }) {
            progress(&answer);
            answer = self.next_answer().map_err(|error| self.gave_none(error))?;
        }
        Ok(answer)
    }

    fn gave_none(&self, error: anyhow::Error) -> Failure {
        let socket = self.socket.display().to_string();
        Failure::new(Exit::NoServer, error.context(format!("the server at {socket} gave no answer")))
    }

    fn exchange(&mut self, call: CallLine) -> anyhow::Result<AnswerLine> {
        let mut line = serde_json::to_vec(&Request::new(call))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        self.next_answer()
    }

    fn next_answer(&mut self) -> anyhow::Result<AnswerLine> {
        let mut answer = Vec::new();
        (&mut self.stream).take(ANSWER_OCTETS_MAX as u64).read_until(b'\n', &mut answer)?;
        if answer.last() != Some(&b'\n') {
            return Err(anyhow!("it closed the connection after {} octets", answer.len()));
        }
        serde_json::from_slice(&answer).context("it speaks another protocol")
    }
}

fn no_server(socket: &Path, error: &std::io::Error) -> Failure {
    let socket = socket.display();
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => Failure::text(
            Exit::NoServer,
            format!(
                "the control socket {socket} cannot be opened: {error}\n  help: run this as the account of the server, \
                 or with sudo"
            ),
        ),
        _ => Failure::text(
            Exit::NoServer,
            format!(
                "no server is running at {socket}: {error}\n  help: start it with `chancery serve --config FILE` or \
                 `chancery demo`;\n        `--config FILE`, `--dir DIR` or `--socket PATH` names another one"
            ),
        ),
    }
}
