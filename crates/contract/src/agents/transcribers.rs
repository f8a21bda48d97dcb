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

pub(super) fn transcriber(references: &References) -> Record<'_, Transcriber> {
    let about = "A transcriber and its settings.";
    let default = Transcriber::default().provider();
    let record = Record::by_provider("Transcriber", about, &PROVIDERS, Some(default), |members| {
        // Every provider takes a credential, so it is checked even if the provider is unknown.
        let provider = members.provider();
        let credential_id = members.optional("credential_id", references.credential(provider), CREDENTIAL);
        match provider? {
            "azure" => azure(members, credential_id),
            "deepgram" => deepgram(members, credential_id),
            _ => Err(Rejected),
        }
    });
    record.last("credential_id")
}

fn deepgram(members: &mut Members<'_>, credential_id: Read<Option<CredentialId>>) -> Read<Transcriber> {
    let model = members.or("model", types::non_empty_text(), "nova-3".into(), "Such as `nova-3`.");
    let language = members.or("language", types::non_empty_text(), "en".into(), "BCP-47, such as `en`.");
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
