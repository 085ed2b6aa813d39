//! One request and its answer; a node as who answers.

use std::convert::Infallible;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode, Version};
use node::Node;
use node::http::{HttpRequest, HttpResponse};
use tokio::time::timeout;

use super::meter::Refused;
use super::{Answering, Connection, Service, Shared, Unanswered, WholeRequest};

/// What a refused client is told to wait, in seconds: what holds places is over in milliseconds, or not soon.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("2");

type Answer = Response<Full<Bytes>>;

/// Brings a request to who answers, and the answer back.
pub(super) async fn exchange<S: Answering>(
    connection: Rc<Connection<S>>,
    request: Request<Incoming>,
) -> Result<Answer, Infallible> {
    connection.patience.renew();
    let shared = &connection.place.shared;
    let answer = match answer(&connection, request).await {
        Ok(answer) => answer,
        Err(refused) => {
            shared.meter.refused(refused);
            refusal(refused)
        }
    };
    shared.meter.answered(answer.status().as_u16());
    connection.patience.renew();
    Ok(answer)
}

async fn answer<S: Answering>(
    connection: &Connection<S>,
    request: Request<Incoming>,
) -> Result<Answer, Refused> {
    let shared = &connection.place.shared;
    let (parts, body) = request.into_parts();
    let host = host(&parts)?;
    // CONNECT and `OPTIONS *` name no resource (RFC 9112 §3.2.3, §3.2.4).
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    if !target.starts_with('/') {
        return Err(Refused::BadRequest);
    }
    let (body, _held) = content(shared, body).await?;
    let request = WholeRequest { parts, host, body, peer: connection.peer.clone() };
    // Taken behind the content: a slow sender holds no place.
    let _place = shared.in_flight.try_acquire().map_err(|_| Refused::InFlight)?;
    match timeout(shared.limits.answer_timeout, shared.service.answer(request)).await {
        Ok(Ok(answer)) => Ok(answer.map(Full::new)),
        Ok(Err(Unanswered)) | Err(_) => Err(Refused::Busy),
    }
}

impl<N: Node + 'static> Answering for Service<N> {
    async fn answer(&self, request: WholeRequest) -> Result<Response<Bytes>, Unanswered> {
        let WholeRequest { parts, host, body, peer } = request;
        let target = parts.uri.path_and_query().map_or_else(String::new, |target| target.as_str().to_owned());
        let headers = parts.headers.iter();
        let request = HttpRequest {
            method: parts.method.as_str().to_owned(),
            target,
            host,
            headers: headers
                .map(|(name, value)| (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes())))
                .collect(),
            body,
            remote: peer.remote,
            is_secure: true,
        };
        match self.handle.call((self.call)(request)).await {
            Ok(answer) => Ok(response((self.answer)(answer))),
            Err(error) => {
                tracing::debug!(%error, "an HTTPS request was not answered");
                Err(Unanswered)
            }
        }
    }
}

/// Exactly one Host in HTTP/1.1 (RFC 9112 §3.2), without its port; an absolute target goes before it (§3.2.2).
fn host(parts: &Parts) -> Result<String, Refused> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (Some(field), None) => field.to_str().map_err(|_| Refused::BadRequest)?,
        (None, None) if parts.version < Version::HTTP_11 => "",
        _ => return Err(Refused::BadRequest),
    };
    if let Some(authority) = parts.uri.authority() {
        return Ok(authority.host().to_owned());
    }
    if field.is_empty() {
        return Ok(String::new());
    }
    let authority: hyper::http::uri::Authority = field.parse().map_err(|_| Refused::BadRequest)?;
    Ok(authority.host().to_owned())
}

/// Reads the content whole, within its limits.
async fn content<S>(shared: &Rc<Shared<S>>, mut body: Incoming) -> Result<(Bytes, Held<S>), Refused> {
    let limit = shared.limits.body_octets_max;
    let mut held = Held { shared: Rc::clone(shared), octets: 0 };
    // What says that it is too long is not read at all.
    if body.size_hint().lower() > limit as u64 {
        return Err(Refused::BodyOctets);
    }
    let read = async {
        let (mut first, mut rest) = (Bytes::new(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Refused::BodyBroken)?.into_data() else { continue };
            if held.octets + data.len() > limit {
                return Err(Refused::BodyOctets);
            }
            held.more(data.len())?;
            match (first.is_empty(), rest.is_empty()) {
                (true, true) => first = data,
                (_, is_second) => {
                    if is_second {
                        rest.extend_from_slice(&std::mem::take(&mut first));
                    }
                    rest.extend_from_slice(&data);
                }
            }
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    };
    let content = timeout(shared.limits.body_timeout, read).await.map_err(|_| Refused::BodyTime)??;
    Ok((content, held))
}

/// Octets of content that count as held, until this is dropped.
struct Held<S> {
    shared: Rc<Shared<S>>,
    octets: usize,
}

impl<S> Held<S> {
    fn more(&mut self, octets: usize) -> Result<(), Refused> {
        let all = self.shared.body_octets.get() + octets;
        if all > self.shared.limits.body_octets_held_max {
            return Err(Refused::BodiesHeld);
        }
        self.shared.body_octets.set(all);
        self.octets += octets;
        Ok(())
    }
}

impl<S> Drop for Held<S> {
    fn drop(&mut self) {
        self.shared.body_octets.set(self.shared.body_octets.get() - self.octets);
    }
}

/// The node's answer. What it says cannot be wrong, unless a role is: that is for the operator.
fn response(answer: HttpResponse) -> Response<Bytes> {
    let built = (|| {
        let mut response = Response::new(answer.body);
        *response.status_mut() = StatusCode::from_u16(answer.status)?;
        for (name, value) in &answer.headers {
            let value = HeaderValue::from_str(value)?;
            response.headers_mut().append(HeaderName::from_bytes(name.as_bytes())?, value);
        }
        Ok::<_, hyper::http::Error>(response)
    })();
    built.unwrap_or_else(|error| {
        tracing::error!(%error, status = answer.status, "an answer of the node is no HTTP");
        plain(StatusCode::INTERNAL_SERVER_ERROR, "the server's answer is no HTTP")
    })
}

fn refusal(refused: Refused) -> Answer {
    let status = match refused {
        Refused::BodyOctets => StatusCode::PAYLOAD_TOO_LARGE,
        Refused::BodyTime => StatusCode::REQUEST_TIMEOUT,
        Refused::BadRequest | Refused::BodyBroken => StatusCode::BAD_REQUEST,
        Refused::BodiesHeld | Refused::InFlight | Refused::Busy => StatusCode::SERVICE_UNAVAILABLE,
        Refused::Connections
        | Refused::ConnectionsOfSource
        | Refused::Handshake
        | Refused::HandshakeTime
        | Refused::Idle => unreachable!("there is no request to answer yet"),
    };
    let mut response = plain(status, refused.reason()).map(Full::new);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    // Content may be on its way still, which nobody will read.
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

fn plain(status: StatusCode, text: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{text}\n")));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
