//! Client certificates that a signed-in person has made, for a key that never leaves the device.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::response::Response;
use directory::{CertificateDigest, ClientCertificate};
use serde::{Deserialize, Serialize};

use super::bearer::Bearer;
use super::content::{self, InPath};
use super::office::Office;
use super::people::NotIssued;
use super::problem::{Kind, Problem, problems};
use super::sign_in::{TokenProblems, axum_json, moment};
use super::{Peer, journal};

/// What a signing request may be sent as, beside JSON (RFC 5967 §2, and what OpenSSL's users send).
const SIGNING_REQUEST_CONTENTS: [&str; 2] = ["application/pkcs10", "application/x-pem-file"];

/// A wish for a certificate.
#[derive(Deserialize, utoipa::ToSchema)]
pub(super) struct NewCertificate {
    /// A signing request (PKCS #10, PEM): its key gets a certificate; names and usages are ours to say.
    #[schema(example = "-----BEGIN CERTIFICATE REQUEST-----\n...")]
    signing_request: String,
}

/// A certificate.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct MadeCertificate {
    /// SHA-256 of the certificate: what it is known by here.
    sha256: String,
    /// When it ends.
    #[schema(format = DateTime)]
    expires: String,
    /// The certificate, and its CA behind it, PEM.
    certificate: String,
    /// The SIP address that it signs in.
    address: String,
}

/// Certificates, in order of their digests.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Certificates {
    certificates: Vec<Certificate>,
}

/// A certificate, as it is listed.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Certificate {
    /// SHA-256 of the certificate.
    sha256: String,
    /// When it ends.
    #[schema(format = DateTime)]
    expires: String,
}

problems! {
    /// Of making one.
    MakingProblems: [
        Malformed, WrongContentType, NotSignedIn, AccountDisabled, SwitchedOff, SigningRequestRefused, TooMany, Busy, Fault,
    ];
    /// Of removing one.
    RemovingProblems: [Malformed, NotSignedIn, NoSuchThing, Busy, Fault];
}

/// List client certificates
#[utoipa::path(get, path = "/v1/certificates", operation_id = "list_certificates", tag = "certificates", security(("token" = [])),
    responses((status = 200, description = "They are", body = Certificates), TokenProblems))]
pub(super) async fn list(
    State(office): State<Arc<Office>>,
    Bearer(bearer): Bearer,
) -> Result<Response, Problem> {
    let known = office.accounts.certificates(bearer.holder.address).await?;
    let certificates = known.into_iter().map(|certificate| Certificate {
        sha256: certificate.digest.to_string(),
        expires: moment(certificate.expires_unix_ms),
    });
    Ok(axum_json(StatusCode::OK, &Certificates { certificates: certificates.collect() }))
}

/// Make a client certificate
///
/// It signs in from the moment of the answer, until its end.
#[utoipa::path(post, path = "/v1/certificates", operation_id = "make_certificate", tag = "certificates", security(("token" = [])),
    request_body(content((NewCertificate = "application/json"), (String = "application/pkcs10"), (String = "application/x-pem-file"))),
    responses((status = 201, description = "Made", body = MadeCertificate), MakingProblems))]
pub(super) async fn make(
    State(office): State<Arc<Office>>,
    Extension(peer): Extension<Peer>,
    Bearer(bearer): Bearer,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let Some(days) = office.settings().certificate_days else { return Err(Kind::SwitchedOff.into()) };
    let asked = signing_request(&office, request).await?;
    let address = bearer.holder.address;
    let issued = office.people.issue(&address.to_string(), &asked, days).map_err(|error| match error {
        NotIssued::Refused(_) => Problem::new(Kind::SigningRequestRefused).saying(error.to_string()),
        NotIssued::Failed(_) => {
            tracing::error!(event = "users-ca-failed", "no certificate can be made: {error}");
            Problem::new(Kind::Fault)
        }
    })?;
    let expires_unix_ms =
        u64::try_from(issued.facts.not_after_unix_seconds).unwrap_or(0).saturating_mul(1000);
    let digest = CertificateDigest(issued.facts.sha256);
    let certificate = ClientCertificate { digest, expires_unix_ms };
    office.accounts.add_certificate(address.clone(), certificate).await?;
    journal::happened(&peer, "certificate-made", &address, &digest.to_string());
    Ok(axum_json(
        StatusCode::CREATED,
        &MadeCertificate {
            sha256: digest.to_string(),
            expires: moment(expires_unix_ms),
            certificate: issued.chain_pem,
            address: address.to_string(),
        },
    ))
}

/// Take a client certificate back
///
/// What was made with it ends. Also one that an administrator gave.
#[utoipa::path(delete, path = "/v1/certificates/{sha256}", operation_id = "remove_certificate", tag = "certificates", security(("token" = [])),
    params(("sha256" = String, Path, description = "SHA-256 of the certificate, in hexadecimal digits")),
    responses((status = 204, description = "It signs nobody in any more"), RemovingProblems))]
pub(super) async fn remove(
    State(office): State<Arc<Office>>,
    Extension(peer): Extension<Peer>,
    Bearer(bearer): Bearer,
    Path(sha256): InPath,
) -> Result<StatusCode, Problem> {
    let digest: CertificateDigest = sha256.parse().map_err(|_| Kind::NoSuchThing)?;
    let address = bearer.holder.address;
    office.accounts.remove_certificate(address.clone(), digest).await?;
    journal::happened(&peer, "certificate-removed", &address, &digest.to_string());
    Ok(StatusCode::NO_CONTENT)
}

async fn signing_request(office: &Arc<Office>, request: Request<Body>) -> Result<Vec<u8>, Problem> {
    let is_json = content::is_json(request.headers());
    let kind = content::content_type(request.headers()).map(str::to_ascii_lowercase);
    if !is_json && !kind.is_some_and(|kind| SIGNING_REQUEST_CONTENTS.contains(&kind.as_str())) {
        return Err(Kind::WrongContentType.into());
    }
    let content = content::whole(request, office).await?;
    match is_json {
        true => content::read::<NewCertificate>(&content).map(|asked| asked.signing_request.into_bytes()),
        false => Ok(content.to_vec()),
    }
}
