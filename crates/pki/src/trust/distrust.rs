//! Why a chain is trusted by nobody, in words for the operator and in classes for counting.

use std::fmt;

use x509_parser::prelude::X509Certificate;
use x509_parser::time::ASN1Time;

use super::usage;

/// Why a chain leads to no anchor. Its text is for the operator; the peer gets an alert at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// No certificate, or none that can be read; says why.
    Unreadable(String),
    /// More certificates than [`super::CHAIN_CERTIFICATES_MAX`]; how many.
    ChainTooLong(usize),
    /// Its CA is no anchor, and none that an anchor vouches for.
    UnknownAuthority {
        /// The CA that the peer's certificate names.
        issuer: String,
    },
    /// It was issued by itself, and is no anchor.
    SelfSigned,
    /// A signature is not that of the CA that is named: another one of the same name, or a forgery.
    WrongSignature {
        /// The CA that the peer's certificate names.
        issuer: String,
    },
    /// It has ended.
    Expired {
        /// When, in seconds since 1970.
        since: i64,
        /// The CA whose certificate has ended, where it is not the peer's own.
        authority: Option<String>,
    },
    /// It has not begun.
    NotYetValid {
        /// When it begins, in seconds since 1970.
        until: i64,
        /// The CA whose certificate it is, where it is not the peer's own.
        authority: Option<String>,
    },
    /// A CRL lists it.
    Revoked {
        /// The CA of the list.
        by: String,
        /// The CA whose certificate is revoked, where it is not the peer's own.
        authority: Option<String>,
    },
    /// The CRL of its CA is overdue, and such CRLs are configured to count for nothing.
    CrlExpired {
        /// The CA.
        of: String,
        /// Since when, in seconds since 1970.
        since: i64,
    },
    /// A name is outside of what a CA of the chain may sign for.
    OutsideConstraints {
        /// The name, where it is known.
        name: Option<String>,
        /// The CA, where it is known.
        authority: Option<String>,
    },
    /// It is for something else; says for what.
    WrongUsage(String),
    /// Another rule of RFC 5280 is broken; says which.
    Unfit(String),
}

/// A closed set of labels for [`Distrust`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DistrustClass {
    /// Unreadable, too long, or against another rule.
    Unfit,
    /// No anchor, or a wrong signature.
    UnknownAuthority,
    /// Ended.
    Expired,
    /// Not begun.
    NotYetValid,
    /// Revoked, or its CRL overdue.
    Revoked,
    /// Outside of a CA's constraints.
    Constraints,
    /// For something else.
    Usage,
}

impl DistrustClass {
    /// All of them, in the order of their declaration.
    pub const ALL: [DistrustClass; 7] = [
        DistrustClass::Unfit,
        DistrustClass::UnknownAuthority,
        DistrustClass::Expired,
        DistrustClass::NotYetValid,
        DistrustClass::Revoked,
        DistrustClass::Constraints,
        DistrustClass::Usage,
    ];

    /// The label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            DistrustClass::Unfit => "unfit",
            DistrustClass::UnknownAuthority => "unknown-ca",
            DistrustClass::Expired => "expired",
            DistrustClass::NotYetValid => "not-yet-valid",
            DistrustClass::Revoked => "revoked",
            DistrustClass::Constraints => "constraints",
            DistrustClass::Usage => "usage",
        }
    }
}

impl Distrust {
    /// Its class.
    pub fn class(&self) -> DistrustClass {
        match self {
            Distrust::Unreadable(_) | Distrust::ChainTooLong(_) | Distrust::Unfit(_) => DistrustClass::Unfit,
            Distrust::UnknownAuthority { .. } | Distrust::SelfSigned | Distrust::WrongSignature { .. } => {
                DistrustClass::UnknownAuthority
            }
            Distrust::Expired { .. } => DistrustClass::Expired,
            Distrust::NotYetValid { .. } => DistrustClass::NotYetValid,
            Distrust::Revoked { .. } | Distrust::CrlExpired { .. } => DistrustClass::Revoked,
            Distrust::OutsideConstraints { .. } => DistrustClass::Constraints,
            Distrust::WrongUsage(_) => DistrustClass::Usage,
        }
    }

    pub(super) fn unknown_authority(leaf: &X509Certificate<'_>) -> Distrust {
        if leaf.issuer() == leaf.subject() && leaf.verify_signature(None).is_ok() {
            return Distrust::SelfSigned;
        }
        Distrust::UnknownAuthority { issuer: leaf.issuer().to_string() }
    }

    /// What webpki says, in our words.
    pub(super) fn of(error: webpki::Error, leaf: &X509Certificate<'_>) -> Distrust {
        use webpki::Error;
        let seconds = |time: rustls_pki_types::UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        // webpki does not say whose date it is.
        let whose = |is_leaf: bool| (!is_leaf).then(|| "of its chain".to_owned());
        match error {
            Error::UnknownIssuer => Distrust::unknown_authority(leaf),
            Error::InvalidSignatureForPublicKey => match Distrust::unknown_authority(leaf) {
                Distrust::UnknownAuthority { issuer } => Distrust::WrongSignature { issuer },
                self_signed => self_signed,
            },
            Error::CertExpired { not_after, .. } => {
                let since = seconds(not_after);
                let authority = whose(leaf.validity().not_after.timestamp() == since);
                Distrust::Expired { since, authority }
            }
            Error::CertNotValidYet { not_before, .. } => {
                let until = seconds(not_before);
                let authority = whose(leaf.validity().not_before.timestamp() == until);
                Distrust::NotYetValid { until, authority }
            }
            Error::NameConstraintViolation => Distrust::OutsideConstraints { name: None, authority: None },
            Error::EmptyEkuExtension | Error::RequiredEkuNotFoundContext(_) => {
                Distrust::WrongUsage(usage::describe(leaf))
            }
            Error::CaUsedAsEndEntity => {
                Distrust::Unfit("it is the certificate of a CA, which no server may show as its own".into())
            }
            Error::EndEntityUsedAsCa => Distrust::Unfit("it was issued by somebody who is no CA".into()),
            Error::PathLenConstraintViolated => {
                Distrust::Unfit("its chain is longer than a CA of it allows".into())
            }
            Error::UnsupportedCriticalExtension => {
                Distrust::Unfit("it has a critical extension that is not understood".into())
            }
            Error::UnsupportedSignatureAlgorithmContext(_)
            | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
                Distrust::Unfit("it is signed with an algorithm that is weak or not known".into())
            }
            other => Distrust::Unfit(other.to_string()),
        }
    }
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distrust::Unreadable(why) => write!(f, "it cannot be read: {why}"),
            Distrust::ChainTooLong(count) => write!(f, "its chain has {count} certificates"),
            Distrust::UnknownAuthority { issuer } => write!(f, "its CA is unknown here: {issuer}"),
            Distrust::SelfSigned => f.write_str("it is self-signed, and not known here"),
            Distrust::WrongSignature { issuer } => {
                write!(f, "the signature is not that of the CA it names: {issuer}")
            }
            Distrust::Expired { since, authority } => {
                write!(f, "{} expired on {}", whose(authority), date(*since))
            }
            Distrust::NotYetValid { until, authority } => {
                write!(f, "{} is not valid before {}", whose(authority), date(*until))
            }
            Distrust::Revoked { by, authority } => write!(f, "{} was revoked by {by}", whose(authority)),
            Distrust::CrlExpired { of, since } => {
                write!(f, "the revocation list of {of} is overdue since {}", date(*since))
            }
            Distrust::OutsideConstraints { name, authority } => {
                let name = name.as_deref().unwrap_or("one of its names");
                let authority = authority.as_deref().unwrap_or("a CA of its chain");
                write!(f, "{name} is outside of what {authority} may sign for")
            }
            Distrust::WrongUsage(why) | Distrust::Unfit(why) => f.write_str(why),
        }
    }
}

fn whose(authority: &Option<String>) -> String {
    authority.as_ref().map_or_else(|| "it".to_owned(), |name| format!("the CA {name}"))
}

/// To the minute: the clocks of two organisations agree no better.
fn date(unix_seconds: i64) -> String {
    match ASN1Time::from_timestamp(unix_seconds) {
        Ok(time) => {
            let at = time.to_datetime();
            let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
            format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", at.hour(), at.minute())
        }
        Err(_) => format!("{unix_seconds} s after 1970"),
    }
}
