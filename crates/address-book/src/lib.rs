//! The role Address Book Service: the organisation's directory as clients read it.
//!
//! ```text
//!   rows of objects ──► Book ──► versions: the whole book and deltas          edition
//!   (records)             ├────► search                                       search, index, fold
//!                         ├────► managers, reports, members, groups           organisation
//!                         ├────► vCards, CardDAV (read only)                  vcard, dav
//!                         └────► photos: which one, and in which size         photo
//! ```
//!
//! [`Book::apply`] takes rows as storage keeps them, [`Book::handle`] takes requests of people who are signed in and gives a
//! [`Reply`]. What takes long is not done there: [`Work::run`] and [`PhotoRequest::answer`] need the book no more, so that a lock on it
//! is held for milliseconds.
//!
//! What it is not: it opens nothing, asks no clock, signs nobody in, and stores nothing. A restart reads the rows again; versions
//! are revisions of storage, and mean the same afterwards.
//!
//! Visibility is decided once, where an object becomes an entry ([`Entry::of`]): everything behind sees two books, one for everyone and one for
//! administrators ([`Audience`]), and cannot show what an entry does not hold.

mod book;
mod dav;
mod edition;
mod entry;
mod fold;
mod http;
mod index;
mod organisation;
mod photo;
mod search;
mod settings;
#[cfg(test)]
mod tests;
mod vcard;

pub use book::{Book, Version, VersionError};
pub use entry::{Entry, EntryId, NameError, PhotoName};
pub use http::{Reply, Viewer, Work};
pub use organisation::{Listing, ListingError, MANAGERS_MAX};
pub use photo::{PHOTO_OCTETS_MAX, PhotoError, PhotoRequest, PhotoSize, resized};
pub use search::{PAGE_DEFAULT, PAGE_MAX, Page, QUERY_CHARACTERS_MAX, QUERY_WORDS_MAX, Query, QueryError};
pub use settings::{Attribute, Audience, BookSettings, KEEP_DAYS_DEFAULT, Visibility};
