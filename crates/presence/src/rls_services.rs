//! RLS services (RFC 4826 §4): the URIs at which a list can be watched as one, and which list stands behind each.
//!
//! Read only. The URI of a list elsewhere is given as it stands; whose document it names is for the one who has the documents.

use crate::lists::{Group, ListsError};
use crate::xml::{Bounds, Document, Element, Leniency, XmlError};

/// The type of the documents.
pub const CONTENT_TYPE: &str = "application/rls-services+xml";
/// Services of one person. A client makes one per contact list and event package.
pub const SERVICES_MAX: usize = 50;
/// How large a document may be: as large as a contact list, which may stand in it.
pub const BOUNDS: Bounds = crate::lists::BOUNDS;
/// Event packages of one service; there are not many more that a list can be watched for.
const PACKAGES_MAX: usize = 16;

const RLS_SERVICES: &str = "urn:ietf:params:xml:ns:rls-services";

/// Why a document was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServicesError {
    /// Too large, or no XML that is taken.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// A list in it is not taken.
    #[error(transparent)]
    Lists(#[from] ListsError),
    /// XML, but no services.
    #[error("the outermost element is not <rls-services>")]
    NotServices,
    /// A service without a URI, or without a list.
    #[error("a service without URI or list")]
    BadService,
    /// More than [`SERVICES_MAX`], or one with too many packages.
    #[error("more services or packages than a person may have")]
    TooMany,
}

/// A list that can be watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where a SUBSCRIBE goes.
    pub uri: Box<str>,
    /// Who is in it.
    pub list: List,
    /// The event packages it is for; none named is every package.
    pub packages: Vec<Box<str>>,
}

/// The list of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum List {
    /// Written into the document.
    Inline(Group),
    /// An XCAP URI of a `<list>` in a resource-lists document.
    Reference(Box<str>),
}

/// Reads a document.
pub fn read(text: &[u8]) -> Result<Vec<Service>, ServicesError> {
    let document = Document::read(text, &BOUNDS, Leniency::None)?;
    let root = document.root();
    if !root.is(RLS_SERVICES, "rls-services") {
        return Err(ServicesError::NotServices);
    }
    let services = root.children_of(RLS_SERVICES, "service");
    let services = services.map(service).collect::<Result<Vec<_>, _>>()?;
    if services.len() > SERVICES_MAX {
        return Err(ServicesError::TooMany);
    }
    Ok(services)
}

fn service(service: Element<'_, '_>) -> Result<Service, ServicesError> {
    let uri = service.attribute("uri").filter(|uri| !uri.is_empty()).ok_or(ServicesError::BadService)?;
    let list = match service.child_of(RLS_SERVICES, "resource-list") {
        Some(reference) => List::Reference(reference.characters().into()),
        None => {
            let list = service.child_of(RLS_SERVICES, "list").ok_or(ServicesError::BadService)?;
            List::Inline(Group::of(list)?)
        }
    };
    let packages = service.child_of(RLS_SERVICES, "packages");
    let packages = packages.into_iter().flat_map(|packages| packages.children_of(RLS_SERVICES, "package"));
    let packages: Vec<Box<str>> = packages.map(|package| package.characters().into()).collect();
    if packages.len() > PACKAGES_MAX {
        return Err(ServicesError::TooMany);
    }
    Ok(Service { uri: uri.into(), list, packages })
}

impl Service {
    /// Whether the package can be watched at it.
    pub fn is_for(&self, package: &str) -> bool {
        self.packages.is_empty() || self.packages.iter().any(|known| &**known == package)
    }
}

#[cfg(test)]
mod tests {
    use super::{List, ServicesError, read};

    #[test]
    fn services_are_read() {
        let text = "<rls-services xmlns='urn:ietf:params:xml:ns:rls-services' xmlns:rl='urn:ietf:params:xml:ns:resource-lists'>\
            <service uri='sip:mybuddies@example.com'><resource-list>https://x.example/list</resource-list>\
            <packages><package>presence</package></packages></service>\
            <service uri='sip:marketing@example.com'><list name='marketing'><rl:entry uri='sip:joe@example.com'/>\
            <rl:entry uri='sip:sudhir@example.com'/></list></service></rls-services>";
        let services = read(text.as_bytes()).expect("it is taken");
        assert_eq!(services[0].list, List::Reference("https://x.example/list".into()));
        assert!(
            services[0].is_for("presence") && !services[0].is_for("dialog") && services[1].is_for("dialog")
        );
        let List::Inline(group) = &services[1].list else { panic!("an inline list") };
        assert_eq!((group.name.as_deref(), group.entries().len()), (Some("marketing"), 2));
    }

    #[test]
    fn what_is_no_service_is_refused() {
        let of = |inner: &str| {
            read(
                format!("<rls-services xmlns='urn:ietf:params:xml:ns:rls-services'>{inner}</rls-services>")
                    .as_bytes(),
            )
        };
        assert_eq!(of("<service uri='sip:a@b'/>"), Err(ServicesError::BadService));
        assert_eq!(of("<service><list/></service>"), Err(ServicesError::BadService));
        assert_eq!(of(&"<service uri='sip:a@b'><list/></service>".repeat(51)), Err(ServicesError::TooMany));
        assert_eq!(of(""), Ok(Vec::new()));
        assert_eq!(read(b"<rls-services/>"), Err(ServicesError::NotServices));
    }
}
