use axum::{Router, http::HeaderMap, routing::post};
use futures_util::StreamExt;
use switchboard_model::{
    agents::{LanguageModel, ModelSettings},
    catalogue,
    credentials::{Credential, OpenCredential, Provider},
    egress_policy::EgressPolicy,
    ids::{AccountId, CredentialId},
    secrets::Secret,
    time::Timestamp,
};
use switchboard_providers::{
    Error, Providers,
    credentials::UnusableCredential,
    language_model::{ChatMessage, Conversation, GenerationEvent},
};
use tokio::sync::mpsc;

use crate::support::{Server, nowhere};

const KEY: &str = "sk-of-the-customer";

fn own(provider: Provider, base_url: Option<String>) -> OpenCredential {
    let at = Timestamp::from_millis(0);
    let credential = Credential {
        id: CredentialId::new(at, 1),
        account_id: AccountId::new(at, 1),
        provider,
        last4: "omer".into(),
        region: None,
        user_id: None,
        base_url,
        created_at: at,
    };
    OpenCredential { credential, api_key: Secret::new(KEY) }
}

/// A server that reports the key of each request.
async fn server() -> (Server, mpsc::Receiver<String>) {
    let (shown, keys) = mpsc::channel(1);
    let answer = post(async move |headers: HeaderMap| {
        shown.try_send(headers["authorization"].to_str().unwrap().to_owned()).unwrap();
        "data: {\"choices\":[{\"delta\":{\"content\":\"Hello\"}}]}\n\ndata: [DONE]\n\n"
    });
    (Server::http(Router::new().route("/own/v1/chat/completions", answer)).await, keys)
}

async fn asked(providers: &Providers) -> Vec<Result<GenerationEvent, Error>> {
    let model = LanguageModel::Openai(ModelSettings::default());
    let messages = [ChatMessage::User("Hello?".into())];
    let conversation = Conversation { prompt: None, messages: &messages };
    providers.language_model(&model).generate(&conversation).collect().await
}

#[tokio::test]
async fn only_the_customers_server_gets_the_customers_key() {
    let (server, mut keys) = server().await;
    let deployment = nowhere();
    let own = own(Provider::Openai, Some(format!("http://{}/own/v1", server.address)));
    let providers = deployment.providers.with_credential(&own, EgressPolicy::Local).unwrap();
    let events = asked(&providers).await;
    assert!(matches!(&events[0], Ok(GenerationEvent::Text(text)) if text == "Hello"), "{events:?}");
    assert_eq!(keys.recv().await.unwrap(), format!("Bearer {KEY}"));
    assert!(!format!("{providers:?}").contains(KEY));
    assert_eq!(
        deployment.providers.keys.get("openai_api_key").unwrap().reveal(),
        "sk-1",
        "the deployment's stays"
    );
}

#[tokio::test]
async fn the_egress_policy_applies_to_a_customers_server() {
    let (server, mut keys) = server().await;
    let deployment = nowhere().providers;
    let port = server.address.port();
    let literal = own(Provider::Openai, Some(format!("https://127.0.0.1:{port}/own/v1")));
    let refused = deployment.with_credential(&literal, EgressPolicy::PublicOnly).unwrap_err();
    assert!(matches!(refused, UnusableCredential::BaseUrl(_)), "{refused}");
    // A host name is checked when it is resolved.
    let named = own(Provider::Openai, Some(format!("https://localhost.localdomain:{port}/own/v1")));
    let providers = deployment.with_credential(&named, EgressPolicy::PublicOnly).unwrap();
    let events = asked(&providers).await;
    assert!(matches!(events[..], [Err(Error::Unavailable { .. })]), "{events:?}");
    assert!(keys.try_recv().is_err());
}

#[test]
fn a_credential_of_a_vendor_without_an_adapter_is_refused() {
    for provider in Provider::ALL {
        let has_adapter = catalogue::connection(provider.as_str()).is_some();
        assert_eq!(with_credential(provider).is_ok(), has_adapter, "{provider:?}");
    }
}

fn with_credential(provider: Provider) -> Result<Providers, UnusableCredential> {
    crate::support::providers("http://127.0.0.1:9")
        .with_credential(&own(provider, None), EgressPolicy::PublicOnly)
}
