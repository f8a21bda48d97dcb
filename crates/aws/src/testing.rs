//! AWS without a network, for tests on paused time: a function in the process of the test answers the requests of the
//! SDK.
//!
//! The clock of a paused runtime jumps to the next timer while a socket waits. A function answers without waiting.

use std::{fmt, sync::Arc};

use aws_config::SdkConfig;
use aws_sdk_dynamodb::config::{
    SharedHttpClient,
    http::{HttpRequest, HttpResponse},
};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        result::ConnectorError,
    },
    http::StatusCode,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;

/// A request of an AWS client.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `PUT` and so on.
    pub method: String,
    /// Path and query.
    pub uri: String,
    /// `x-amz-target`: service and operation of the JSON protocols, such as `DynamoDB_20120810.GetItem`.
    pub target: Option<String>,
    /// The whole body.
    pub body: Bytes,
}

/// The response to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Bytes,
}

impl Response {
    /// A response with this status and body.
    ///
    /// # Panics
    /// Never; but a status that HTTP does not have fails the request of the client.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, body: body.into() }
    }
}

/// The configuration of AWS clients whose requests go to `service`. `None` stands for a connection that breaks.
pub fn config_of<F>(service: F) -> SdkConfig
where
    F: Fn(Request) -> BoxFuture<'static, Option<Response>> + Send + Sync + 'static,
{
    let connector = SharedHttpConnector::new(Connector(Arc::new(service)));
    let client: SharedHttpClient = http_client_fn(move |_, _| connector.clone());
    crate::emulator_config("http://aws.test", "eu-central-1").into_builder().http_client(client).build()
}

type Service = dyn Fn(Request) -> BoxFuture<'static, Option<Response>> + Send + Sync;

struct Connector(Arc<Service>);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let service = Arc::clone(&self.0);
        HttpConnectorFuture::new(async move {
            let method = request.method().to_owned();
            let uri = request.uri().trim_start_matches("http://aws.test").to_owned();
            let target = request.headers().get("x-amz-target").map(str::to_owned);
            let body = ByteStream::new(request.into_body()).collect().await;
            let body = body.map_err(|error| ConnectorError::user(error.into()))?.into_bytes();
            let Some(response) = service(Request { method, uri, target, body }).await else {
                return Err(ConnectorError::io("the connection broke".into()));
            };
            let status = StatusCode::try_from(response.status)
                .map_err(|error| ConnectorError::other(error.into(), None))?;
            Ok(HttpResponse::new(status, SdkBody::from(response.body)))
        })
    }
}
