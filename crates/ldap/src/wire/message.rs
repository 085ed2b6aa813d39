//! Messages (RFC 4511 §4): requests that we write, responses that we read.

use zeroize::Zeroizing;

use super::ber::{Malformed, Reader, Tag, Writer};
use super::{Control, Filter};

/// Attributes of one entry, and values of one attribute, that are read. A group of Active Directory shows 1,500 members a range; an
/// entry of OpenLDAP shows all of them at once.
pub const ATTRIBUTES_PER_ENTRY_MAX: usize = 2_000;
/// Values of one attribute that are read from one message.
pub const VALUES_PER_ATTRIBUTE_MAX: usize = 1_000_000;
/// Controls of one message that are read.
const CONTROLS_MAX: usize = 16;
/// URIs of one referral that are read; they are only ever shown.
const REFERRALS_MAX: usize = 8;

/// Which of our requests a message belongs to; 0 is the server's own word (RFC 4511 §4.4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MessageId(pub i32);

impl MessageId {
    /// Of a notification that answers no request.
    pub const UNSOLICITED: MessageId = MessageId(0);
}

/// How deep a search goes (RFC 4511 §4.5.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// The entry itself.
    Base,
    /// Its direct children.
    OneLevel,
    /// The entry and everything below.
    Subtree,
}

/// A search (RFC 4511 §4.5.1). Aliases are never followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Search {
    /// Where it starts: a DN, or what the server takes in its place (`<GUID=…>` in Active Directory).
    pub base: String,
    /// How deep it goes.
    pub scope: Scope,
    /// Which entries are wanted.
    pub filter: Filter,
    /// Which attributes are wanted; none: all that are no operational ones.
    pub attributes: Vec<String>,
    /// Entries at most; 0: what the server allows.
    pub size_limit: u32,
    /// Seconds at most; 0: what the server allows.
    pub time_limit_seconds: u32,
}

/// One change of an attribute (RFC 4511 §4.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Modification {
    /// What happens.
    pub operation: ModifyOperation,
    /// The attribute.
    pub attribute: String,
    /// The values it is about.
    pub values: Vec<Zeroizing<Vec<u8>>>,
}

/// What a [`Modification`] does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModifyOperation {
    /// Adds values.
    Add,
    /// Takes values away; all of them if none is named.
    Delete,
    /// Puts these values in the place of those that were there.
    Replace,
}

/// What we ask.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// Simple authentication (RFC 4513 §5.1.3).
    SimpleBind {
        /// A DN; Active Directory takes a user principal name and `DOMAIN\name` too.
        name: &'a str,
        /// Never empty: see [`crate::Password`].
        password: &'a [u8],
    },
    /// One step of SASL (RFC 4513 §5.2).
    SaslBind {
        /// Such as `GSSAPI`.
        mechanism: &'a str,
        /// What the mechanism says.
        credentials: Option<&'a [u8]>,
    },
    /// The end of the connection.
    Unbind,
    /// Reads entries.
    Search(&'a Search),
    /// Changes an entry.
    Modify {
        /// Which.
        dn: &'a str,
        /// How.
        modifications: &'a [Modification],
    },
    /// Gives up a request; nothing answers it.
    Abandon(MessageId),
    /// An extended operation (RFC 4511 §4.12).
    Extended {
        /// Its object identifier.
        name: &'a str,
        /// What it takes.
        value: Option<&'a [u8]>,
    },
}

impl Request<'_> {
    /// As a message. It is wiped when it is dropped: it may hold a password.
    pub fn write(&self, id: MessageId, controls: &[Control]) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::new();
        writer.sequence(|message| {
            message.integer(i64::from(id.0));
            self.operation(message);
            if !controls.is_empty() {
                message.constructed(Tag::context_constructed(0), |list| {
                    for control in controls {
                        control.write(list);
                    }
                });
            }
        });
        Zeroizing::new(writer.finish())
    }

    fn operation(&self, message: &mut Writer) {
        /// LDAP's version.
        const VERSION: i64 = 3;
        match self {
            Request::SimpleBind { name, password } => {
                message.constructed(Tag::application_constructed(0), |bind| {
                    bind.integer(VERSION).octets(name).element(Tag::context(0), password);
                });
            }
            Request::SaslBind { mechanism, credentials } => {
                message.constructed(Tag::application_constructed(0), |bind| {
                    bind.integer(VERSION).octets("").constructed(Tag::context_constructed(3), |sasl| {
                        sasl.octets(mechanism);
                        if let Some(credentials) = credentials {
                            sasl.octets(credentials);
                        }
                    });
                });
            }
            Request::Unbind => {
                message.element(Tag::application(2), &[]);
            }
            Request::Search(search) => {
                message.constructed(Tag::application_constructed(3), |body| search.write(body));
            }
            Request::Modify { dn, modifications } => {
                message.constructed(Tag::application_constructed(6), |body| {
                    body.octets(dn).sequence(|list| modifications.iter().for_each(|one| one.write(list)));
                });
            }
            Request::Abandon(id) => {
                let mut number = Writer::new();
                number.integer(i64::from(id.0));
                let encoded = number.finish();
                // The number without its own header: the tag is implicit.
                message.element(Tag::application(16), &encoded[2..]);
            }
            Request::Extended { name, value } => {
                message.constructed(Tag::application_constructed(23), |body| {
                    body.element(Tag::context(0), name.as_bytes());
                    if let Some(value) = value {
                        body.element(Tag::context(1), value);
                    }
                });
            }
        }
    }
}

impl Search {
    fn write(&self, body: &mut Writer) {
        /// `neverDerefAliases`.
        const NEVER: i64 = 0;
        let scope = match self.scope {
            Scope::Base => 0,
            Scope::OneLevel => 1,
            Scope::Subtree => 2,
        };
        body.octets(&self.base).enumerated(scope).enumerated(NEVER);
        body.integer(i64::from(self.size_limit)).integer(i64::from(self.time_limit_seconds)).boolean(false);
        self.filter.write(body);
        body.sequence(|list| {
            for attribute in &self.attributes {
                list.octets(attribute);
            }
        });
    }
}

impl Modification {
    fn write(&self, list: &mut Writer) {
        let operation = match self.operation {
            ModifyOperation::Add => 0,
            ModifyOperation::Delete => 1,
            ModifyOperation::Replace => 2,
        };
        list.sequence(|change| {
            change.enumerated(operation).sequence(|attribute| {
                attribute.octets(&self.attribute).constructed(Tag::SET, |values| {
                    for value in &self.values {
                        values.octets(value.as_slice());
                    }
                });
            });
        });
    }
}

/// What a server answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// To which request.
    pub id: MessageId,
    /// What.
    pub operation: ResponseOperation,
    /// What it adds.
    pub controls: Vec<Control>,
}

/// The kinds of answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ResponseOperation {
    /// To a bind.
    Bind {
        /// How it ended; [`ResultCode::SASL_BIND_IN_PROGRESS`] asks for one more step.
        result: Outcome,
        /// What the SASL mechanism says.
        server_credentials: Option<Vec<u8>>,
    },
    /// One entry that a search found.
    Entry(RawEntry),
    /// Where a search could go on elsewhere; never followed.
    Reference,
    /// The end of a search.
    Done(Outcome),
    /// To a modification.
    Modify(Outcome),
    /// To an extended operation, or the server's own word.
    Extended {
        /// How it ended.
        result: Outcome,
        /// Its object identifier.
        name: Option<String>,
        /// What it says.
        value: Option<Vec<u8>>,
    },
    /// Part of an answer (RFC 4511 §4.13), which none of our requests asks for.
    Intermediate,
}

/// An entry as it came: attribute names with their options.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RawEntry {
    /// Its name.
    pub dn: String,
    /// Its attributes in the server's order.
    pub attributes: Vec<(String, Vec<Vec<u8>>)>,
}

/// How an operation ended (RFC 4511 §4.1.9).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// In a number.
    pub code: ResultCode,
    /// As far as the name exists.
    pub matched_dn: String,
    /// In the server's words; Active Directory hides numbers in it.
    pub message: String,
}

/// Result codes (RFC 4511 Appendix A) that make a difference to us; any number may come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResultCode(pub i64);

impl ResultCode {
    /// It worked.
    pub const SUCCESS: ResultCode = ResultCode(0);
    /// The server's time limit ended a search.
    pub const TIME_LIMIT_EXCEEDED: ResultCode = ResultCode(3);
    /// The server's size limit ended a search.
    pub const SIZE_LIMIT_EXCEEDED: ResultCode = ResultCode(4);
    /// Somebody else is asked for that.
    pub const REFERRAL: ResultCode = ResultCode(10);
    /// A control that the server does not know, or does not allow here.
    pub const UNAVAILABLE_CRITICAL_EXTENSION: ResultCode = ResultCode(12);
    /// A bind wants another step.
    pub const SASL_BIND_IN_PROGRESS: ResultCode = ResultCode(14);
    /// The attribute has no such value.
    pub const NO_SUCH_ATTRIBUTE: ResultCode = ResultCode(16);
    /// A rule about values is broken; password policies answer so.
    pub const CONSTRAINT_VIOLATION: ResultCode = ResultCode(19);
    /// There is no such entry.
    pub const NO_SUCH_OBJECT: ResultCode = ResultCode(32);
    /// The way of binding does not fit.
    pub const INAPPROPRIATE_AUTHENTICATION: ResultCode = ResultCode(48);
    /// Name or password are wrong.
    pub const INVALID_CREDENTIALS: ResultCode = ResultCode(49);
    /// The account may not.
    pub const INSUFFICIENT_ACCESS: ResultCode = ResultCode(50);
    /// Not now.
    pub const BUSY: ResultCode = ResultCode(51);
    /// Not now: the server goes away.
    pub const UNAVAILABLE: ResultCode = ResultCode(52);
    /// The server will not.
    pub const UNWILLING_TO_PERFORM: ResultCode = ResultCode(53);
}

impl Outcome {
    /// Whether it worked.
    pub fn is_success(&self) -> bool {
        self.code == ResultCode::SUCCESS
    }

    fn read(reader: &mut Reader<'_>) -> Result<Outcome, Malformed> {
        let code = ResultCode(reader.enumerated()?);
        // COMPAT: servers put texts of other character sets here; they are only shown.
        let matched_dn = String::from_utf8_lossy(reader.octets()?).into_owned();
        let message = String::from_utf8_lossy(reader.octets()?).trim_end_matches('\0').to_owned();
        if let Some(referral) = reader.optional(Tag::context_constructed(3))? {
            let mut uris = Reader::new(referral);
            for _ in 0..REFERRALS_MAX {
                if uris.is_empty() {
                    break;
                }
                uris.octets()?;
            }
        }
        Ok(Outcome { code, matched_dn, message })
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "result {}", self.code.0)?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        Ok(())
    }
}

impl Response {
    /// Reads one whole message.
    pub fn parse(octets: &[u8]) -> Result<Response, Malformed> {
        let mut message = Reader::new(octets).within(Tag::SEQUENCE)?;
        let id = i32::try_from(message.integer()?).ok().filter(|id| *id >= 0);
        let id = MessageId(id.ok_or(Malformed("a message id is out of range"))?);
        let (tag, body) = message.element()?;
        let operation = operation(tag, Reader::new(body))?;
        let mut controls = Vec::new();
        if let Some(list) = message.optional(Tag::context_constructed(0))? {
            let mut list = Reader::new(list);
            while !list.is_empty() {
                if controls.len() == CONTROLS_MAX {
                    return Err(Malformed("too many controls"));
                }
                controls.push(Control::read(&mut list)?);
            }
        }
        // COMPAT: Active Directory puts the name of its notice of disconnection after the operation instead of into it; what stands
        // behind what we know is not read.
        Ok(Response { id, operation, controls })
    }
}

fn operation(tag: Tag, mut body: Reader<'_>) -> Result<ResponseOperation, Malformed> {
    const BIND: Tag = Tag::application_constructed(1);
    const ENTRY: Tag = Tag::application_constructed(4);
    const DONE: Tag = Tag::application_constructed(5);
    const MODIFY: Tag = Tag::application_constructed(7);
    const REFERENCE: Tag = Tag::application_constructed(19);
    const EXTENDED: Tag = Tag::application_constructed(24);
    const INTERMEDIATE: Tag = Tag::application_constructed(25);
    Ok(match tag {
        BIND => {
            let result = Outcome::read(&mut body)?;
            let server_credentials = body.optional(Tag::context(7))?.map(<[u8]>::to_vec);
            ResponseOperation::Bind { result, server_credentials }
        }
        ENTRY => ResponseOperation::Entry(RawEntry::read(&mut body)?),
        DONE => ResponseOperation::Done(Outcome::read(&mut body)?),
        MODIFY => ResponseOperation::Modify(Outcome::read(&mut body)?),
        REFERENCE => ResponseOperation::Reference,
        EXTENDED => {
            let result = Outcome::read(&mut body)?;
            let name = body.optional(Tag::context(10))?.map(super::ber::text).transpose()?.map(str::to_owned);
            let value = body.optional(Tag::context(11))?.map(<[u8]>::to_vec);
            ResponseOperation::Extended { result, name, value }
        }
        INTERMEDIATE => ResponseOperation::Intermediate,
        _ => return Err(Malformed("an operation that is no response")),
    })
}

impl RawEntry {
    fn read(body: &mut Reader<'_>) -> Result<RawEntry, Malformed> {
        let dn = body.text()?.to_owned();
        let mut list = body.within(Tag::SEQUENCE)?;
        let mut attributes = Vec::new();
        while !list.is_empty() {
            if attributes.len() == ATTRIBUTES_PER_ENTRY_MAX {
                return Err(Malformed("an entry of too many attributes"));
            }
            let mut attribute = list.within(Tag::SEQUENCE)?;
            let name = attribute.text()?.to_owned();
            let mut set = attribute.within(Tag::SET)?;
            let mut values = Vec::new();
            while !set.is_empty() {
                if values.len() == VALUES_PER_ATTRIBUTE_MAX {
                    return Err(Malformed("an attribute of too many values"));
                }
                values.push(set.octets()?.to_vec());
            }
            attributes.push((name, values));
        }
        Ok(RawEntry { dn, attributes })
    }

    /// The values of an attribute, whatever its options; none if it is absent.
    pub fn values(&self, name: &str) -> &[Vec<u8>] {
        let found = self.attributes.iter().find(|(found, _)| base_name(found).eq_ignore_ascii_case(name));
        found.map_or(&[], |(_, values)| values)
    }

    /// The first value of an attribute.
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.values(name).first().map(Vec::as_slice)
    }

    /// The first value of an attribute, as text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.first(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The first value of an attribute, as a number in decimal digits.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }
}

/// An attribute's name without its options (`member;range=0-1499`, `cn;lang-de`).
pub fn base_name(description: &str) -> &str {
    description.split(';').next().unwrap_or(description)
}
