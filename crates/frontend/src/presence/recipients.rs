//! The list that a SUBSCRIBE brings along (RFC 5367): found, unpacked, read.

use std::borrow::Cow;

use directory::SipAddress;
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};
use presence::lists::{self, Contact, ListsError};
use presence::xml::XmlError;
use presence::{address_of_uri, uri_of_address};
use sip_message::{HeaderId, Message};

use crate::pipeline::Refusal;

/// The media type of a list in a SUBSCRIBE (RFC 4826 §3.4).
const RESOURCE_LISTS: &str = lists::CONTENT_TYPE;

/// A member of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// As written for somebody elsewhere, as the address says where it can be read.
    pub(crate) uri: Box<str>,
    pub(crate) address: Option<SipAddress>,
}

impl Member {
    pub(crate) fn of_uri(uri: &str) -> Member {
        Member { uri: uri.into(), address: address_of_uri(uri) }
    }
}

/// The list that a SUBSCRIBE brings along (RFC 5367 §4), alone or as a part among others.
pub(crate) fn given_list(message: &Message) -> Result<Option<Vec<Member>>, Refusal> {
    if message.body().is_empty() {
        return Ok(None);
    }
    let content_type = message.header(HeaderId::ContentType).unwrap_or_default();
    let content_type = std::str::from_utf8(content_type).unwrap_or_default();
    let body = decoded(message)?;
    let Some(content) = list_part(content_type, &body, 0) else {
        let refusal = Refusal::new(415, "a body that holds no list of recipients");
        return Err(refusal.with(HeaderId::Accept, RESOURCE_LISTS));
    };
    let lists = lists::Lists::read_recipients(content).map_err(|error| match error {
        ListsError::Xml(XmlError::TooLarge(_)) | ListsError::TooManyContacts | ListsError::TooManyGroups => {
            Refusal::new(413, "a list that is too long")
        }
        _ => Refusal::new(400, "a list that cannot be read"),
    })?;
    Ok(Some(members(lists.entries())))
}

/// The body as it was before it was compressed.
///
/// COMPAT: liblinphone 5 compresses the list that it brings along, without having been told that it may.
fn decoded(message: &Message) -> Result<Cow<'_, [u8]>, Refusal> {
    let Some(encoding) = message.header(HeaderId::ContentEncoding) else {
        return Ok(Cow::Borrowed(message.body()));
    };
    if !encoding.eq_ignore_ascii_case(b"deflate") {
        return Err(Refusal::new(415, "a list in an encoding that is not known here")
            .with(HeaderId::AcceptEncoding, "deflate, identity"));
    }
    let inflated = decompress_to_vec_zlib_with_limit(message.body(), lists::BOUNDS.octets_max);
    inflated.map(Cow::Owned).map_err(|error| match error.status {
        TINFLStatus::HasMoreOutput => Refusal::new(413, "a list that is too long"),
        _ => Refusal::new(400, "a body that is not compressed as it says"),
    })
}

/// Lists within lists of parts that are looked into.
const PARTS_DEPTH_MAX: usize = 2;

fn list_part<'a>(content_type: &str, content: &'a [u8], depth: usize) -> Option<&'a [u8]> {
    let (media_type, params) = content_type.split_at(content_type.find(';').unwrap_or(content_type.len()));
    if media_type.trim().eq_ignore_ascii_case(RESOURCE_LISTS) {
        return Some(content);
    }
    let is_multipart = media_type.trim().to_ascii_lowercase().starts_with("multipart/");
    if !is_multipart || depth == PARTS_DEPTH_MAX {
        return None;
    }
    let boundary = sip_message::Params { text: params }.get_unquoted("boundary")?;
    let delimiter = format!("--{boundary}");
    split(content, delimiter.as_bytes()).skip(1).find_map(|part| {
        let part = part.strip_prefix(b"\r\n")?;
        let end = part.windows(4).position(|octets| octets == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&part[..end]).ok()?;
        let body = part[end + 4..].strip_suffix(b"\r\n").unwrap_or(&part[end + 4..]);
        let content_type = head.split("\r\n").find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("Content-Type").then(|| value.trim())
        })?;
        list_part(content_type, body, depth + 1)
    })
}

fn split<'a>(mut rest: &'a [u8], delimiter: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let at = rest.windows(delimiter.len()).position(|octets| octets == delimiter);
        let part = &rest[..at.unwrap_or(rest.len())];
        match at {
            Some(at) => rest = &rest[at + delimiter.len()..],
            None => is_over = true,
        }
        Some(part)
    })
}

/// Contacts as members.
pub(super) fn members(contacts: Vec<&Contact>) -> Vec<Member> {
    let member = |contact: &Contact| {
        let uri = contact.address.as_ref().map_or_else(|| contact.uri.clone(), |a| uri_of_address(a).into());
        Member { uri, address: contact.address.clone() }
    };
    contacts.into_iter().map(member).collect()
}
