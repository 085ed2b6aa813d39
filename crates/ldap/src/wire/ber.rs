//! The encoding of LDAP's messages: the part of BER that RFC 4511 §5.1 leaves (definite lengths, tags of one octet).
//!
//! Reading is lazy: nothing is read deeper than somebody asks, so that no nesting, however deep, costs stack or memory.

/// A tag of one octet: class, whether it is constructed, number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag(pub u8);

impl Tag {
    /// BOOLEAN.
    pub const BOOLEAN: Tag = Tag(0x01);
    /// INTEGER.
    pub const INTEGER: Tag = Tag(0x02);
    /// OCTET STRING; all of LDAP's strings are.
    pub const OCTETS: Tag = Tag(0x04);
    /// ENUMERATED.
    pub const ENUMERATED: Tag = Tag(0x0a);
    /// SEQUENCE and SEQUENCE OF.
    pub const SEQUENCE: Tag = Tag(0x30);
    /// SET OF.
    pub const SET: Tag = Tag(0x31);

    /// `[number]`, primitive.
    pub const fn context(number: u8) -> Tag {
        Tag(0x80 | number)
    }

    /// `[number]`, constructed.
    pub const fn context_constructed(number: u8) -> Tag {
        Tag(0xa0 | number)
    }

    /// `[APPLICATION number]`, primitive.
    pub const fn application(number: u8) -> Tag {
        Tag(0x40 | number)
    }

    /// `[APPLICATION number]`, constructed.
    pub const fn application_constructed(number: u8) -> Tag {
        Tag(0x60 | number)
    }
}

/// The number of the low five bits that announces a tag of several octets, which LDAP has none of.
const LONG_TAG: u8 = 0x1f;
/// Octets of a length that are read: more than four would be beyond any limit of ours.
const LENGTH_OCTETS_MAX: usize = 4;
/// Octets of an INTEGER that are read.
const INTEGER_OCTETS_MAX: usize = 8;

/// The octets are no LDAP, whatever they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed: {0}")]
pub struct Malformed(pub &'static str);

/// Looks for a whole element at the start of a stream. Its length with tag and length octets, or `None` while less has come than
/// it takes to know. The element itself may not have come as a whole.
pub fn frame_octets(octets: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some((tag, rest)) = octets.split_first() else { return Ok(None) };
    if tag & LONG_TAG == LONG_TAG {
        return Err(Malformed("a tag of several octets"));
    }
    Ok(length(rest)?.map(|(length, header)| 1 + header + length))
}

/// The length at the start, and the octets that it takes. `None`: it is not whole.
fn length(octets: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let Some((&first, rest)) = octets.split_first() else { return Ok(None) };
    if first < 0x80 {
        return Ok(Some((usize::from(first), 1)));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > LENGTH_OCTETS_MAX {
        return Err(Malformed("a length that is indefinite, or of too many octets"));
    }
    let Some(octets) = rest.get(..count) else { return Ok(None) };
    let length = octets.iter().fold(0_usize, |length, octet| length << 8 | usize::from(*octet));
    Ok(Some((length, 1 + count)))
}

/// Reads elements one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Of the elements that these octets are.
    pub fn new(octets: &'a [u8]) -> Reader<'a> {
        Reader { rest: octets }
    }

    /// The next element.
    pub fn element(&mut self) -> Result<(Tag, &'a [u8]), Malformed> {
        let (&tag, rest) = self.rest.split_first().ok_or(Malformed("an element is missing"))?;
        if tag & LONG_TAG == LONG_TAG {
            return Err(Malformed("a tag of several octets"));
        }
        let (length, header) = length(rest)?.ok_or(Malformed("a length is cut off"))?;
        let content = rest[header..].get(..length).ok_or(Malformed("an element is cut off"))?;
        self.rest = &rest[header + length..];
        Ok((Tag(tag), content))
    }

    /// The content of the next element, which must have this tag.
    pub fn expect(&mut self, tag: Tag) -> Result<&'a [u8], Malformed> {
        match self.element()? {
            (found, content) if found == tag => Ok(content),
            _ => Err(Malformed("another element was expected")),
        }
    }

    /// The content of the next element if it has this tag; else nothing is read.
    pub fn optional(&mut self, tag: Tag) -> Result<Option<&'a [u8]>, Malformed> {
        match self.rest.first() {
            Some(&first) if Tag(first) == tag => self.expect(tag).map(Some),
            _ => Ok(None),
        }
    }

    /// The elements within the next one, which must have this tag.
    pub fn within(&mut self, tag: Tag) -> Result<Reader<'a>, Malformed> {
        self.expect(tag).map(Reader::new)
    }

    /// An OCTET STRING.
    pub fn octets(&mut self) -> Result<&'a [u8], Malformed> {
        self.expect(Tag::OCTETS)
    }

    /// An OCTET STRING of UTF-8.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        text(self.octets()?)
    }

    /// An INTEGER.
    pub fn integer(&mut self) -> Result<i64, Malformed> {
        integer(self.expect(Tag::INTEGER)?)
    }

    /// An ENUMERATED.
    pub fn enumerated(&mut self) -> Result<i64, Malformed> {
        integer(self.expect(Tag::ENUMERATED)?)
    }

    /// A BOOLEAN; whatever is not 0 is true, as in BER.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.expect(Tag::BOOLEAN)? {
            [octet] => Ok(*octet != 0),
            _ => Err(Malformed("a BOOLEAN has one octet")),
        }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Octets as text.
pub fn text(octets: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(octets).map_err(|_| Malformed("a text is no UTF-8"))
}

fn integer(octets: &[u8]) -> Result<i64, Malformed> {
    let first = *octets.first().ok_or(Malformed("an INTEGER has at least one octet"))?;
    if octets.len() > INTEGER_OCTETS_MAX {
        return Err(Malformed("an INTEGER of too many octets"));
    }
    let sign = if first & 0x80 == 0 { 0 } else { -1 };
    Ok(octets.iter().fold(sign, |value, octet| value << 8 | i64::from(*octet)))
}

/// Writes elements one after the other.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Writer {
    octets: Vec<u8>,
}

impl Writer {
    /// Nothing yet.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// An element with this content.
    pub fn element(&mut self, tag: Tag, content: &[u8]) -> &mut Writer {
        self.octets.push(tag.0);
        let (length, count) = encoded_length(content.len());
        self.octets.extend_from_slice(&length[..count]);
        self.octets.extend_from_slice(content);
        self
    }

    /// An element whose content is what `inside` writes.
    pub fn constructed(&mut self, tag: Tag, inside: impl FnOnce(&mut Writer)) -> &mut Writer {
        self.octets.push(tag.0);
        let start = self.octets.len();
        inside(self);
        let (length, count) = encoded_length(self.octets.len() - start);
        self.octets.splice(start..start, length[..count].iter().copied());
        self
    }

    /// A SEQUENCE of what `inside` writes.
    pub fn sequence(&mut self, inside: impl FnOnce(&mut Writer)) -> &mut Writer {
        self.constructed(Tag::SEQUENCE, inside)
    }

    /// An OCTET STRING.
    pub fn octets(&mut self, octets: impl AsRef<[u8]>) -> &mut Writer {
        self.element(Tag::OCTETS, octets.as_ref())
    }

    /// An INTEGER.
    pub fn integer(&mut self, value: i64) -> &mut Writer {
        self.signed(Tag::INTEGER, value)
    }

    /// An ENUMERATED.
    pub fn enumerated(&mut self, value: i64) -> &mut Writer {
        self.signed(Tag::ENUMERATED, value)
    }

    /// A BOOLEAN.
    pub fn boolean(&mut self, value: bool) -> &mut Writer {
        self.tagged_boolean(Tag::BOOLEAN, value)
    }

    /// A BOOLEAN under a tag of its own; true is 0xff (RFC 4511 §5.1).
    pub fn tagged_boolean(&mut self, tag: Tag, value: bool) -> &mut Writer {
        self.element(tag, &[if value { 0xff } else { 0 }])
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.octets
    }

    /// In as few octets as the value takes.
    fn signed(&mut self, tag: Tag, value: i64) -> &mut Writer {
        let octets = value.to_be_bytes();
        let redundant = octets
            .windows(2)
            .take_while(|pair| {
                matches!(pair, [0, next] if next & 0x80 == 0)
                    || matches!(pair, [0xff, next] if next & 0x80 != 0)
            })
            .count();
        self.element(tag, &octets[redundant..])
    }
}

/// The length octets, of which only so many count.
fn encoded_length(length: usize) -> ([u8; 1 + LENGTH_OCTETS_MAX], usize) {
    let mut octets = [0; 1 + LENGTH_OCTETS_MAX];
    if let Ok(short @ ..0x80) = u8::try_from(length) {
        octets[0] = short;
        return (octets, 1);
    }
    let length = u32::try_from(length).expect("what we write is far below 4 GiB").to_be_bytes();
    let skipped = length.iter().take_while(|octet| **octet == 0).count();
    let count = length.len() - skipped;
    octets[0] = 0x80 | u8::try_from(count).expect("there are four at most");
    octets[1..=count].copy_from_slice(&length[skipped..]);
    (octets, 1 + count)
}
