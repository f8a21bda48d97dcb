//! The bucket of recordings and clips, without a socket.

use switchboard_aws::testing::{Request, Response};

pub(crate) use switchboard_testkit::bucket::{NAME, Objects};

/// Executes one request.
pub(crate) fn execute(objects: &Objects, request: Request) -> Response {
    let Request { method, uri, body, .. } = request;
    let response = switchboard_testkit::bucket::execute(objects, &method, &uri, body);
    Response::new(response.status.as_u16(), response.body)
}
