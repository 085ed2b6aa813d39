//! How storage's answers come back from its thread.

use node::store::{Completion, CompletionSink};
use tokio::sync::mpsc;

/// Makes the sink that a storage is opened with, and the end that a driver reads. One batch wakes the driver once.
///
/// The channel has no bound of its own: it holds at most one completion for each submission, and storage bounds those.
pub fn completion_channel<R: Send + 'static>() -> (CompletionSink<R>, CompletionReceiver<R>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    // A driver that has stopped reads no more; there is nobody left to be told.
    let sink = Box::new(move |batch: Vec<Completion<R>>| drop(sender.send(batch)));
    (sink, CompletionReceiver { batches: receiver })
}

/// The driver's end of [`completion_channel`].
#[derive(Debug)]
pub struct CompletionReceiver<R> {
    pub(crate) batches: mpsc::UnboundedReceiver<Vec<Completion<R>>>,
}
