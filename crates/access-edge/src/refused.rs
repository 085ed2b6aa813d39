//! Why a request does not pass: the status for its sender, the reason for the operator, a sentence for a user of ours.

use std::borrow::Cow;

use federation::Reason;
use sip_message::HeaderId;
use sip_stack::request;

use crate::token::TokenError;

/// A refusal on its way to the log and to the sender.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    /// Counts it; from a closed set.
    pub(crate) code: &'static str,
    /// For the operator.
    pub(crate) reason: Cow<'static, str>,
    /// How the operator can change it, where that is known.
    pub(crate) mend: Option<String>,
    /// For the user of ours who asked: ASCII without quotes (RFC 3261 §20.43).
    pub(crate) for_user: Option<String>,
    pub(crate) headers: Vec<(HeaderId, String)>,
}

impl Refused {
    pub(crate) fn new(status: u16, code: &'static str, reason: &'static str) -> Refused {
        let reason = Cow::Borrowed(reason);
        Refused { status, code, reason, mend: None, for_user: None, headers: Vec::new() }
    }

    pub(crate) fn later(code: &'static str, reason: &'static str) -> Refused {
        let mut refused = Refused::new(503, code, reason);
        refused.headers.push((HeaderId::RetryAfter, request::RETRY_AFTER_SECONDS.to_string()));
        refused
    }

    /// What a Warning towards inside says.
    pub(crate) fn warning(&self) -> &str {
        self.for_user.as_deref().unwrap_or(&self.reason)
    }
}

impl From<request::Refusal> for Refused {
    fn from(refusal: request::Refusal) -> Refused {
        let code = match refusal.status {
            416 => "scheme",
            483 => "max-forwards",
            482 => "loop",
            420 => "extension",
            _ => "request",
        };
        Refused { headers: refusal.headers, ..Refused::new(refusal.status, code, refusal.reason) }
    }
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Refused {
        let mut refused = Refused {
            reason: Cow::Owned(reason.to_string()),
            mend: Some(reason.mend()),
            for_user: Some(reason.for_user()),
            ..Refused::new(reason.status(), reason.code(), "")
        };
        if refused.status == 503 {
            let seconds = request::RETRY_AFTER_SECONDS.to_string();
            refused.headers.push((HeaderId::RetryAfter, seconds));
        }
        refused
    }
}

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Refused {
        let code = match error {
            TokenError::Forged => "token-forged",
            TokenError::OtherDialog => "token-replayed",
            TokenError::OtherParty => "token-foreign",
            TokenError::WrongSide => "token-misplaced",
        };
        Refused::new(403, code, error.reason())
    }
}
