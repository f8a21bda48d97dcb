//! Outgoing connections: the only place that makes HTTP clients and opens websockets.
//!
//! HTTP and websockets share one trust store (Mozilla's roots) and one cryptography provider (ring). No proxy is used
//! and no redirect is followed: a provider's address is the configured one. Customers' URLs are connected to through
//! the SSRF guard (`guard.rs`). This module knows nothing of what is sent. Start with `client`.

mod guard;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use jiff::fmt::rfc2822;
use rustls::{ClientConfig, RootCertStore};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{self, handshake::client, protocol::WebSocketConfig},
};

/// Connecting takes some 10 ms within a region and 300 ms across an ocean. The caller hears silence meanwhile.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Some web application firewalls reject requests without a user agent.
pub(crate) const USER_AGENT: &str = concat!("switchboard/", env!("CARGO_PKG_VERSION"));

/// Maximum time to connect a websocket and complete its upgrade.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(4);

/// Maximum size of a provider's websocket message.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Read buffer of a provider's websocket, in bytes: a transcript or two. The library fills it with zeros for every attempt to
/// read, also while nothing has come, so a larger one costs time with each frame of the caller.
const READ_BUFFER: usize = 4 * 1024;

/// How much of an error body or a webhook response is read.
pub(crate) const MAX_BODY_BYTES: usize = 16 * 1024;
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
pub(crate) use self::guard::{Lookup, guarded};
pub(crate) use self::guard::{NotAllowed, Unresolved, guarded_client};

pub(crate) type WebSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

static TLS: LazyLock<ClientConfig> =
    LazyLock::new(|| trusting(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }));

fn trusting(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default TLS versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A client with a connection pool: clone it, do not make many.
///
/// # Panics
/// Never: everything it is built from is fixed here.
#[must_use]
pub fn client() -> reqwest::Client {
    builder(TLS.clone(), &[b"h2", b"http/1.1"])
        // Calls come in bursts; a pooled connection saves a handshake of 100 ms.
        .pool_idle_timeout(Duration::from_secs(90))
        // A pooled connection that died silently is noticed before the next request needs it.
        .http2_keep_alive_interval(Duration::from_secs(20))
        .http2_keep_alive_timeout(Duration::from_secs(5))
        .http2_keep_alive_while_idle(true)
        .build()
        .expect("a client without files or names to look up always builds")
}

/// A client that opens a connection for every request and never repeats one. For orders, which must not be executed
/// twice: a pooled connection may be closed just as it is used, and then it is unknown whether the request arrived.
///
/// # Panics
/// Never: everything it is built from is fixed here.
#[must_use]
pub fn single_use_client() -> reqwest::Client {
    builder(TLS.clone(), &[b"h2", b"http/1.1"])
        .pool_max_idle_per_host(0)
        .retry(reqwest::retry::never())
        .build()
        .expect("a client without files or names to look up always builds")
}

fn builder(mut tls: ClientConfig, protocols: &[&[u8]]) -> reqwest::ClientBuilder {
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tcp_nodelay(true)
        .user_agent(USER_AGENT)
}

/// Opens a websocket; `wss` trusts the same certificates as HTTPS.
pub(crate) async fn connect(request: client::Request) -> Result<WebSocket, tungstenite::Error> {
    connect_for_answer(request).await.map(|(socket, _)| socket)
}

/// The same, with the server's answer to the handshake.
pub(crate) async fn connect_for_answer(
    request: client::Request,
) -> Result<(WebSocket, client::Response), tungstenite::Error> {
    connect_with(TLS.clone(), request).await
}

async fn connect_with(
    tls: ClientConfig,
    request: client::Request,
) -> Result<(WebSocket, client::Response), tungstenite::Error> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let connector = Connector::Rustls(Arc::new(tls));
    let connecting = connect_async_tls_with_config(request, Some(config), true, Some(connector));
    match timeout(UPGRADE_TIMEOUT, Box::pin(connecting)).await {
        Ok(connected) => connected,
        Err(elapsed) => Err(tungstenite::Error::Io(elapsed.into())),
    }
}

/// Opens a pooled connection ahead of the next request, by a `HEAD` request.
pub(crate) async fn open_ahead(http: &reqwest::Client, base: &reqwest::Url) {
    // The response does not matter. If this fails, the next request connects itself.
    let _ = http.head(base.clone()).timeout(UPGRADE_TIMEOUT).send().await;
}

/// The beginning of an error body, as far as it arrives in time.
pub(crate) async fn error_body(mut response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    // A partial body still explains more than none.
    let _ = timeout(ERROR_BODY_TIMEOUT, read_beginning(&mut response, MAX_BODY_BYTES, &mut body)).await;
    body
}

/// Reads until `body` has `max` bytes. Dropping the response closes the connection without reading the rest.
pub(crate) async fn read_beginning(
    response: &mut reqwest::Response,
    max: usize,
    body: &mut Vec<u8>,
) -> reqwest::Result<()> {
    while body.len() < max
        && let Some(chunk) = response.chunk().await?
    {
        let room = max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
    }
    Ok(())
}

/// How long a provider asks to wait, at most an hour.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    requested_wait(headers).map(|wait| wait.min(Duration::from_hours(1)))
}

/// How long a server asks to wait: `retry-after-ms`, else `retry-after` in seconds or as a date by the server's clock.
pub(crate) fn requested_wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let number = |name| text(name)?.trim().parse::<f64>().ok();
    let date = |name| Some(rfc2822::parse(text(name)?).ok()?.timestamp());
    let seconds = number("retry-after-ms").map(|millis| millis / 1000.0).or_else(|| number("retry-after"));
    match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        None => date("retry-after")?.duration_since(date("date")?).try_into().ok(),
    }
}

/// Statuses after which the same request may succeed.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS
        )
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        io::{Read, Write},
        net::{SocketAddr, TcpListener, TcpStream},
        thread,
    };

    use futures_util::StreamExt;
    use rustls::{
        ServerConfig, ServerConnection, StreamOwned,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    };
    use tungstenite::{Message, client::IntoClientRequest};

    use super::*;

    const CERTIFICATE: &[u8] = include_bytes!("../tests/certificates/localhost.der");
    const KEY: &[u8] = include_bytes!("../tests/certificates/localhost.key.der");

    pub(crate) type TlsStream = StreamOwned<ServerConnection, TcpStream>;

    /// A TLS server with a certificate of its own, for one connection.
    pub(crate) fn serve_once(
        answer: impl FnOnce(TlsStream) + Send + 'static,
    ) -> (SocketAddr, thread::JoinHandle<()>) {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(KEY));
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(CERTIFICATE)], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (socket, _) = listener.accept().unwrap();
            answer(StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), socket));
        });
        (address, thread)
    }

    pub(crate) fn trusting_the_test() -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(CERTIFICATE)).unwrap();
        trusting(roots)
    }

    pub(crate) fn answer_http(mut stream: TlsStream) {
        let mut request = [0; 1024];
        if stream.read(&mut request).is_ok() {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
    }

    #[tokio::test]
    async fn https_accepts_a_trusted_certificate_only() {
        let (address, thread) = serve_once(answer_http);
        let http = builder(trusting_the_test(), &[b"http/1.1"]).build().unwrap();
        let answer = http.get(format!("https://{address}")).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "hi");
        thread.join().unwrap();

        let (address, thread) = serve_once(answer_http);
        assert!(client().get(format!("https://{address}")).send().await.unwrap_err().is_connect());
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn wss_accepts_a_trusted_certificate_only() {
        let request = |address| format!("wss://{address}").into_client_request().unwrap();
        let (address, thread) = serve_once(|stream| {
            let mut socket = tungstenite::accept(stream).unwrap();
            socket.send(Message::text("hi")).unwrap();
        });
        let (mut socket, _) = connect_with(trusting_the_test(), request(address)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hi"));
        thread.join().unwrap();

        let (address, thread) = serve_once(|stream| assert!(tungstenite::accept(stream).is_err()));
        assert!(connect(request(address)).await.is_err());
        thread.join().unwrap();
    }

    #[test]
    fn both_clients_can_be_built_twice() {
        for _ in 0..2 {
            drop((client(), single_use_client()));
        }
    }

    #[test]
    fn retry_after_is_read_from_either_header() {
        let wait = |pairs: &[(&'static str, &str)]| {
            let headers = pairs.iter().map(|(name, value)| {
                (http::HeaderName::from_static(name), value.parse::<http::HeaderValue>().unwrap())
            });
            retry_after(&headers.collect())
        };
        assert_eq!(
            wait(&[("retry-after", "2"), ("retry-after-ms", "150")]),
            Some(Duration::from_millis(150))
        );
        assert_eq!(wait(&[("retry-after", "2")]), Some(Duration::from_secs(2)));
        assert_eq!(wait(&[("retry-after", "-2")]), None);
        let date = "Wed, 21 Oct 2026 07:28:00 GMT";
        assert_eq!(wait(&[("retry-after", date)]), None);
        assert_eq!(
            wait(&[("retry-after", date), ("date", "Wed, 21 Oct 2026 07:27:30 GMT")]),
            Some(Duration::from_secs(30))
        );
        assert_eq!(wait(&[("retry-after", date), ("date", "Wed, 21 Oct 2026 07:28:30 GMT")]), None);
        assert_eq!(wait(&[("retry-after", "1e30")]), None);
        assert_eq!(wait(&[("retry-after", "999999")]), Some(Duration::from_hours(1)));
    }
}
