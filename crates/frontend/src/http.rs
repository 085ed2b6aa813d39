//! Requests of clients over HTTP: which service a path leads to. Connections, TLS and framing are the driver's.

use node::CallToken;
use node::http::{HttpRequest, HttpResponse};

use crate::admin::Answer;
use crate::frontend::{FrontEnd, State};

impl FrontEnd {
    /// Every request gets exactly one [`Answer::Http`], at once or when what it changed is durable.
    pub(crate) fn http(&mut self, token: CallToken, request: &HttpRequest) {
        if self.state == State::Loading {
            return self.answer_http(token, HttpResponse::empty(503).with("retry-after", "1"));
        }
        let _ = request;
        self.answer_http(token, HttpResponse::empty(404));
    }

    pub(crate) fn answer_http(&mut self, token: CallToken, response: HttpResponse) {
        self.answer_call(token, Answer::Http(response));
    }
}
