//! The log: tracing to standard error, as text or as JSON lines, with a level that can change while we run.

use anyhow::Context;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::LogFormat;

/// Overrides the configured level.
const LEVEL_VARIABLE: &str = "RUST_LOG";

/// Changes the level of a log that was started.
pub(crate) struct LevelHandle {
    handle: reload::Handle<EnvFilter, Registry>,
}

/// Starts the log of this process; once.
pub(crate) fn start(level: &str, format: LogFormat) -> anyhow::Result<LevelHandle> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        // The journal and containers strip colours badly; people who pipe the log do not want them either.
        LogFormat::Text => lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
        LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .context("the log was started twice")?;
    log_panics();
    Ok(LevelHandle { handle })
}

impl LevelHandle {
    /// Takes over another level; `RUST_LOG` still overrides it.
    pub(crate) fn set(&self, level: &str) -> anyhow::Result<()> {
        self.handle.reload(filter(level)?).context("the log is gone")
    }
}

/// Whether a level could be taken over.
pub(crate) fn check(level: &str) -> anyhow::Result<()> {
    filter(level).map(drop)
}

fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let text = match std::env::var(LEVEL_VARIABLE) {
        Ok(text) if !text.is_empty() => text,
        Ok(_) | Err(_) => level.to_owned(),
    };
    EnvFilter::builder().parse(&text).with_context(|| format!("{text:?} is no log filter ({LEVEL_VARIABLE})"))
}

/// A panic is a broken invariant of ours: it must stand in the log that operators collect, not only on a terminal.
fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("a panic without a message");
        tracing::error!(event = "panic", location, "{message}");
        before(info);
    }));
}
