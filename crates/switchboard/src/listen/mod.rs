//! `switchboard listen`: receives webhooks and prints them.
//!
//! It knows only what any receiver knows, the signing secret and the requests, and shares no code with the sender.

mod delivery;
mod notice;
mod signature;

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};
use standardwebhooks::Webhook;
use switchboard_model::event_names::EventName;
use switchboard_runtime::{Vars, now};
use tokio_util::sync::CancellationToken;

use crate::devstack;
use crate::operate;
use crate::signals::StopSignals;
use delivery::{Repeat, Seen};
use notice::Notice;
use signature::Signature;

/// The port unless `--port` names one; the next free one if it is taken.
const PORT: u16 = 4242;

/// Maximum size of a body: `conversation:ended` contains the whole conversation.
const MAX_BODY: usize = 8 << 20;

/// Time limit for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for requests that are in flight when the command stops.
const GRACE: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Port on 127.0.0.1 [default: 4242, or the next free one].
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// The secret that signs the webhooks, `whsec_...` [default: that of the local stack's account].
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// Results of tool calls: a JSON object, `{"function_name": RESULT}`, where RESULT is any JSON. Calls of other
    /// functions are answered with `{"ok": true}`.
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Answer every webhook with this status instead of 200, to see it retried.
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(200..=599))]
    status: Option<u16>,
    /// Print one JSON object per webhook and line, for programs; everything else goes to stderr.
    #[arg(long)]
    json: bool,
}

/// The state that all requests share.
struct WebhookPrinter {
    secret: Webhook,
    answers: Map<String, Value>,
    status: Option<StatusCode>,
    json: bool,
    colors: bool,
    received: Mutex<Received>,
    stopping: CancellationToken,
}

/// Totals so far.
#[derive(Default)]
struct Received {
    seen: Seen,
    webhooks: u64,
    repeated: u64,
    unverified: u64,
}

/// Listens until Ctrl-C. `state` is the state directory, if one was named.
///
/// # Errors
///
/// No secret is known, or the port is taken; the error says what to do.
pub(crate) fn run(args: Args, state: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Box::pin(listen(args, state)))
}

async fn listen(args: Args, state: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let Args { port, secret, answers, status, json } = args;
    let secret = match secret {
        Some(secret) => secret,
        None => operate::local_secret(state).await?,
    };
    let secret = Webhook::new(&secret)
        .map_err(|_| anyhow!("the signing secret is not valid: it must be `whsec_` followed by base64"))?;
    let answers = answers.as_deref().map(read_answers).transpose()?.unwrap_or_default();
    let status = status.map(StatusCode::from_u16).transpose()?;
    let listener = devstack::listen(port, PORT).await?;
    let mut signals = StopSignals::new()?;

    let start = start(listener.local_addr()?, &answers, status);
    if json {
        write!(std::io::stderr(), "{start}")?;
    } else {
        write!(std::io::stdout(), "{start}")?;
    }
    let stopping = CancellationToken::new();
    let receiver = Arc::new(WebhookPrinter {
        secret,
        answers,
        status,
        json,
        colors: std::io::stdout().is_terminal() && Vars::from_env().get("NO_COLOR").is_none(),
        received: Mutex::default(),
        stopping: stopping.clone(),
    });
    let app = Router::new().fallback(receive).with_state(Arc::clone(&receiver));
    let server = axum::serve(listener, app).with_graceful_shutdown(stopping.clone().cancelled_owned());
    let mut server = pin!(server.into_future());
    tokio::select! {
        result = &mut server => result?,
        () = signals.next() => {
            stopping.cancel();
            let _ = tokio::time::timeout(GRACE, server).await;
        }
    }
    writeln!(std::io::stderr(), "{}", receiver.summary())?;
    Ok(ExitCode::SUCCESS)
}

fn read_answers(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| {
        format!("{} is not a JSON object like {{\"function_name\": RESULT}}", path.display())
    })
}

/// The introduction: the URL, and the webhook to paste into an agent's configuration.
fn start(address: SocketAddr, answers: &Map<String, Value>, status: Option<StatusCode>) -> String {
    let url = format!("http://{address}/");
    // Without the event that is sent every second.
    let events = EventName::ALL.iter().filter(|event| **event != EventName::Duration);
    let webhook = json!({ "url": url, "method": "POST", "events": events.collect::<Vec<_>>() });
    let answering = match status {
        Some(status) => format!("Every webhook is answered with {}.\n", status.as_u16()),
        None => "Webhooks whose signature does not hold are answered with 401.\n".to_owned(),
    };
    let tools = if answers.is_empty() {
        String::new()
    } else {
        let names: Vec<&str> = answers.keys().map(String::as_str).collect();
        format!("Answers for the tools {}.\n", names.join(", "))
    };
    format!(
        "Listening on {url}\n{answering}{tools}\nIn an agent's configuration:\n\n\"webhooks\": [{webhook:#}]\n\n\
         Times are UTC. Ctrl-C ends.\n\n"
    )
}

async fn receive(State(receiver): State<Arc<WebhookPrinter>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let query = parts.uri.query().unwrap_or_default();
    let payload = delivery::payload(&body, query);
    // A GET has no body; its query is signed instead.
    let content = if parts.method == Method::GET { query.as_bytes() } else { &body };
    let signature = Signature::check(&receiver.secret, &parts.headers, content);
    let verified = signature == Signature::Verified;
    let status = receiver.status.unwrap_or(if verified { StatusCode::OK } else { StatusCode::UNAUTHORIZED });
    let answer = delivery::answer(&payload, &receiver.answers).filter(|_| status.is_success());
    let webhook_id = parts.headers.get("webhook-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let repeat = receiver.note(webhook_id.as_deref(), verified, status.is_success());
    let response = match &answer {
        Some(answer) => (status, axum::Json(answer.clone())).into_response(),
        None => status.into_response(),
    };
    receiver.show(&Notice {
        at: now(),
        method: parts.method.to_string(),
        webhook_id,
        signature,
        repeat,
        status: status.as_u16(),
        answer,
        payload,
    });
    response
}

impl WebhookPrinter {
    fn note(&self, id: Option<&str>, verified: bool, taken: bool) -> Repeat {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let repeat = id.map_or(Repeat::First, |id| received.seen.note(id, taken));
        received.webhooks += 1;
        received.repeated += u64::from(repeat != Repeat::First);
        received.unverified += u64::from(!verified);
        repeat
    }

    fn show(&self, notice: &Notice) {
        let text = if self.json { format!("{}\n", notice.json()) } else { notice.text(self.colors) };
        let mut stdout = std::io::stdout().lock();
        // The reader of stdout, such as `head`, has ended, so the command stops, too.
        if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
            self.stopping.cancel();
        }
    }

    fn summary(&self) -> String {
        let received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let Received { webhooks, repeated, unverified, .. } = &*received;
        format!("{webhooks} webhooks, {repeated} of them repeated, {unverified} not verified")
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use serde_json::{Map, Value};

    use super::{read_answers, start};

    #[test]
    fn the_webhook_to_paste_is_valid() {
        let said = start("127.0.0.1:4242".parse().unwrap(), &Map::new(), None);
        let webhooks = said.split_once("\"webhooks\": ").unwrap().1.split_once("\n\n").unwrap().0;
        let webhooks: Value = serde_json::from_str(webhooks).unwrap();
        assert_eq!(webhooks[0]["url"], "http://127.0.0.1:4242/");
        let events = webhooks[0]["events"].as_array().unwrap();
        assert!(events.len() == 10 && !events.contains(&"conversation:duration".into()), "{events:?}");
    }

    #[test]
    fn the_status_and_the_tools_are_named_at_the_start() {
        let answers = [("price".to_owned(), Value::Null)].into_iter().collect();
        let said = start("127.0.0.1:1".parse().unwrap(), &answers, Some(StatusCode::BAD_GATEWAY));
        assert!(said.contains("answered with 502") && said.contains("tools price."), "{said}");
    }

    #[test]
    fn answers_must_be_an_object_and_the_error_has_an_example() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("answers.json");
        std::fs::write(&file, "[1]").unwrap();
        let error = format!("{:#}", read_answers(&file).unwrap_err());
        assert!(error.contains("answers.json") && error.contains("function_name"), "{error}");
    }
}
