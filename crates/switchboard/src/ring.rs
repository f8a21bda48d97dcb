//! `switchboard ring`: a simulated person rings a number of the local stack.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use serde_json::Value;
use switchboard_model::{
    carriers::CarrierName,
    ids::{AccountId, ConversationId},
    phone_numbers::E164,
};

use crate::{
    api_client::{ApiClient, POLL_INTERVAL},
    call_lines::{self, Direction},
    devstack::Addresses,
    operate,
    tls::install_tls_provider,
};

/// Maximum time until the conversation exists: the number's webhooks take up to 5 s, clips up to 3 s, and a request that
/// failed is repeated.
const BEGIN_LIMIT: Duration = Duration::from_secs(30);
/// Maximum time without an event. A person who is not answered hangs up after half a minute.
const EVENT_LIMIT: Duration = Duration::from_mins(5);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The number to ring, such as +14155550199 [default: the number that the local stack's account has from the start].
    number: Option<E164>,
    /// The person who rings.
    #[arg(long, value_enum, default_value = "talks")]
    caller: CallerKind,
    /// The number that the person rings from [default: that of the person]. The person of another number talks.
    #[arg(long, value_name = "NUMBER", conflicts_with = "caller")]
    from: Option<E164>,
}

/// The sandbox's people who can ring a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CallerKind {
    /// Asks when the shop closes on Saturday, and says goodbye.
    Talks,
    /// Speaks in the middle of the agent's sentence.
    Interrupts,
    /// Coughs while the agent speaks.
    Coughs,
    /// Says nothing.
    Silent,
    /// Hangs up in the agent's first sentence.
    HangsUp,
    /// Plays the words of an answering machine.
    Machine,
}

impl CallerKind {
    /// The person's number in the sandbox (`crates/sandbox/scripts/callers.json`).
    fn number(self) -> &'static str {
        match self {
            Self::Talks => "+14155550100",
            Self::Interrupts => "+14155550156",
            Self::Coughs => "+14155550157",
            Self::Silent => "+14155550155",
            Self::HangsUp => "+14155550154",
            Self::Machine => "+14155550153",
        }
    }
}

/// Rings a number, and shows the conversation until it has ended. `state` is the state directory, if one was named.
///
/// # Errors
///
/// No stack runs, the number cannot take a call, or the call was rejected; the error says what to do.
pub(crate) fn run(args: &Args, state: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let addresses = operate::local_stack(state)?;
    install_tls_provider();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(Box::pin(ring(args, &addresses)))?;
    Ok(ExitCode::SUCCESS)
}

async fn ring(args: &Args, addresses: &Addresses) -> anyhow::Result<()> {
    let carrier = CarrierName::default().as_str();
    ensure!(
        addresses.is_simulated(carrier),
        "the carrier of this stack is not simulated: ring its number with a telephone"
    );
    let client = ApiClient::new(addresses)?;
    let number = args.number.as_ref().map_or(addresses.from_number.as_str(), E164::as_str);
    let from = args.from.as_ref().map_or_else(|| args.caller.number(), E164::as_str);
    check_number(&client, number).await?;
    let account: AccountId = addresses.account_id.parse().context("reading the account in local.json")?;
    let rung = Instant::now();
    let sid = client.ring(from, number).await?;
    let id = ConversationId::of_call(account, &sid).to_string();
    let console = addresses.console_url(&format!("/conversations/{id}"));
    writeln!(io::stdout(), "\n{from} rings {number}. The console shows the call: {console}\n")?;
    await_conversation(&client, &id, &sid, rung).await?;
    let events = watch(&client, &id, rung).await?;
    match rejection(&events) {
        None => Ok(()),
        Some(reason) => bail!("the call was not taken: {reason}"),
    }
}

/// Fails if the account does not have the number, or the number has nothing that could take a call.
async fn check_number(client: &ApiClient, number: &str) -> anyhow::Result<()> {
    let Some(found) = client.find_number(number).await? else {
        let numbers = client.numbers().await?;
        let numbers: Vec<_> = numbers.iter().filter_map(|number| number["phone_number"].as_str()).collect();
        bail!("the local stack's account does not have the number {number}; it has {}", numbers.join(", "));
    };
    let has_webhooks = found["webhooks"].as_array().is_some_and(|webhooks| !webhooks.is_empty());
    ensure!(
        has_webhooks || !found["inbound_agent_id"].is_null(),
        "{number} has no agent. Give it one on the page Numbers of the console, or with \
         `PATCH /phone_numbers/{number}` and {{\"inbound_agent_id\": \"agt_...\"}}"
    );
    Ok(())
}

/// Waits until the conversation of the carrier's call exists.
async fn await_conversation(client: &ApiClient, id: &str, sid: &str, rung: Instant) -> anyhow::Result<()> {
    loop {
        // Asked before the conversation: a call that is over now has been stored before, or never will be.
        let status = client.carrier_status(sid).await?;
        if client.find_conversation(id).await?.is_some() {
            return Ok(());
        }
        if !matches!(status.as_str(), "queued" | "ringing" | "in-progress") {
            bail!(
                "the carrier ended the call as `{status}`, and no conversation was stored: this happens above the limit of \
                 inbound calls a second, or if the API cannot be reached; the logs of the local stack say more"
            );
        }
        ensure!(rung.elapsed() < BEGIN_LIMIT, "no conversation began within {} s", BEGIN_LIMIT.as_secs());
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Shows each event and its notes, until the conversation has ended.
async fn watch(client: &ApiClient, id: &str, rung: Instant) -> anyhow::Result<Vec<Value>> {
    let mut events: Vec<Value> = vec![];
    let mut last = Instant::now();
    loop {
        for event in client.events_after(id, events.len()).await? {
            show(rung.elapsed(), &event)?;
            events.push(event);
            last = Instant::now();
        }
        if events.last().is_some_and(|event| event["event"] == "conversation:ended") {
            return Ok(events);
        }
        ensure!(last.elapsed() < EVENT_LIMIT, "nothing happened for {} s", EVENT_LIMIT.as_secs());
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn show(elapsed: Duration, event: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if let Some(line) = call_lines::line(elapsed, event, Direction::Inbound) {
        writeln!(out, "{line}")?;
    }
    for note in notes(event) {
        writeln!(out, "                  {note}")?;
    }
    Ok(())
}

fn notes(event: &Value) -> impl Iterator<Item = &str> {
    event["notes"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The reason why the call was not taken; `None` if it was.
fn rejection(events: &[Value]) -> Option<String> {
    let event = events.iter().find(|event| event["event"] == "phone_call:rejected")?;
    let reason = event["data"]["reason"].as_str().unwrap_or_default();
    let notes: Vec<_> = events.iter().flat_map(notes).collect();
    Some(if notes.is_empty() { reason.to_owned() } else { notes.join("; ") })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_caller_is_a_person_of_the_sandbox() {
        let scripts: Value =
            serde_json::from_str(include_str!("../../sandbox/scripts/callers.json")).unwrap();
        for caller in CallerKind::value_variants() {
            let has_script = scripts.get(caller.number()).is_some();
            assert_eq!(has_script, *caller != CallerKind::Talks, "{caller:?}");
        }
    }

    #[test]
    fn a_rejection_is_explained_by_the_notes_of_the_call() {
        let event = |name: &str, notes: Value| json!({ "event": name, "data": { "reason": "failed" }, "notes": notes });
        let accepted = event("phone_call:accepted", Value::Null);
        assert_eq!(rejection(std::slice::from_ref(&accepted)), None);
        let rejected = event("phone_call:rejected", json!(["the number has no agent"]));
        assert_eq!(rejection(&[rejected]).as_deref(), Some("the number has no agent"));
        let silent = event("phone_call:rejected", Value::Null);
        assert_eq!(rejection(&[silent]).as_deref(), Some("failed"));
    }
}
