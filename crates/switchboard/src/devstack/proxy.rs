//! The reverse proxy in front of the emulator. It serves the API at the plain base URL that customers and the carrier
//! use. It answers pages of other origins as API Gateway does with the template's `CorsConfiguration`, which the emulator
//! stores but does not apply, and changes nothing else.

use std::time::Duration;

use anyhow::Context as _;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::{Authority, PathAndQuery, Scheme, Uri};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The time limit of API Gateway for an HTTP API.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Headers that belong to one connection (RFC 9110 section 7.6.1), and `Host`: the emulator chooses a service by
/// it, so it must name the emulator.
const NOT_PASSED_ON: [HeaderName; 6] = [
    header::CONNECTION,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The headers that API Gateway adds to every response to a page of another origin.
const CORS: [(HeaderName, &str); 2] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "retry-after,x-request-id"),
];

/// And to a preflight request, which it answers itself.
const PREFLIGHT: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET,POST,PATCH,DELETE"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization,content-type,idempotency-key"),
    (header::ACCESS_CONTROL_MAX_AGE, "3600"),
];

/// A running proxy. Dropping it stops it.
pub(crate) struct Proxy {
    stopping: CancellationToken,
    server: JoinSet<()>,
}

#[derive(Clone)]
struct Upstream {
    client: Client<HttpConnector, Body>,
    authority: Authority,
    prefix: String,
}

impl Proxy {
    /// Serves on `listener` everything that the emulator (`http://HOST:PORT`) serves under `prefix`.
    ///
    /// # Errors
    ///
    /// The emulator's URL is not valid.
    pub(crate) fn start(listener: TcpListener, emulator: &str, prefix: &str) -> anyhow::Result<Self> {
        let emulator: Uri = emulator.parse().context("reading the emulator's URL")?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        let upstream = Upstream {
            client: Client::builder(TokioExecutor::new()).build(connector),
            authority: emulator.authority().context("the emulator's URL names no host")?.clone(),
            prefix: prefix.to_owned(),
        };
        let stopping = CancellationToken::new();
        let stop = stopping.clone().cancelled_owned();
        let app =
            Router::new().fallback(forward).layer(middleware::from_fn(cross_origin)).with_state(upstream);
        let mut server = JoinSet::new();
        server.spawn(async move {
            if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stop).await {
                tracing::error!(%error, "proxy failed");
            }
        });
        Ok(Self { stopping, server })
    }

    /// Accepts no more requests, and gives those in flight one second.
    pub(crate) async fn stop(mut self) {
        self.stopping.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(1), self.server.join_next()).await;
    }
}

/// Answers preflight requests, and lets pages of other origins read responses.
async fn cross_origin(request: Request, next: Next) -> Response {
    let headers = request.headers();
    if !headers.contains_key(header::ORIGIN) {
        return next.run(request).await;
    }
    let is_preflight =
        request.method() == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response =
        if is_preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    for name in [header::ACCESS_CONTROL_ALLOW_METHODS, header::ACCESS_CONTROL_ALLOW_HEADERS] {
        response.headers_mut().remove(name);
    }
    let preflight = PREFLIGHT.into_iter().filter(|_| is_preflight);
    for (name, value) in CORS.into_iter().chain(preflight) {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn forward(State(upstream): State<Upstream>, mut request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    // Not through a URL parser, so that percent-encodings and dots stay as they were sent.
    let uri = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(upstream.authority.clone())
        .path_and_query(format!("{}{path}", upstream.prefix))
        .build();
    let Ok(uri) = uri else { return failure(StatusCode::BAD_REQUEST, "the path is not valid") };
    *request.uri_mut() = uri;
    for name in NOT_PASSED_ON {
        request.headers_mut().remove(name);
    }
    match tokio::time::timeout(TIMEOUT, upstream.client.request(request)).await {
        Ok(Ok(response)) => response.map(Body::new),
        Ok(Err(error)) => {
            tracing::warn!(%error, "no response from the emulator");
            failure(StatusCode::BAD_GATEWAY, "the local AWS emulator does not answer")
        }
        Err(_) => failure(StatusCode::GATEWAY_TIMEOUT, "the API took longer than 30 s"),
    }
}

fn failure(status: StatusCode, detail: &str) -> Response {
    (status, Json(json!({ "detail": detail }))).into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use axum::http::header::{self, AUTHORIZATION, HOST};
    use axum::http::{HeaderName, Method, StatusCode};
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::super::emulator::free_port;
    use super::{CORS, PREFLIGHT, Proxy};

    async fn call(request: Request) -> (StatusCode, String) {
        let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(Body::new(response.into_body()), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn proxy_before(emulator: &str) -> (Proxy, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (Proxy::start(listener, emulator, "/_aws/execute-api/abc/$default").unwrap(), url)
    }

    #[tokio::test]
    async fn method_path_query_headers_and_body_are_forwarded_unchanged() {
        let app = Router::new().fallback(async |request: Request| {
            let (parts, body) = request.into_parts();
            let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
            let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
            let (token, host) = (header(AUTHORIZATION), header(HOST));
            format!("{} {} {token} {host} {body}", parts.method, parts.uri)
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let server = async move { axum::serve(listener, app).await.unwrap() };
        let mut tasks = JoinSet::new();
        tasks.spawn(server);

        let (_proxy, url) = proxy_before(&format!("http://{authority}")).await;
        let request = Request::builder()
            .method(Method::PATCH)
            .uri(format!("{url}/phone_numbers/%2B14155550199/%2e%2E//x?a=1+2&b=%20"))
            .header(AUTHORIZATION, "Bearer t")
            .body(Body::from("{}"))
            .unwrap();
        let (status, seen) = call(request).await;
        assert_eq!(status, StatusCode::OK);
        let path = "/_aws/execute-api/abc/$default/phone_numbers/%2B14155550199/%2e%2E//x?a=1+2&b=%20";
        assert_eq!(seen, format!("PATCH {path} Bearer t {authority} {{}}"));
    }

    #[tokio::test]
    async fn pages_of_other_origins_may_call_and_read() {
        let app = Router::new().fallback(async |request: Request| request.method().to_string());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
        let (_proxy, url) = proxy_before(&format!("http://{authority}")).await;
        let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
        let send = async |method: Method, headers: &[(HeaderName, &str)]| {
            let request = Request::builder().method(method).uri(format!("{url}/agents"));
            let request = headers.iter().fold(request, |request, (name, value)| request.header(name, *value));
            client.request(request.body(Body::empty()).unwrap()).await.unwrap()
        };
        let origin = (header::ORIGIN, "https://page.example");
        let preflight = (header::ACCESS_CONTROL_REQUEST_METHOD, "PATCH");
        let answer = send(Method::OPTIONS, &[origin.clone(), preflight]).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        for (name, value) in CORS.into_iter().chain(PREFLIGHT) {
            assert_eq!(answer.headers()[name], value);
        }
        assert!(!answer.headers().contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        let answer = send(Method::PATCH, &[origin]).await;
        assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(answer.headers()[header::ACCESS_CONTROL_EXPOSE_HEADERS], "retry-after,x-request-id");
        assert!(!answer.headers().contains_key(header::ACCESS_CONTROL_ALLOW_METHODS));
        let answer = send(Method::PATCH, &[]).await;
        assert!(!answer.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }

    #[test]
    fn the_proxy_answers_pages_as_the_template_says() {
        let template = include_str!("../../../../template.yaml");
        let list = |key: &str, brackets: &str| {
            let line = template.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap();
            line.trim_matches(|character| brackets.contains(character)).replace(", ", ",")
        };
        let of = |headers: &[(HeaderName, &'static str)], name: HeaderName| {
            headers.iter().find(|(each, _)| *each == name).unwrap().1
        };
        assert_eq!(list("AllowOrigins: ", "[]\""), of(&CORS, header::ACCESS_CONTROL_ALLOW_ORIGIN));
        assert_eq!(list("ExposeHeaders: ", "[]"), of(&CORS, header::ACCESS_CONTROL_EXPOSE_HEADERS));
        assert_eq!(list("AllowMethods: ", "[]"), of(&PREFLIGHT, header::ACCESS_CONTROL_ALLOW_METHODS));
        assert_eq!(list("AllowHeaders: ", "[]"), of(&PREFLIGHT, header::ACCESS_CONTROL_ALLOW_HEADERS));
        assert_eq!(list("MaxAge: ", ""), of(&PREFLIGHT, header::ACCESS_CONTROL_MAX_AGE));
    }

    #[tokio::test]
    async fn an_emulator_that_is_down_is_a_502_with_a_detail() {
        let gone = free_port().await.unwrap();
        let (_proxy, url) = proxy_before(&format!("http://127.0.0.1:{gone}")).await;
        let request = Request::builder().uri(format!("{url}/conversations")).body(Body::empty()).unwrap();
        let (status, body) = call(request).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert_eq!(body, r#"{"detail":"the local AWS emulator does not answer"}"#);
    }
}
