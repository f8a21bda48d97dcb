//! The block `transcriber` of an agent's configuration.

use switchboard_model::agents::Transcriber;

use super::CREDENTIAL;
use crate::{
    declaration::{Members, Record, types},
    references::References,
    validation::{Read, Rejected},
};

const PROVIDERS: &[(&str, &str)] =
    &[("deepgram", "Deepgram live transcription."), ("azure", "Azure real-time speech to text.")];

pub(super) fn transcriber(references: &References) -> Record<'_, Transcriber> {
    let about = "A transcriber and its settings.";
    Record::by_provider("Transcriber", about, PROVIDERS, Some("deepgram"), |members| {
        match members.provider() {
            Ok("azure") => azure(members, references),
            Ok(_) => deepgram(members, references),
            // Every provider takes a credential.
            Err(Rejected) => {
                let _ = members.optional("credential_id", references.credential(Err(Rejected)), CREDENTIAL);
                Err(Rejected)
            }
        }
    })
}

fn deepgram(members: &mut Members<'_>, references: &References) -> Read<Transcriber> {
    let model = members.or("model", types::non_empty_text(), "nova-3".into(), "Such as `nova-3`.");
    let language = members.or("language", types::non_empty_text(), "en".into(), "BCP-47, such as `en`.");
    let keywords = members.or(
        "keywords",
        types::list(0, types::text()),
        vec![],
        "Words that callers are likely to say.",
    );
    let credential_id =
        members.optional("credential_id", references.credential(members.provider()), CREDENTIAL);
    Ok(Transcriber::Deepgram {
        model: model?,
        language: language?,
        keywords: keywords?,
        credential_id: credential_id?,
    })
}

fn azure(members: &mut Members<'_>, references: &References) -> Read<Transcriber> {
    let languages = members.or(
        "languages",
        types::list(1, types::non_empty_text()),
        vec!["en-US".into()],
        "Locales, such as `en-US`; at least one.",
    );
    let credential_id =
        members.optional("credential_id", references.credential(members.provider()), CREDENTIAL);
    Ok(Transcriber::Azure { languages: languages?, credential_id: credential_id? })
}
