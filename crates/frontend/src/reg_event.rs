//! The event package `reg` (RFC 3680): each user's own registrations.

use std::fmt::Write as _;
use std::time::Duration;

use directory::{Role, UserId};
use sip_stack::dialog::{Policy, Standing};

use crate::events::{Body, Package, Permitted, Wanted};
use crate::frontend::FrontEnd;
use crate::pipeline::Refusal;
use crate::router::Recipient;
use crate::users::Account;

/// RFC 3680 §4.6.
const CONTENT_TYPE: &str = "application/reginfo+xml";
/// RFC 3680 §4.4 gives a default of 3761 seconds; §4.10 a least interval of 5.
pub(crate) const POLICY: Policy = Policy {
    expires_seconds_default: 3761,
    expires_seconds_min: 60,
    expires_seconds_max: 7200,
    interval_min: Duration::from_secs(5),
    interval_unchanged_min: Duration::from_secs(60),
};

impl FrontEnd {
    /// People watch their own registrations, administrators anybody's (RFC 3680 §4.8).
    pub(crate) fn permit_registrations(
        &self,
        user: UserId,
        recipient: &Recipient,
    ) -> Result<Permitted, Refusal> {
        let is_administrator = self.users.get(user).is_some_and(|a| a.user.role() == Role::Administrator);
        match recipient {
            Recipient::User(watched, _) if *watched == user || is_administrator => {
                let account = self.users.get(*watched).expect("the recipient was just found");
                Ok(Permitted {
                    resource: Package::Registration.key(account.user.address.as_str()),
                    wanted: Wanted::Registrations(*watched),
                    standing: Standing::Active,
                })
            }
            _ => Err(Refusal::new(403, "registrations are watched by their owner alone")),
        }
    }

    /// The whole state, each time (RFC 3680 §5.1).
    pub(crate) fn registrations_body(&self, user: UserId, resource: &str, version: u32) -> Body {
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" version=\"{version}\" state=\"full\">\r\n"
        );
        match self.users.get(user) {
            Some(account) => self.registration(&mut xml, account),
            None => {
                let address = Escaped(Package::address(resource));
                let _ =
                    write!(xml, "<registration aor=\"sip:{address}\" id=\"r\" state=\"terminated\"/>\r\n");
            }
        }
        xml.push_str("</reginfo>\r\n");
        Body::new(CONTENT_TYPE, xml)
    }

    fn registration(&self, xml: &mut String, account: &Account) {
        let address = account.user.address.as_str();
        let state = if account.bindings.0.is_empty() { "terminated" } else { "active" };
        let _ = write!(xml, "<registration aor=\"sip:{}\" id=\"r\" state=\"{state}\">\r\n", Escaped(address));
        for binding in account.bindings.iter() {
            let _ = write!(
                xml,
                "<contact id=\"b{}\" state=\"active\" event=\"registered\" expires=\"{}\" callid=\"{}\" cseq=\"{}\"",
                binding.id.0,
                binding.expires_at.since(self.now.monotonic).as_secs(),
                Escaped(&binding.call_id),
                binding.cseq,
            );
            if let Some(q) = binding.q {
                let _ = write!(xml, " q=\"{}.{:03}\"", q / 1000, q % 1000);
            }
            let _ = write!(xml, "><uri>{}</uri>", Escaped(&binding.uri));
            if let Some(instance) = &binding.instance {
                let quoted = format!("\"<{instance}>\"");
                let _ =
                    write!(xml, "<unknown-param name=\"+sip.instance\">{}</unknown-param>", Escaped(&quoted));
            }
            xml.push_str("</contact>\r\n");
        }
        xml.push_str("</registration>\r\n");
    }
}

/// A text as XML holds it, in content and in attributes.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                // XML knows no other control characters.
                c if c.is_control() && !matches!(c, '\t' | '\n' | '\r') => f.write_str("\u{fffd}")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
