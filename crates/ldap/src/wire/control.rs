//! Controls (RFC 4511 §4.1.11): pages (RFC 2696), and those of Active Directory ([MS-ADTS] 3.1.1.3.4.1).

use super::ber::{Malformed, Reader, Tag, Writer};

const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";
const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";
const NOTIFICATION: &str = "1.2.840.113556.1.4.528";
const DIRSYNC: &str = "1.2.840.113556.1.4.841";
const EXTENDED_DN: &str = "1.2.840.113556.1.4.529";

/// Octets of a server's cookie that are kept. DirSync's holds 24 octets for each server that ever was in the domain; pages have some
/// hundreds at most.
pub const COOKIE_OCTETS_MAX: usize = 256 * 1024;

/// A control as it is on the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Control {
    /// Its object identifier.
    pub name: String,
    /// Whether the request fails where the server does not know it.
    pub is_critical: bool,
    /// What it says.
    pub value: Option<Vec<u8>>,
}

/// What a server says of the rest of a search by pages.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// To be sent back for the next page; empty: there is none.
    pub cookie: Vec<u8>,
}

/// What a server says of a search with DirSync.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synced {
    /// More is waiting behind the cookie.
    pub has_more: bool,
    /// Where the next search goes on.
    pub cookie: Vec<u8>,
}

impl Control {
    /// What a root DSE's `supportedControl` lists where [`Control::dirsync`] is known.
    pub const DIRSYNC: &str = DIRSYNC;
    /// Likewise for [`Control::notification`].
    pub const NOTIFICATION: &str = NOTIFICATION;
    /// Likewise for [`Control::paged`].
    pub const PAGED: &str = PAGED_RESULTS;
    /// Likewise for [`Control::show_deleted`].
    pub const SHOW_DELETED: &str = SHOW_DELETED;
    /// Likewise for [`Control::extended_dn`].
    pub const EXTENDED_DN: &str = EXTENDED_DN;

    /// The next page of so many entries (RFC 2696 §2); the first has an empty cookie.
    pub fn paged(entries: u32, cookie: &[u8]) -> Control {
        let value = sequence(|body| {
            body.integer(i64::from(entries)).octets(cookie);
        });
        Control { name: PAGED_RESULTS.to_owned(), is_critical: true, value: Some(value) }
    }

    /// Deleted objects are found too.
    pub fn show_deleted() -> Control {
        Control { name: SHOW_DELETED.to_owned(), is_critical: true, value: None }
    }

    /// The search stays and reports changes as they happen.
    pub fn notification() -> Control {
        Control { name: NOTIFICATION.to_owned(), is_critical: true, value: None }
    }

    /// Names of other objects come as `<GUID=…>;<SID=…>;DN`, the GUID as text with dashes.
    pub fn extended_dn() -> Control {
        let value = sequence(|body| {
            body.integer(1);
        });
        Control { name: EXTENDED_DN.to_owned(), is_critical: true, value: Some(value) }
    }

    /// What changed since the cookie; an empty one begins. `octets` is how much the server should send at once.
    pub fn dirsync(flags: DirSyncFlags, octets: u32, cookie: &[u8]) -> Control {
        let value = sequence(|body| {
            // COMPAT: Active Directory reads 32 bits with a sign; the highest flag is the sign.
            body.integer(i64::from(flags.0.cast_signed())).integer(i64::from(octets)).octets(cookie);
        });
        Control { name: DIRSYNC.to_owned(), is_critical: true, value: Some(value) }
    }

    /// What this says of pages, if it speaks of them.
    pub fn as_page(&self) -> Option<Result<Page, Malformed>> {
        (self.name == PAGED_RESULTS).then(|| {
            let mut body = self.body()?;
            // An estimate of the whole, which nobody may rely on.
            body.integer()?;
            Ok(Page { cookie: cookie(&mut body)? })
        })
    }

    /// What this says of DirSync, if it speaks of it.
    pub fn as_synced(&self) -> Option<Result<Synced, Malformed>> {
        (self.name == DIRSYNC).then(|| {
            let mut body = self.body()?;
            let has_more = body.integer()? != 0;
            body.integer()?;
            Ok(Synced { has_more, cookie: cookie(&mut body)? })
        })
    }

    fn body(&self) -> Result<Reader<'_>, Malformed> {
        let value = self.value.as_deref().ok_or(Malformed("a control without its value"))?;
        Reader::new(value).within(Tag::SEQUENCE)
    }

    pub(super) fn write(&self, list: &mut Writer) {
        list.sequence(|control| {
            control.octets(&self.name);
            if self.is_critical {
                control.boolean(true);
            }
            if let Some(value) = &self.value {
                control.octets(value);
            }
        });
    }

    pub(super) fn read(list: &mut Reader<'_>) -> Result<Control, Malformed> {
        let mut control = list.within(Tag::SEQUENCE)?;
        let name = control.text()?.to_owned();
        let is_critical = match control.optional(Tag::BOOLEAN)? {
            Some(octets) => octets.iter().any(|octet| *octet != 0),
            None => false,
        };
        let value = control.optional(Tag::OCTETS)?.map(<[u8]>::to_vec);
        Ok(Control { name, is_critical, value })
    }
}

/// Flags of DirSync ([MS-ADTS] 3.1.1.3.4.1.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirSyncFlags(pub u32);

impl DirSyncFlags {
    /// What the account may read, instead of everything by the right to replicate.
    pub const OBJECT_SECURITY: DirSyncFlags = DirSyncFlags(0x0000_0001);
    /// Of attributes with many values only those that came or went.
    pub const INCREMENTAL_VALUES: DirSyncFlags = DirSyncFlags(0x8000_0000);

    /// These and those.
    pub fn with(self, other: DirSyncFlags) -> DirSyncFlags {
        DirSyncFlags(self.0 | other.0)
    }
}

fn sequence(inside: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.sequence(inside);
    writer.finish()
}

fn cookie(body: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    match body.octets()? {
        cookie if cookie.len() > COOKIE_OCTETS_MAX => Err(Malformed("a cookie of too many octets")),
        cookie => Ok(cookie.to_vec()),
    }
}
