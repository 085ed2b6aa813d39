//! PUBLISH of presence (RFC 3903): a device says how its owner is there.

use directory::UserId;
use node::Flow;
use presence::pidf::{self, PidfError, Published};
use presence::xml::XmlError;
use presence::{ContactCard, DeviceState};
use sip_message::{HeaderId, ResponseBuilder, Uri};
use sip_stack::publication::{Limits, Policy, Publish, Step};

use crate::events::{Package, unknown_package};
use crate::frontend::FrontEnd;
use crate::messaging::mailbox::DeviceId;
use crate::pipeline::{Refusal, Request};
use crate::router::Recipient;
use crate::users::Account;

/// What a device published.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) user: UserId,
    /// The flow that it came over, or was refreshed over: when that connection ends, so does the publication.
    pub(crate) flow: Flow,
    /// The registered device that it is of, as far as it could be told.
    pub(crate) device: Option<DeviceId>,
    pub(crate) state: DeviceState,
    pub(crate) card: ContactCard,
}

/// RFC 3903 §4.1 leaves durations to the package, and RFC 3856 §6.4 gives it an hour. A device that went without a word is
/// seen for so long at the most, and only where neither its registration nor its connection ends first.
const POLICY: Policy =
    Policy { expires_seconds_default: 3600, expires_seconds_min: 60, expires_seconds_max: 3600 };
/// A publication takes about half a KiB: 100 MiB at the most. As many for a user as a user has bindings.
pub(crate) const LIMITS: Limits = Limits { publications_max: 200_000, per_resource_max: 16 };

impl FrontEnd {
    /// A PUBLISH for one of our users, which is the sender: From was proved to be, and nobody publishes for others.
    pub(crate) fn publish(
        &mut self,
        request: &Request<'_>,
        user: UserId,
        recipient: &Recipient,
    ) -> Result<(), Refusal> {
        let publish = Publish::read(request.message)?;
        if publish.package != Package::Presence.name() {
            return Err(unknown_package());
        }
        match recipient {
            Recipient::User(whose, _) if *whose == user => {}
            Recipient::Foreign => return Err(Refusal::new(403, "the domain is not federated with us")),
            _ => return Err(Refusal::new(403, "a PUBLISH for somebody else")),
        }
        let account = self.users.get(user).expect("who signed in exists");
        let (flow, now_unix_ms) = (request.arrival.flow, self.now.wall.0);
        let parse = |publish: &Publish<'_>| {
            let read = read(publish)?;
            Ok::<_, Refusal>(Publication {
                user,
                flow,
                device: device_of(account, request, &read),
                card: read.card.clone(),
                state: read.into_state(now_unix_ms),
            })
        };
        let address = account.user.address.as_str();
        let published =
            self.publications.handle_publish(self.now.monotonic, &publish, address, &POLICY, parse)?;
        if published.step == Step::Refreshed
            && let Some(publication) = self.publications.get_mut(published.id)
        {
            publication.flow = flow;
            publication.device = crate::registration::device_of(account, request).or(publication.device);
        }
        self.counters.published(published.step);
        let mut response = ResponseBuilder::new(request.message, 200);
        response
            .header(HeaderId::SipEtag, published.tag.to_string())
            .header(HeaderId::Expires, published.expires_seconds.to_string());
        self.answer(request, 200, response);
        self.end_publications();
        self.presence_changed(user);
        // A card is no part of the state.
        self.watchers_owed(user);
        Ok(())
    }

    /// Publications that ran out, or were displaced.
    pub(crate) fn end_publications(&mut self) {
        while let Some(ended) = self.publications.poll_ended() {
            self.counters.publications_ended += 1;
            self.presence_changed(ended.state.user);
        }
    }

    /// A device, or a flow, of a user is gone: so is what was published there. Without any device nobody is left who could have
    /// published anything.
    pub(crate) fn drop_publications(&mut self, user: UserId, is_gone: impl Fn(&Publication) -> bool) {
        let Some(account) = self.users.get(user) else { return };
        let address = account.user.address.as_str();
        let gone: Vec<_> = self
            .publications
            .of_resource(address)
            .filter(|(_, publication)| is_gone(publication))
            .map(|(id, _)| id)
            .collect();
        for id in gone {
            self.publications.remove(id);
            self.counters.publications_ended += 1;
        }
    }
}

/// Reads the body of a PUBLISH (RFC 3903 §6 step 6).
fn read(publish: &Publish<'_>) -> Result<Published, Refusal> {
    let unsupported = |reason| Refusal::new(415, reason).with(HeaderId::Accept, pidf::CONTENT_TYPE);
    if publish.message.header(HeaderId::ContentEncoding).is_some() {
        return Err(Refusal::new(415, "a publication in an encoding that is not known here")
            .with(HeaderId::AcceptEncoding, "identity"));
    }
    let (content_type, content) = publish.body.unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case(pidf::CONTENT_TYPE) {
        return Err(unsupported("a publication that is no PIDF"));
    }
    pidf::read(content).map_err(|error| match error {
        PidfError::NotPresence => unsupported("a publication whose root is not <presence>"),
        PidfError::Empty => Refusal::new(400, "a publication that says nothing"),
        PidfError::Xml(XmlError::TooLarge(_)) => Refusal::new(413, "a publication that is too large"),
        PidfError::Xml(_) => Refusal::new(400, "a publication that is no XML that is taken here"),
    })
}

/// The device that a publication is of: the one that is registered over the same flow, else the one with an instance or a
/// contact that the document names.
fn device_of(account: &Account, request: &Request<'_>, read: &Published) -> Option<DeviceId> {
    let names_instance = |instance: &str| read.device_ids.iter().any(|id| id.eq_ignore_ascii_case(instance));
    let names_contact = |contact: &str| {
        let Ok(contact) = Uri::parse(contact) else { return false };
        read.contacts.iter().any(|named| Uri::parse(named).is_ok_and(|named| named.is_equivalent(&contact)))
    };
    crate::registration::device_of(account, request).or_else(|| {
        let named = account.bindings.iter().find(|binding| {
            binding.instance.as_deref().is_some_and(names_instance) || names_contact(&binding.uri)
        });
        named.map(|binding| binding.device)
    })
}
