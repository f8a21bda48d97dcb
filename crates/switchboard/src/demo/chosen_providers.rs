//! The providers of the demo's agent, as the command line chooses them: `PROVIDER`, `PROVIDER/NAME` or, for a language
//! model, its name alone.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use switchboard_model::catalogue::{self, Row, Service};

use crate::devstack::{Addresses, Source};

/// Limit for the list of a server's models.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A voice of the sandbox's account.
const SIMULATED_ELEVENLABS_VOICE: &str = "sandboxVoiceAda00001";

/// The providers that the command line names; none: the demo's own.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ChosenProviders {
    /// The voice: a provider of the catalogue, or PROVIDER/VOICE.
    #[arg(long, value_name = "VOICE", value_parser = choice(Service::Voice))]
    voice: Option<Choice>,
    /// The transcriber: a provider of the catalogue, or PROVIDER/MODEL.
    #[arg(long, value_name = "TRANSCRIBER", value_parser = choice(Service::Transcriber))]
    transcriber: Option<Choice>,
    /// The language model: a provider of the catalogue, PROVIDER/MODEL, or a model.
    #[arg(long, value_name = "MODEL", value_parser = choice(Service::LanguageModel))]
    model: Option<Choice>,
}

/// A provider, and the name of its model or voice; none: the provider's default.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    provider: &'static str,
    name: Option<String>,
}

fn choice(service: Service) -> impl Fn(&str) -> anyhow::Result<Choice> + Clone + Send + Sync + 'static {
    move |text| Choice::read(service, text)
}

impl Choice {
    fn read(service: Service, text: &str) -> anyhow::Result<Self> {
        // A model's name may hold slashes, too (`Qwen/Qwen3-32B`).
        let (first, rest) = text.split_once('/').map_or((text, None), |(first, rest)| (first, Some(rest)));
        if let Some(row) = catalogue::row(service, first) {
            ensure!(rest != Some(""), "there is no name after {first}/");
            return Ok(Self { provider: row.provider, name: rest.map(str::to_owned) });
        }
        let known = catalogue::providers(service).join(", ");
        ensure!(service == Service::LanguageModel && !text.is_empty(), "unknown provider; there are {known}");
        // A server of the user's may have any model.
        let lists = |row: &&'static Row| row.model(text).is_some();
        let provider = catalogue::rows(service).find(lists).map_or("openai", |row| row.provider);
        Ok(Self { provider, name: Some(text.to_owned()) })
    }
}

impl ChosenProviders {
    /// Puts the providers into the demo's agent. Without a choice, a server of the user's is asked for its model.
    ///
    /// # Errors
    ///
    /// That server does not name a model.
    pub(super) async fn apply(&self, agent: &mut Value, addresses: &Addresses) -> anyhow::Result<()> {
        if let Some(Choice { provider, name }) = &self.voice {
            let member = match *provider {
                "elevenlabs" => "voice_id",
                "rime" | "rimeai" => "speaker",
                _ => "model",
            };
            agent["voice"] = block(provider, member, name.as_deref());
            if *provider == "elevenlabs" && name.is_none() {
                // The API's default is a voice that the vendor has withdrawn.
                ensure!(
                    addresses.is_simulated(provider),
                    "name a voice of your account: --voice elevenlabs/VOICE_ID"
                );
                agent["voice"]["voice_id"] = json!(SIMULATED_ELEVENLABS_VOICE);
                agent["voice"]["model_id"] = json!("eleven_flash_v2_5");
            }
        }
        if let Some(Choice { provider, name }) = &self.transcriber {
            let block = block(provider, "model", name.as_deref());
            agent["transcriber"] = block;
            match *provider {
                "azure" => agent["transcriber"]["languages"] = json!(["en-US"]),
                _ => agent["transcriber"]["language"] = json!("en"),
            }
        }
        let tools = agent["language_model"]["tools"].clone();
        if let Some(Choice { provider, name }) = &self.model {
            agent["language_model"] = block(provider, "model", name.as_deref());
            agent["language_model"]["tools"] = tools;
        }
        let named = self.model.as_ref().is_some_and(|model| model.name.is_some());
        let provider = agent["language_model"]["provider"].as_str().unwrap_or_default();
        if let Some(Source::Address(url)) = addresses.sources.get(provider).filter(|_| !named) {
            let wanted = agent["language_model"]["model"].as_str().map(str::to_owned);
            agent["language_model"]["model"] = json!(model_of(url, wanted.as_deref()).await?);
        }
        Ok(())
    }
}

fn block(provider: &str, member: &str, name: Option<&str>) -> Value {
    let mut block = json!({ "provider": provider });
    if let Some(name) = name {
        block[member] = json!(name);
    }
    block
}

/// The model of a server: the wanted one if the server lists it, else its first one.
async fn model_of(url: &str, wanted: Option<&str>) -> anyhow::Result<String> {
    let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
    let list = format!("{url}/models");
    let hint = || format!("{list} does not list a model; `--model NAME` names one of your server");
    let response = http.get(&list).send().await.and_then(reqwest::Response::error_for_status);
    let response = response.map_err(reqwest::Error::without_url).with_context(hint)?;
    let models: Value = response.json().await.with_context(hint)?;
    // The form of OpenAI's list, and that of Google's.
    let names = models["data"].as_array().or_else(|| models["models"].as_array()).into_iter().flatten();
    let name = |model: &Value| {
        let name = model["id"].as_str().or_else(|| model["name"].as_str())?;
        Some(name.strip_prefix("models/").unwrap_or(name).to_owned())
    };
    let names: Vec<String> = names.filter_map(name).collect();
    if let Some(wanted) = wanted.filter(|wanted| names.iter().any(|name| name == wanted)) {
        return Ok(wanted.to_owned());
    }
    match names.into_iter().next() {
        Some(first) => Ok(first),
        None => bail!(hint()),
    }
}

#[cfg(test)]
mod tests {
    use switchboard_sandbox::{Engines, Sandbox};

    use super::*;

    fn read(service: Service, text: &str) -> (&'static str, Option<String>) {
        let Choice { provider, name } = Choice::read(service, text).unwrap();
        (provider, name)
    }

    #[test]
    fn a_choice_is_a_provider_with_or_without_a_name() {
        for service in [Service::Voice, Service::Transcriber, Service::LanguageModel] {
            for row in catalogue::rows(service) {
                assert_eq!(read(service, row.provider), (row.provider, None));
                let named = format!("{}/a/b", row.provider);
                assert_eq!(read(service, &named), (row.provider, Some("a/b".to_owned())));
            }
        }
        let model = |text| read(Service::LanguageModel, text);
        assert_eq!(model("gemini-3.8-flash"), ("google", Some("gemini-3.8-flash".to_owned())));
        assert_eq!(model("gpt-6-sol"), ("openai", Some("gpt-6-sol".to_owned())));
        assert_eq!(model("Qwen/Qwen3-32B"), ("openai", Some("Qwen/Qwen3-32B".to_owned())));
        let unknown = Choice::read(Service::Voice, "acme").unwrap_err().to_string();
        assert!(unknown.contains("deepgram") && unknown.contains("elevenlabs"), "{unknown}");
    }

    #[test]
    fn every_provider_has_a_block_with_its_own_members() {
        assert_eq!(block("azure", "model", None), json!({"provider": "azure"}));
        let named = block("elevenlabs", "voice_id", Some("rachel"));
        assert_eq!(named, json!({"provider": "elevenlabs", "voice_id": "rachel"}));
    }

    #[tokio::test]
    async fn a_server_of_the_users_is_asked_for_its_model() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = axum::Router::new().route(
            "/v1/models",
            axum::routing::get(async || {
                axum::Json(json!({"data": [{"id": "llama3.2"}, {"id": "gpt-6-luna"}]}))
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, server).await.unwrap() });
        assert_eq!(model_of(&url, None).await.unwrap(), "llama3.2");
        assert_eq!(model_of(&url, Some("gpt-6-luna")).await.unwrap(), "gpt-6-luna");
        assert_eq!(model_of(&url, Some("gpt-6-sol")).await.unwrap(), "llama3.2");
        // It wants a key, so it does not list its models.
        let sandbox = Sandbox::start(Engines::Offline("http://127.0.0.1:9".into())).await.unwrap();
        let google = sandbox.vendors.iter().find(|vendor| vendor.name == "google").unwrap();
        let error = model_of(&google.url, None).await.unwrap_err().to_string();
        assert!(error.contains("--model"), "{error}");
        sandbox.stop().await;
    }
}
