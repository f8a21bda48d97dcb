//! The webhook client and its SSRF guard, on real sockets.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr, TcpListener as Trap},
    sync::{Arc, LazyLock, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
};

use switchboard_model::webhooks::WebhookMethod;

use super::*;
use crate::egress::{
    Lookup, guarded,
    tests::{answer_http, serve_once, trusting_the_test},
};

/// For responses that come; on a busy machine they may take a while.
const PATIENT: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(300);

const SECRETS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];
static BODY: LazyLock<Payload> = LazyLock::new(|| Payload::Json("{}".to_owned()));

fn webhook(url: &str) -> Webhook {
    Webhook { events: vec![], url: url.to_owned(), method: WebhookMethod::Post, headers: None, filter: None }
}

fn post(webhook: &Webhook) -> WebhookRequest<'_> {
    let now = Timestamp::from_millis(1_700_000_000_999);
    WebhookRequest { webhook, payload: &BODY, id: "evt_1_0", secrets: &SECRETS, now, timeout: PATIENT }
}

impl WebhookClient {
    async fn post(&self, url: &str) -> Result<WebhookResponse, SendError> {
        self.request(&post(&webhook(url))).await
    }

    async fn post_within(&self, timeout: Duration, url: &str) -> Result<WebhookResponse, SendError> {
        self.request(&WebhookRequest { timeout, ..post(&webhook(url)) }).await
    }
}

/// A DNS resolver that gives these answers one after the other, and then knows no name.
fn answering<const N: usize>(answers: [&[&str]; N]) -> (Lookup, Arc<Mutex<VecDeque<Vec<SocketAddr>>>>) {
    let address = |text: &&str| SocketAddr::new(text.parse::<IpAddr>().unwrap(), 0);
    let answers = answers.map(|answer| answer.iter().map(address).collect());
    let left = Arc::new(Mutex::new(VecDeque::from(answers)));
    let answers = left.clone();
    let lookup: Lookup = Arc::new(move |_| {
        let answer = answers.lock().unwrap().pop_front().unwrap_or_default();
        Box::pin(async move { Ok(answer) })
    });
    (lookup, left)
}

fn resolving(egress_policy: EgressPolicy, lookup: Lookup) -> WebhookClient {
    WebhookClient::with(egress_policy, guarded(egress_policy, trusting_the_test(), lookup))
}

/// A server on loopback that must not be called.
struct Forbidden(Trap);

impl Forbidden {
    fn new() -> Self {
        let trap = Trap::bind("127.0.0.1:0").unwrap();
        trap.set_nonblocking(true).unwrap();
        Self(trap)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Whether a client has connected, even if only for a moment.
    fn was_called(&self) -> bool {
        self.0.accept().is_ok()
    }
}

/// An endpoint that reads one request on each connection and then runs a script.
struct Endpoint {
    address: SocketAddr,
    /// The requests so far, in their order.
    requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Endpoint {
    async fn new<F: Future<Output = ()> + Send + 'static>(
        answer: impl Fn(TcpStream) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let (seen, mut tasks) = (requests.clone(), JoinSet::new());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = Vec::new();
                // Every test's request has a body that ends so, or none.
                let is_whole = |request: &[u8]| {
                    let end: &[u8] = if request.starts_with(b"GET") { b"\r\n\r\n" } else { b"\r\n\r\n{}" };
                    request.ends_with(end)
                };
                while !is_whole(&request) {
                    if socket.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                seen.lock().unwrap().push(String::from_utf8(request).unwrap());
                connections.spawn(answer(socket));
            }
        });
        Self { address, requests, _tasks: tasks }
    }

    async fn answering(answer: &'static str) -> Self {
        Self::new(async move |mut socket| {
            let _ = socket.write_all(answer.as_bytes()).await;
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test]
async fn a_private_url_is_refused_in_every_notation() {
    let forbidden = Forbidden::new();
    let (client, port) = (WebhookClient::new(EgressPolicy::PublicOnly), forbidden.port());
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "%31%32%37.0.0.1",
        "0.0.0.0",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "a.localhost.",
        "user:password@127.0.0.1",
        "user@example.com",
    ] {
        for scheme in ["https", "http"] {
            let url = format!("{scheme}://{host}:{port}/hook");
            let sent = client.post(&url).await;
            assert!(matches!(sent, Err(SendError::Refused(_))), "{url}: {sent:?}");
        }
    }
    assert!(!forbidden.was_called());
    // The same server is reached where the policy allows it, so the silence above means something.
    let url = format!("http://127.0.0.1:{port}/hook");
    let sent = WebhookClient::new(EgressPolicy::Local).post_within(SHORT, &url).await;
    assert_eq!(sent, Err(SendError::TimedOut(SHORT)));
    assert!(forbidden.was_called());
}

#[tokio::test]
async fn the_local_policy_allows_loopback_and_no_other_private_address() {
    let client = WebhookClient::new(EgressPolicy::Local);
    for host in ["10.0.0.1", "192.168.0.1", "169.254.169.254", "[fe80::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let sent = client.post(&format!("http://{host}/hook")).await;
        assert_eq!(sent, Err(BadUrl::NotPublic.into()), "{host}");
    }
    let endpoint = Endpoint::answering(OK).await;
    let url = format!("http://localhost:{}/hook", endpoint.address.port());
    assert_eq!(client.post(&url).await.unwrap().text, "hi");
}

#[tokio::test]
async fn a_name_with_only_private_addresses_is_refused() {
    let forbidden = Forbidden::new();
    let private = [
        "127.0.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "::1",
        "::ffff:127.0.0.1",
        "fd00:ec2::254",
        "fe80::1",
    ];
    for address in private {
        let (lookup, _) = answering([&[address]]);
        let url = format!("https://example.com:{}/hook", forbidden.port());
        let sent = resolving(EgressPolicy::PublicOnly, lookup).post(&url).await;
        assert_eq!(sent, Err(BadUrl::NotPublic.into()), "{address}");
    }
    let (lookup, left) = answering([&private[..]]);
    let url = format!("https://example.com:{}/hook", forbidden.port());
    let sent = resolving(EgressPolicy::PublicOnly, lookup).post(&url).await;
    assert_eq!(sent, Err(BadUrl::NotPublic.into()));
    assert!(left.lock().unwrap().is_empty(), "the name was looked up");
    assert!(!forbidden.was_called());
}

#[tokio::test]
async fn dns_rebinding_is_judged_by_the_connected_address() {
    // The first lookup yields a public address; the connection uses the second one.
    let forbidden = Forbidden::new();
    let (lookup, left) = answering([&["93.184.215.14"], &["127.0.0.1"]]);
    assert!(EgressPolicy::PublicOnly.admit(lookup("example.com".into()).await.unwrap()[0].ip()));
    let client = resolving(EgressPolicy::PublicOnly, lookup);
    let sent = client.post(&format!("https://example.com:{}/hook", forbidden.port())).await;
    assert_eq!(sent, Err(BadUrl::NotPublic.into()));
    assert!(left.lock().unwrap().is_empty() && !forbidden.was_called());

    // One lookup serves the check and the connection, and each request has its own.
    let endpoint = Endpoint::answering(OK).await;
    let (lookup, left) = answering([&["127.0.0.1"], &["10.0.0.1"], &["127.0.0.1"]]);
    let client = resolving(EgressPolicy::Local, lookup);
    let url = format!("http://example.com:{}/hook", endpoint.address.port());
    assert_eq!(client.post(&url).await.unwrap().status, 200);
    assert_eq!(left.lock().unwrap().len(), 2);
    assert_eq!(client.post(&url).await, Err(BadUrl::NotPublic.into()), "no connection was kept");
    assert_eq!(client.post(&url).await.unwrap().status, 200);
    assert_eq!(client.post(&url).await, Err(SendError::Unresolved));
    assert_eq!(endpoint.requests.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn https_requires_a_trusted_certificate_of_the_same_name() {
    let trusting = |addresses: [&[&str]; 1]| resolving(EgressPolicy::Local, answering(addresses).0);
    let (address, thread) = serve_once(answer_http);
    let url = format!("https://localhost:{}/hook", address.port());
    assert_eq!(trusting([&["127.0.0.1"]]).post(&url).await.unwrap().text, "hi");
    thread.join().unwrap();

    let (address, thread) = serve_once(answer_http);
    let url = format!("https://example.com:{}/hook", address.port());
    let sent = trusting([&["127.0.0.1"]]).post(&url).await;
    let Err(SendError::Tls(words)) = sent else { panic!("{sent:?}") };
    assert!(words.contains("not valid for name"), "{words}");
    thread.join().unwrap();

    let (address, thread) = serve_once(answer_http);
    let url = format!("https://localhost:{}/hook", address.port());
    let sent = WebhookClient::new(EgressPolicy::Local).post(&url).await;
    assert_eq!(sent, Err(SendError::Tls("invalid peer certificate: UnknownIssuer".to_owned())));
    thread.join().unwrap();
}

#[tokio::test]
async fn a_redirect_is_a_response_and_is_not_followed() {
    let forbidden = Forbidden::new();
    let location = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{}/\r\ncontent-length: 0\r\n\r\n",
        forbidden.port()
    );
    let endpoint = Endpoint::answering(location.leak()).await;
    let answer = WebhookClient::new(EgressPolicy::Local).post(&endpoint.url()).await.unwrap();
    assert_eq!(answer.status, 302);
    assert!(!forbidden.was_called());
}

#[tokio::test]
async fn a_huge_response_is_cut_off_after_16_kib() {
    let (sender, written) = tokio::sync::oneshot::channel();
    let sender = Mutex::new(Some(sender));
    let endpoint = Endpoint::new(move |mut socket| {
        let sender = sender.lock().unwrap().take().unwrap();
        async move {
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n").await.unwrap();
            let (mut written, chunk) = (0, [b'a'; 16 * 1024]);
            while written < 100_000_000 && socket.write_all(&chunk).await.is_ok() {
                written += chunk.len();
            }
            sender.send(written).unwrap();
        }
    })
    .await;
    let answer = WebhookClient::new(EgressPolicy::Local).post(&endpoint.url()).await.unwrap();
    assert_eq!((answer.status, answer.text.len()), (200, 16 * 1024));
    // At most the buffers of two sockets were filled.
    let written = timeout(PATIENT, written).await.unwrap().unwrap();
    assert!(written < 50_000_000, "{written} bytes were taken");
}

#[tokio::test]
async fn a_slow_or_missing_response_times_out() {
    let dripping = Endpoint::new(async |mut socket| {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
        while socket.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let silent = Endpoint::new(async |_socket| std::future::pending().await).await;
    let client = WebhookClient::new(EgressPolicy::Local);
    for endpoint in [&dripping, &silent] {
        let sent = client.post_within(SHORT, &endpoint.url()).await;
        assert_eq!(sent, Err(SendError::TimedOut(SHORT)));
        assert_eq!(endpoint.requests.lock().unwrap().len(), 1);
    }
    assert_eq!(SendError::TimedOut(Duration::from_secs(10)).to_string(), "no whole answer within 10 seconds");
}

#[tokio::test]
async fn reserved_headers_are_never_the_customers() {
    let endpoint = Endpoint::answering(OK).await;
    let own = [
        ("Authorization", "Bearer x"),
        ("X-Umlaut", "grün"),
        ("X-Bad\r\nHost", "a"),
        ("X-Bad", "a\r\nHost: internal"),
        ("Host", "internal"),
        ("Content-Length", "1"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "keep-alive"),
        ("Webhook-Id", "theirs"),
        ("webhook-extra", "theirs"),
        ("Content-Type", "text/plain"),
        ("User-Agent", "theirs"),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let webhook = Webhook { headers: Some(own), ..webhook(&format!("{}?own=1", endpoint.url())) };
    let client = WebhookClient::new(EgressPolicy::Local);
    client.request(&post(&webhook)).await.unwrap();
    let payload = &Payload::Query("event=a+b&id=1".to_owned());
    client.request(&WebhookRequest { payload, ..post(&webhook) }).await.unwrap();

    let requests = endpoint.requests.lock().unwrap();
    let lines = |request: &str| {
        let (head, _) = request.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<_> = head.split("\r\n").map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("webhook-signature: v1,"));
        lines[1..].sort();
        lines
    };
    let agent = format!("user-agent: {}", egress::USER_AGENT);
    let host = format!("host: {}", endpoint.address);
    let common = ["accept: */*", "authorization: Bearer x", &host, &agent];
    let signed = ["webhook-id: evt_1_0", "webhook-timestamp: 1700000000", "x-umlaut: grün"];
    let mut posted = vec!["POST /hook?own=1 HTTP/1.1"];
    posted.extend(&common[..2]);
    posted.extend(["content-length: 2", "content-type: application/json"]);
    posted.extend(common[2..].iter().chain(&signed));
    assert_eq!(lines(&requests[0]), posted);
    let mut got = vec!["GET /hook?own=1&event=a+b&id=1 HTTP/1.1"];
    got.extend(&common[..2]);
    got.push("content-type: text/plain");
    got.extend(common[2..].iter().chain(&signed));
    assert_eq!(lines(&requests[1]), got);
}

#[tokio::test]
async fn errors_never_contain_an_address() {
    let client = WebhookClient::new(EgressPolicy::Local);
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nowhere = format!("http://{}/", reserved.local_addr().unwrap());
    assert_eq!(client.post(&nowhere).await, Err(SendError::ConnectionRefused));

    let rude = Endpoint::answering("SSH-2.0-OpenSSH_9.9\r\n").await;
    assert_eq!(client.post(&rude.url()).await, Err(SendError::Broken));
    let brief = Endpoint::answering("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhi").await;
    assert_eq!(client.post(&brief.url()).await, Err(SendError::Broken));

    let unsigned = client.request(&WebhookRequest { secrets: &[], ..post(&webhook(&rude.url())) }).await;
    assert_eq!(unsigned, Err(SendError::Unsigned));
    assert_eq!(rude.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_is_signed_and_its_attempt_recorded() {
    let echo =
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 16\r\n\r\nBearer 123456789";
    let endpoint = Endpoint::answering(echo).await;
    let headers = Some([("authorization".to_owned(), "Bearer 123456789".to_owned())].into());
    let webhook = Webhook { headers, ..webhook(&format!("{}?own='1'&b=%20", endpoint.url())) };
    let client = WebhookClient::new(EgressPolicy::Local);
    for payload in [Payload::Json("{}".to_owned()), Payload::Query("event=a+b&c=%27".to_owned())] {
        let (attempt, answer) = client.send(WebhookRequest { payload: &payload, ..post(&webhook) }).await;
        assert_eq!((attempt.at.as_millis(), attempt.status), (1_700_000_000_999, Some(429)));
        assert_eq!(attempt.answer.as_deref(), Some("[redacted]"));
        assert_eq!(answer.unwrap().retry_after, Some(Duration::from_secs(7)));

        let request = endpoint.requests.lock().unwrap().pop().unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let target = head.split(' ').nth(1).unwrap();
        let content = if body.is_empty() { target.split_once('?').unwrap().1 } else { body };
        let signature = signature::sign(SECRETS, "evt_1_0", 1_700_000_000, content);
        assert!(head.contains(&format!("webhook-signature: {signature}\r\n")), "{head}");
    }
    let private = Webhook { url: "https://10.0.0.1/".to_owned(), ..webhook };
    let (attempt, answer) = client.send(post(&private)).await;
    assert_eq!((attempt.status, answer), (None, None));
    assert_eq!(attempt.answer.as_deref(), Some("not called: URL should point to a public address"));
}
