//! Active Directory's notifications of changes ([MS-ADTS] 3.1.1.3.4.1.9): a connection on which a search never ends. What comes is a hint
//! to look for changes now, and no more: without it they are found by looking now and then.

use std::time::Duration;

use directory_source::Event;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, trace};

use crate::error::Error;
use crate::facts;
use crate::search::subtree;
use crate::source::SourceConfig;
use crate::wire::{Control, Filter, Request, ResponseOperation};

/// Between two hints: a directory of 100,000 changes all the time.
const HINT_PAUSE: Duration = Duration::from_secs(1);
/// Before a connection that broke is opened again.
const RETRY_PAUSE: Duration = Duration::from_mins(1);
/// A connection on which nothing comes is opened anew after so long: a firewall may have forgotten it without a word.
const SILENCE_MAX: Duration = Duration::from_mins(10);

/// Listens until it is dropped.
pub(crate) struct Listening {
    worker: AbortHandle,
}

impl Listening {
    pub(crate) fn start(config: SourceConfig, events: mpsc::Sender<Event>) -> Listening {
        let worker = tokio::spawn(async move {
            loop {
                match listen(&config, &events).await {
                    Ok(()) => trace!("notifications were silent"),
                    Err(error) => {
                        debug!(%error, "no notifications of the directory");
                        sleep(RETRY_PAUSE).await;
                    }
                }
                if events.is_closed() {
                    return;
                }
            }
        });
        Listening { worker: worker.abort_handle() }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

/// Listens at one server, until it fails or is silent.
async fn listen(config: &SourceConfig, events: &mpsc::Sender<Event>) -> Result<(), Error> {
    let mut connection = config.locator.connect().await?;
    config.locator.sign_in(&config.account, &mut connection).await?;
    let known = facts::known(&mut connection, config.kind, None).await?;
    // No other filter is allowed, and no limits.
    let mut search = subtree(&known.root, Filter::everything(), vec!["objectGUID".to_owned()]);
    search.time_limit_seconds = 0;
    let id = connection.send(&Request::Search(&search), &[Control::notification()]).await?;
    while let Ok(response) = timeout(SILENCE_MAX, connection.receive(id)).await {
        match response?.operation {
            ResponseOperation::Entry(_) => {}
            ResponseOperation::Done(outcome) => {
                return Err(connection.refused("listening for changes", outcome));
            }
            _ => continue,
        }
        // Where events wait to be taken the replicator is at work, and looks again without a hint.
        if let Err(mpsc::error::TrySendError::Closed(_)) = events.try_send(Event::Hint) {
            return Ok(());
        }
        sleep(HINT_PAUSE).await;
    }
    Ok(())
}
