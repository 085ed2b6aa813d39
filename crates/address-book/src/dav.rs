//! CardDAV, read only.

use node::http::{HttpRequest, HttpResponse};

use crate::book::Book;
use crate::http::{Reply, Viewer, problem};

#[derive(Debug)]
pub(crate) enum Task {}

impl Task {
    pub(crate) fn run(self) -> HttpResponse {
        match self {}
    }
}

impl Book {
    pub(crate) fn handle_dav(
        &mut self,
        _viewer: &Viewer,
        _request: &HttpRequest,
        _now_unix_ms: u64,
    ) -> Reply {
        Reply::Answer(problem(404, "CardDAV is not offered"))
    }
}
