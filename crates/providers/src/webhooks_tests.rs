//! The sender and its guard, on real sockets.

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

use switchboard_model::agents::WebhookMethod;

use super::*;
use crate::egress::{
    Lookup, guarded,
    tests::{answer_http, serve_once, trusting_the_test},
};

/// For answers that come; on a busy machine they may take a while.
const PATIENT: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(300);

const SECRETS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];
static BODY: LazyLock<Payload> = LazyLock::new(|| Payload::Json("{}".to_owned()));

fn webhook(url: &str) -> Webhook {
    Webhook { events: vec![], url: url.to_owned(), method: WebhookMethod::Post, headers: None, filter: None }
}

fn post(webhook: &Webhook) -> Request<'_> {
    let now = Timestamp::from_millis(1_700_000_000_999);
    Request { webhook, payload: &BODY, id: "evt_1_0", secrets: &SECRETS, now, timeout: PATIENT }
}

impl Sender {
    async fn post(&self, url: &str) -> Result<Answer, SendError> {
        self.answer(&post(&webhook(url))).await
    }

    async fn post_within(&self, timeout: Duration, url: &str) -> Result<Answer, SendError> {
        self.answer(&Request { timeout, ..post(&webhook(url)) }).await
    }
}

/// A name server: the answers to its questions, one after the other; then there is no such name.
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

fn resolving(egress_policy: EgressPolicy, lookup: Lookup) -> Sender {
    Sender::with(egress_policy, guarded(egress_policy, trusting_the_test(), lookup))
}

/// A server on loopback that must not be called.
struct Closed(Trap);

impl Closed {
    fn new() -> Self {
        let trap = Trap::bind("127.0.0.1:0").unwrap();
        trap.set_nonblocking(true).unwrap();
        Self(trap)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Whether somebody has connected, even if only for a moment.
    fn was_called(&self) -> bool {
        self.0.accept().is_ok()
    }
}

/// A receiver that reads one request on each connection and then does as it is told.
struct Receiver {
    address: SocketAddr,
    /// The requests so far, as they came.
    requests: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Receiver {
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
async fn no_byte_goes_to_a_url_that_is_private_in_any_notation() {
    let closed = Closed::new();
    let (sender, port) = (Sender::new(EgressPolicy::PublicOnly), closed.port());
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
            let sent = sender.post(&url).await;
            assert!(matches!(sent, Err(SendError::Refused(_))), "{url}: {sent:?}");
        }
    }
    assert!(!closed.was_called());
    // The same server is called where it may be, so silence above means something.
    let url = format!("http://127.0.0.1:{port}/hook");
    let sent = Sender::new(EgressPolicy::Local).post_within(SHORT, &url).await;
    assert_eq!(sent, Err(SendError::TimedOut(SHORT)));
    assert!(closed.was_called());
}

#[tokio::test]
async fn local_mode_reaches_this_machine_and_nothing_else_that_is_private() {
    let sender = Sender::new(EgressPolicy::Local);
    for host in ["10.0.0.1", "192.168.0.1", "169.254.169.254", "[fe80::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let sent = sender.post(&format!("http://{host}/hook")).await;
        assert_eq!(sent, Err(BadUrl::NotPublic.into()), "{host}");
    }
    let receiver = Receiver::answering(OK).await;
    let url = format!("http://localhost:{}/hook", receiver.address.port());
    assert_eq!(sender.post(&url).await.unwrap().body, b"hi");
}

#[tokio::test]
async fn no_byte_goes_to_a_name_that_leads_to_private_addresses_only() {
    let closed = Closed::new();
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
        let url = format!("https://example.com:{}/hook", closed.port());
        let sent = resolving(EgressPolicy::PublicOnly, lookup).post(&url).await;
        assert_eq!(sent, Err(BadUrl::NotPublic.into()), "{address}");
    }
    let (lookup, left) = answering([&private[..]]);
    let url = format!("https://example.com:{}/hook", closed.port());
    let sent = resolving(EgressPolicy::PublicOnly, lookup).post(&url).await;
    assert_eq!(sent, Err(BadUrl::NotPublic.into()));
    assert!(left.lock().unwrap().is_empty(), "the name was looked up");
    assert!(!closed.was_called());
}

#[tokio::test]
async fn a_name_that_changes_its_address_is_judged_by_the_one_it_is_connected_to() {
    // To whoever asks first it is public; the connection is opened with the next answer.
    let closed = Closed::new();
    let (lookup, left) = answering([&["93.184.215.14"], &["127.0.0.1"]]);
    assert!(EgressPolicy::PublicOnly.admit(lookup("example.com".into()).await.unwrap()[0].ip()));
    let sender = resolving(EgressPolicy::PublicOnly, lookup);
    let sent = sender.post(&format!("https://example.com:{}/hook", closed.port())).await;
    assert_eq!(sent, Err(BadUrl::NotPublic.into()));
    assert!(left.lock().unwrap().is_empty() && !closed.was_called());

    // One look-up serves the check and the connection, and each request has its own.
    let receiver = Receiver::answering(OK).await;
    let (lookup, left) = answering([&["127.0.0.1"], &["10.0.0.1"], &["127.0.0.1"]]);
    let sender = resolving(EgressPolicy::Local, lookup);
    let url = format!("http://example.com:{}/hook", receiver.address.port());
    assert_eq!(sender.post(&url).await.unwrap().status, 200);
    assert_eq!(left.lock().unwrap().len(), 2);
    assert_eq!(sender.post(&url).await, Err(BadUrl::NotPublic.into()), "no connection was kept");
    assert_eq!(sender.post(&url).await.unwrap().status, 200);
    assert_eq!(sender.post(&url).await, Err(SendError::Unresolved));
    assert_eq!(receiver.requests.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn https_needs_a_certificate_that_is_trusted_and_of_this_name() {
    let trusting = |addresses: [&[&str]; 1]| resolving(EgressPolicy::Local, answering(addresses).0);
    let (address, thread) = serve_once(answer_http);
    let url = format!("https://localhost:{}/hook", address.port());
    assert_eq!(trusting([&["127.0.0.1"]]).post(&url).await.unwrap().body, b"hi");
    thread.join().unwrap();

    let (address, thread) = serve_once(answer_http);
    let url = format!("https://example.com:{}/hook", address.port());
    let sent = trusting([&["127.0.0.1"]]).post(&url).await;
    let Err(SendError::Tls(words)) = sent else { panic!("{sent:?}") };
    assert!(words.contains("not valid for name"), "{words}");
    thread.join().unwrap();

    let (address, thread) = serve_once(answer_http);
    let url = format!("https://localhost:{}/hook", address.port());
    let sent = Sender::new(EgressPolicy::Local).post(&url).await;
    assert_eq!(sent, Err(SendError::Tls("invalid peer certificate: UnknownIssuer".to_owned())));
    thread.join().unwrap();
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let closed = Closed::new();
    let location = format!(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{}/\r\ncontent-length: 0\r\n\r\n",
        closed.port()
    );
    let receiver = Receiver::answering(location.leak()).await;
    let answer = Sender::new(EgressPolicy::Local).post(&receiver.url()).await.unwrap();
    assert_eq!(answer.status, 302);
    assert!(!closed.was_called());
}

#[tokio::test]
async fn of_a_huge_answer_16_kib_are_read_and_the_connection_ends() {
    let (sender, written) = tokio::sync::oneshot::channel();
    let sender = Mutex::new(Some(sender));
    let receiver = Receiver::new(move |mut socket| {
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
    let answer = Sender::new(EgressPolicy::Local).post(&receiver.url()).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 16 * 1024));
    // What fits into the buffers of two sockets.
    let written = timeout(PATIENT, written).await.unwrap().unwrap();
    assert!(written < 50_000_000, "{written} bytes were taken");
}

#[tokio::test]
async fn an_answer_that_drips_or_never_comes_ends_with_the_time() {
    let dripping = Receiver::new(async |mut socket| {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n").await;
        while socket.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let silent = Receiver::new(async |_socket| std::future::pending().await).await;
    let sender = Sender::new(EgressPolicy::Local);
    for receiver in [&dripping, &silent] {
        let sent = sender.post_within(SHORT, &receiver.url()).await;
        assert_eq!(sent, Err(SendError::TimedOut(SHORT)));
        assert_eq!(receiver.requests.lock().unwrap().len(), 1);
    }
    assert_eq!(SendError::TimedOut(Duration::from_secs(10)).to_string(), "no whole answer within 10 seconds");
}

#[tokio::test]
async fn our_headers_win_and_those_of_the_connection_are_not_the_customers() {
    let receiver = Receiver::answering(OK).await;
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
    let webhook = Webhook { headers: Some(own), ..webhook(&format!("{}?own=1", receiver.url())) };
    let sender = Sender::new(EgressPolicy::Local);
    sender.answer(&post(&webhook)).await.unwrap();
    let payload = &Payload::Query("event=a+b&id=1".to_owned());
    sender.answer(&Request { payload, ..post(&webhook) }).await.unwrap();

    let requests = receiver.requests.lock().unwrap();
    let lines = |request: &str| {
        let (head, _) = request.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<_> = head.split("\r\n").map(str::to_owned).collect();
        lines.retain(|line| !line.starts_with("webhook-signature: v1,"));
        lines[1..].sort();
        lines
    };
    let agent = format!("user-agent: {}", egress::USER_AGENT);
    let host = format!("host: {}", receiver.address);
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
async fn what_went_wrong_is_said_without_an_address() {
    let sender = Sender::new(EgressPolicy::Local);
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nowhere = format!("http://{}/", reserved.local_addr().unwrap());
    assert_eq!(sender.post(&nowhere).await, Err(SendError::ConnectionRefused));

    let rude = Receiver::answering("SSH-2.0-OpenSSH_9.9\r\n").await;
    assert_eq!(sender.post(&rude.url()).await, Err(SendError::Broken));
    let brief = Receiver::answering("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhi").await;
    assert_eq!(sender.post(&brief.url()).await, Err(SendError::Broken));

    let unsigned = sender.answer(&Request { secrets: &[], ..post(&webhook(&rude.url())) }).await;
    assert_eq!(unsigned, Err(SendError::Unsigned));
    assert_eq!(rude.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_event_is_signed_as_it_is_sent_and_the_attempt_says_what_came_of_it() {
    let echo =
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 16\r\n\r\nBearer 123456789";
    let receiver = Receiver::answering(echo).await;
    let headers = Some([("authorization".to_owned(), "Bearer 123456789".to_owned())].into());
    let webhook = Webhook { headers, ..webhook(&format!("{}?own='1'&b=%20", receiver.url())) };
    let sender = Sender::new(EgressPolicy::Local);
    for payload in [Payload::Json("{}".to_owned()), Payload::Query("event=a+b&c=%27".to_owned())] {
        let (attempt, answer) = sender.send(Request { payload: &payload, ..post(&webhook) }).await;
        assert_eq!((attempt.at.as_millis(), attempt.status), (1_700_000_000_999, Some(429)));
        assert_eq!(attempt.answer.as_deref(), Some("[redacted]"));
        assert_eq!(answer.unwrap().retry_after, Some(Duration::from_secs(7)));

        let request = receiver.requests.lock().unwrap().pop().unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let target = head.split(' ').nth(1).unwrap();
        let content = if body.is_empty() { target.split_once('?').unwrap().1 } else { body };
        let signature = signature::sign(SECRETS, "evt_1_0", 1_700_000_000, content);
        assert!(head.contains(&format!("webhook-signature: {signature}\r\n")), "{head}");
    }
    let private = Webhook { url: "https://10.0.0.1/".to_owned(), ..webhook };
    let (attempt, answer) = sender.send(post(&private)).await;
    assert_eq!((attempt.status, answer), (None, None));
    assert_eq!(attempt.answer.as_deref(), Some("not called: URL should point to a public address"));
}
