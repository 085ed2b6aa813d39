//! A look at the directory as an administrator wants it before anything relies on it: who lets us in, what the account may.

use directory_source::{Selection, ServerFacts, Watermark};

use crate::changes::Following;
use crate::error::Error;
use crate::reading::take;
use crate::search::{Pages, base, id_attribute, id_of, read_one, subtree};
use crate::source::{Session, SourceConfig, introduce};
use crate::wire::{Filter, RawEntry};

/// A connection on which the reading account is signed in.
pub struct Examination {
    session: Session,
}

impl Examination {
    /// Finds a server, connects and signs in, once: a refused account is tried nowhere else.
    pub async fn begin(config: &SourceConfig) -> Result<Examination, Error> {
        let mut connection = config.locator.connect().await?;
        let known = introduce(config, &mut connection).await?;
        Ok(Examination { session: Session { connection, known } })
    }

    /// What the server says of itself.
    pub fn facts(&self) -> &ServerFacts {
        &self.session.known.facts
    }

    /// Whether deletions show in changes. Elsewhere than in Active Directory they never do, and are found by comparing.
    pub fn sees_deleted(&self) -> bool {
        self.session.known.sees_deleted
    }

    /// How changes will be found: the way that the account may go.
    pub async fn way(&mut self, selection: &Selection) -> Result<Watermark, Error> {
        Following::default().mark(&mut self.session, selection).await
    }

    /// Whether there is an entry of this name that the account may read.
    pub async fn has(&mut self, dn: &str) -> Result<bool, Error> {
        let search = base(dn, &["objectClass"]);
        let found = read_one(&mut self.session.connection, "reading an entry", &search, &[]).await?;
        Ok(found.is_some())
    }

    /// Of the people on the first page: how many there are, and of how many the account cannot read an attribute that all have.
    pub async fn unreadable(&mut self, attribute: &str) -> Result<(usize, usize), Error> {
        let kind = self.session.known.facts.kind;
        let names = vec![id_attribute(kind).to_owned(), attribute.to_owned()];
        let people = Filter::And(vec![
            Filter::equal("objectClass", "user"),
            Filter::Not(Box::new(Filter::equal("objectClass", "computer"))),
        ]);
        let pages = Pages::new(subtree(&self.session.known.facts.base, people, names), Vec::new());
        let (mut seen, mut unreadable) = (0, 0);
        if let Some(mut running) = pages.begin(&mut self.session.connection, "reading people").await? {
            let each = |entry: RawEntry| {
                seen += usize::from(id_of(kind, &entry).is_some());
                unreadable += usize::from(entry.values(attribute).is_empty());
            };
            take(&mut running, each).await?;
        }
        Ok((seen, unreadable))
    }

    /// The server's clock, in seconds since 1970, where it tells it (`currentTime` of Active Directory's root DSE).
    pub async fn clock(&mut self) -> Result<Option<i64>, Error> {
        let search = base("", &["currentTime"]);
        let root = read_one(&mut self.session.connection, "reading the root DSE", &search, &[]).await?;
        Ok(root.and_then(|root| seconds(root.text("currentTime")?)))
    }

    /// Ends the connection in order.
    pub async fn end(self) {
        self.session.connection.close().await;
    }
}

/// `20261122151432.0Z` (RFC 4517 §3.3.13), as far as servers write it.
fn seconds(text: &str) -> Option<i64> {
    let digits = text.strip_suffix('Z')?.split('.').next()?;
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", digits).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_clock_is_read() {
        assert_eq!(seconds("19700102000001.0Z"), Some(86_401));
        assert_eq!(seconds("19700101000000Z"), Some(0));
        for wrong in ["", "Z", "19701301000000Z", "20261122151432.0", "now"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
