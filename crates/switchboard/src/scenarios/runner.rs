//! Places the call of one scenario, and collects everything that can be observed of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use switchboard_model::{agents::AgentConfig, catalogue};
use switchboard_runtime as system;
use switchboard_sandbox::speech::Speech;
use tokio::sync::Mutex;

use super::{
    expectations::{self, Mismatch},
    expected_quality,
    file::File,
    function_server::FunctionServer,
    heard_check,
    measured_call::{self, MeasuredCall},
    observed_call::{ObservedCall, millis},
    wording::seconds,
};
use crate::{
    api_client::{ApiClient, POLL_INTERVAL},
    devstack::{Addresses, key_variable},
    evidence,
};

/// Limit for a call. The demo's agent ends a call after two minutes; a user's own may take longer.
const TIME_LIMIT: Duration = Duration::from_mins(5);
/// Interval at which the start of ringing is polled; a phone rings for a second.
const RING_LOOK: Duration = Duration::from_millis(50);
/// Area codes for numbers reserved for fiction (555 01xx) that no other person of the sandbox has. A run takes one.
const AREAS: [u16; 12] = [202, 212, 303, 312, 404, 503, 512, 602, 617, 702, 808, 907];
/// Numbers per area code.
const NUMBERS: usize = 100;

/// Runs scenarios on one stack.
pub(super) struct Runner {
    addresses: Addresses,
    client: ApiClient,
    speech: Speech,
    /// Held for a call to one of the sandbox's own people: calls are configured apart by number, so one at a time.
    known_numbers: Mutex<()>,
}

/// The result of a scenario.
pub(super) struct ScenarioResult {
    pub(super) took: Duration,
    pub(super) happened: ObservedCall,
    pub(super) faults: Vec<Mismatch>,
    /// Its turn-taking; none without a recording.
    pub(super) measured: Option<MeasuredCall>,
}

/// Resources that a scenario created at the API and the sandbox, and must delete.
#[derive(Default)]
struct Cleanup {
    credentials: Vec<String>,
    /// URLs of the sandbox.
    configured: Vec<String>,
}

impl Runner {
    pub(super) fn new(addresses: &Addresses) -> anyhow::Result<Self> {
        Ok(Self {
            addresses: addresses.clone(),
            client: ApiClient::new(addresses)?,
            speech: Speech::connect(&addresses.speech_url)?,
            known_numbers: Mutex::default(),
        })
    }

    /// Runs a scenario; `index` is its place in the run.
    ///
    /// # Errors
    ///
    /// The call cannot be placed or observed.
    pub(super) async fn run(&self, file: &File, index: usize) -> anyhow::Result<ScenarioResult> {
        let begun = Instant::now();
        let _alone = match file.call.to {
            Some(_) => Some(self.known_numbers.lock().await),
            None => None,
        };
        let mut cleanup = Cleanup::default();
        let happened = self.place_and_observe(file, index, &mut cleanup).await;
        let cleaned_up = self.clean_up(cleanup).await;
        let happened = happened?;
        cleaned_up?;
        let mut faults = expectations::check(&file.call.expect, &happened);
        faults.extend(expectations::check_always(&happened));
        faults.extend(Self::unstored(&happened));
        let measured = measured_call::measure(&happened, &file.sounds);
        faults.extend(expected_quality::check(file.call.expect.quality.as_ref(), measured.as_ref()));
        Ok(ScenarioResult { took: begun.elapsed(), happened, faults, measured })
    }

    async fn place_and_observe(
        &self,
        file: &File,
        index: usize,
        cleanup: &mut Cleanup,
    ) -> anyhow::Result<ObservedCall> {
        let call = &file.call;
        let number = call.to.clone().unwrap_or_else(|| number(index));
        if let Some(person) = &call.caller {
            let url = format!("{}/sandbox/people/{number}", self.addresses.carrier_url()?);
            self.configure(url, person, cleanup).await.context("`caller`")?;
        }
        let mut agent = file.agent.clone();
        let when_ringing = self.configure_providers(file, &mut agent, cleanup).await?;
        let tools = FunctionServer::start(call.tools.clone()).await?;
        tools.add_to(&mut agent);

        let client = &self.client;
        let before = client.calls_to(&number).await?.len();
        let id = client.create_phone_call(&self.addresses.from_number, &number, &agent).await?;
        if let Some((url, configuration)) = when_ringing {
            self.wait_for_ringing(&id, &number, before).await?;
            client.configure_sandbox(&url, &configuration).await?;
        }
        self.wait(&id, call.end_after_ms.map(Duration::from_millis)).await?;
        let conversation = client.conversation(&id).await?;
        let media = millis(&conversation["started_at"]);
        let is_recorded = conversation["agent_config"]["recording"] == true && media.is_some();
        let recorded =
            if is_recorded { evidence::recording_of(client, &id, &self.addresses).await? } else { None };
        let mut happened = ObservedCall {
            replays: evidence::replay_logs(&self.addresses, &id).await?,
            call: client.sandbox_call(&number).await?,
            events: self.events(&id).await?,
            answered: tools.answered(),
            conversation,
            recorded,
            ..ObservedCall::default()
        };
        if let (Some(recorded), Some(began)) = (&happened.recorded, media) {
            let messages = happened.agent_messages();
            happened.ledger = heard_check::check(&self.speech, &recorded.audio, began, &messages).await?;
        }
        Ok(happened)
    }

    /// Gives the agent credentials whose keys make the sandbox follow the scenario. Returns the configuration that must
    /// be set only when the phone rings: before that the voice synthesizes clips that are kept for other calls, too, and a
    /// fault there would make the outcome depend on earlier calls.
    async fn configure_providers(
        &self,
        file: &File,
        agent: &mut Value,
        cleanup: &mut Cleanup,
    ) -> anyhow::Result<Option<(String, Value)>> {
        let mut when_ringing = None;
        let faults = &file.call.faults;
        for (part, faults, script) in [
            ("language_model", &faults.language_model, &file.call.model),
            ("voice", &faults.voice, &None),
            ("transcriber", &faults.transcriber, &None),
        ] {
            if faults.is_empty() && script.is_none() {
                continue;
            }
            let mut configuration = json!({ "faults": faults });
            if let Some(script) = script {
                configuration["script"] = script.clone();
            }
            let default = serde_json::to_value(AgentConfig::default())?[part].take();
            let provider = default["provider"].as_str().unwrap_or_default().to_owned();
            let block = &mut agent[part];
            if block.is_null() {
                *block = default;
            }
            let provider = block["provider"].as_str().unwrap_or(&provider).to_owned();
            let key = format!("test-{}", system::random_hex::<16>());
            let url = self.key_url(part, &provider, &key)?;
            self.configure(url.clone(), &configuration, cleanup)
                .await
                .with_context(|| format!("`faults` or `model` of the {part}"))?;
            if part == "voice" {
                self.configure(url.clone(), &json!({}), cleanup).await?;
                when_ringing = Some((url, configuration));
            }
            let credential = self.client.create_credential(&provider, &key).await?;
            block["credential_id"] = json!(credential);
            cleanup.credentials.push(credential);
        }
        Ok(when_ringing)
    }

    /// The URL at which the sandbox configures what it does for a key of the agent's provider of `part`.
    fn key_url(&self, part: &str, provider: &str, key: &str) -> anyhow::Result<String> {
        let connection = catalogue::connection(provider).zip(self.addresses.provider_url(provider));
        let Some((connection, server)) = connection else {
            bail!(
                "`model` and `faults` of the {part} need a provider with an adapter; the agent has {provider}"
            );
        };
        ensure!(
            self.addresses.is_simulated(provider),
            "the agent's {part} is the real {provider}, which follows neither `model` nor `faults`: unset {} and {}",
            connection.keys.iter().map(|key| key_variable(key)).collect::<Vec<_>>().join(", "),
            connection.url_variable
        );
        let mut url = reqwest::Url::parse(server).with_context(|| format!("the address of {provider}"))?;
        url.set_path(&format!("/sandbox/keys/{key}"));
        Ok(url.into())
    }

    /// Waits until the carrier has more than `before` calls to a number, or the conversation ends without one.
    async fn wait_for_ringing(&self, id: &str, number: &str, before: usize) -> anyhow::Result<()> {
        while self.client.calls_to(number).await?.len() <= before {
            if self.client.conversation(id).await?["status"] == "ended" {
                break;
            }
            tokio::time::sleep(RING_LOOK).await;
        }
        Ok(())
    }

    async fn configure(
        &self,
        url: String,
        configuration: &Value,
        cleanup: &mut Cleanup,
    ) -> anyhow::Result<()> {
        self.client.configure_sandbox(&url, configuration).await?;
        cleanup.configured.push(url);
        Ok(())
    }

    async fn clean_up(&self, cleanup: Cleanup) -> anyhow::Result<()> {
        for credential in &cleanup.credentials {
            self.client.delete_credential(credential).await?;
        }
        for url in &cleanup.configured {
            self.client.reset_sandbox(url).await?;
        }
        Ok(())
    }

    /// Waits until the conversation has ended, and requests its end when it is due.
    async fn wait(&self, id: &str, end_after: Option<Duration>) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut end_after = end_after;
        loop {
            let conversation = self.client.conversation(id).await?;
            if conversation["status"] == "ended" {
                return Ok(());
            }
            if begun.elapsed() > TIME_LIMIT {
                bail!("the call {id} did not end within {} s", TIME_LIMIT.as_secs());
            }
            let mut pause = POLL_INTERVAL;
            if let (Some(after), Some(media)) = (end_after, millis(&conversation["started_at"])) {
                let flowing = u64::try_from(system::now().as_millis() - media).unwrap_or(0);
                let left = after.saturating_sub(Duration::from_millis(flowing));
                if left.is_zero() {
                    self.client.end(id).await?;
                    end_after = None;
                }
                pause = pause.min(left.max(Duration::from_millis(1)));
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The whole event log.
    async fn events(&self, id: &str) -> anyhow::Result<Vec<Value>> {
        let mut events = vec![];
        loop {
            let more = self.client.events_after(id, events.len()).await?;
            if more.is_empty() {
                return Ok(events);
            }
            events.extend(more);
        }
    }

    fn unstored(happened: &ObservedCall) -> Option<Mismatch> {
        let began = millis(&happened.conversation["started_at"])?;
        let recorded = happened.recorded.as_ref()?;
        let heard = heard_check::unstored(&recorded.audio, began, &happened.agent_messages())?;
        let offset = happened.since_answer(began);
        let at = |ms: usize| seconds(offset + i64::try_from(ms).unwrap_or(i64::MAX)).trim().to_owned();
        Some(Mismatch {
            expected: "all that is heard of the agent is stored".into(),
            happened: format!("the recording has more, between {} and {}", at(heard.start), at(heard.end)),
        })
    }
}

/// A number for a call of this process's run.
fn number(index: usize) -> String {
    let process = usize::try_from(std::process::id()).unwrap_or_default();
    format!("+1{}55501{:02}", AREAS[process % AREAS.len()], index % NUMBERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_a_run_have_fictional_numbers_of_their_own() {
        let first = number(0);
        assert!(first.starts_with("+1") && first.ends_with("5550100") && first.len() == 12, "{first}");
        assert_eq!(&number(7)[..10], &first[..10]);
        assert_ne!(number(7), first);
    }
}
