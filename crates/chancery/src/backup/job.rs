//! A backup that the running server makes, beside its work.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use anyhow::{Context, bail};
use tokio::sync::oneshot;

use super::take::{Taken, take};

/// Where backups are asked for. One at a time is made.
pub(crate) struct Desk {
    data_dir: PathBuf,
    is_busy: Rc<Cell<bool>>,
}

/// A backup under way, on a thread of its own. It is given up where this is dropped.
pub(crate) struct Job {
    state: Arc<State>,
    done: oneshot::Receiver<anyhow::Result<Taken>>,
    is_busy: Rc<Cell<bool>>,
    /// Nothing is sent: the thread sees that it is gone.
    _wanted: mpsc::Sender<()>,
}

#[derive(Default)]
struct State {
    done: AtomicU64,
    total: AtomicU64,
}

impl Desk {
    /// For this data folder.
    pub(crate) fn new(data_dir: PathBuf) -> Desk {
        Desk { data_dir, is_busy: Rc::default() }
    }

    /// Begins one.
    pub(crate) fn begin(&self, to: Option<PathBuf>) -> anyhow::Result<Job> {
        if self.is_busy.get() {
            bail!("a backup is under way\n  help: wait until it is done");
        }
        let state = Arc::<State>::default();
        let (sender, done) = oneshot::channel();
        let (wanted, given_up) = mpsc::channel();
        let (watched, data_dir) = (Arc::clone(&state), self.data_dir.clone());
        let work = move || {
            let mut began = Instant::now();
            let taken = take(&data_dir, to.as_deref(), &mut |progress| {
                watched.done.store(progress.done, Relaxed);
                watched.total.store(progress.total, Relaxed);
                // As long as the step took: half of the time is left to the messages.
                let waited = given_up.recv_timeout(began.elapsed());
                began = Instant::now();
                match waited {
                    Err(RecvTimeoutError::Timeout) => ControlFlow::Continue(()),
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => ControlFlow::Break(()),
                }
            });
            // Nobody waits for one that was given up.
            drop(sender.send(taken));
        };
        std::thread::Builder::new().name("backup".to_owned()).spawn(work).context("no thread can be made")?;
        self.is_busy.set(true);
        Ok(Job { state, done, is_busy: Rc::clone(&self.is_busy), _wanted: wanted })
    }
}

impl Job {
    /// Octets that are copied, and octets in all; first of the copy, then of its proof.
    pub(crate) fn progress(&self) -> (u64, u64) {
        (self.state.done.load(Relaxed), self.state.total.load(Relaxed))
    }

    /// Waits for its end.
    pub(crate) async fn taken(&mut self) -> anyhow::Result<Taken> {
        (&mut self.done).await.unwrap_or_else(|_| bail!("the backup panicked; the server's log says more"))
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.is_busy.set(false);
    }
}
