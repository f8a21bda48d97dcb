//! The block `transcriber` of an agent's configuration.

use std::sync::LazyLock;

use switchboard_model::{
    agents::Transcriber,
    catalogue::{self, Service},
    ids::CredentialId,
};

use super::CREDENTIAL;
use crate::{
    declaration::{Members, Record, types},
    references::References,
    validation::{Read, Rejected},
};

static PROVIDERS: LazyLock<Vec<(&str, &str)>> =
    LazyLock::new(|| catalogue::described_providers(Service::Transcriber));

/// `current` is the block that this one replaces.
pub(super) fn transcriber<'c>(
    current: &'c Transcriber,
    references: &'c References,
) -> Record<'c, Transcriber> {
    let about = "A transcriber and its settings.";
    let default = Transcriber::default().provider();
    let record = Record::by_provider("Transcriber", about, &PROVIDERS, Some(default), move |members| {
        // Every provider takes a credential, so it is checked even if the provider is unknown.
        let provider = members.provider();
        let credential_id = members.optional("credential_id", references.credential(provider), CREDENTIAL);
        match provider? {
            "azure" => azure(members, credential_id),
            "deepgram" => deepgram(members, current, credential_id),
            _ => Err(Rejected),
        }
    });
    record.last("credential_id")
}

fn deepgram(
    members: &mut Members<'_>,
    current: &Transcriber,
    credential_id: Read<Option<CredentialId>>,
) -> Read<Transcriber> {
    const MODEL: &str = "nova-3";
    const LANGUAGE: &str = "en";
    let (kept_model, kept_language) = match current {
        Transcriber::Deepgram { model, language, .. } => (model.clone(), language.clone()),
        Transcriber::Azure { .. } => (MODEL.to_owned(), LANGUAGE.to_owned()),
    };
    let model = members.or("model", types::name_or(kept_model), MODEL.into(), "Such as `nova-3`.");
    let language =
        members.or("language", types::name_or(kept_language), LANGUAGE.into(), "BCP-47, such as `en`.");
    let keywords = members.or(
        "keywords",
        types::list(0, types::text()),
        vec![],
        "Words that callers are likely to say.",
    );
    Ok(Transcriber::Deepgram {
        model: model?,
        language: language?,
        keywords: keywords?,
        credential_id: credential_id?,
    })
}

fn azure(members: &mut Members<'_>, credential_id: Read<Option<CredentialId>>) -> Read<Transcriber> {
    let languages = members.or(
        "languages",
        types::list(1, types::non_empty_text()),
        vec!["en-US".into()],
        "Locales, such as `en-US`; at least one.",
    );
    Ok(Transcriber::Azure { languages: languages?, credential_id: credential_id? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agents::tests::read;

    #[test]
    fn every_provider_of_the_catalogue_has_a_block() {
        for provider in catalogue::providers(Service::Transcriber) {
            let body = json!({ "transcriber": { "provider": provider } });
            assert_eq!(read(&body).unwrap().transcriber.provider(), provider);
        }
    }
}
