//! The kind of each sound of a scripted caller, which the measures of turn-taking need.
//!
//! An act may name its `kind`. Otherwise a cough and a hum are vocal tics, a beep is noise, and words are a turn. The
//! kinds are ours: the sandbox, which performs the acts, does not get them.

use serde::Deserialize;
use serde_json::Value;
use switchboard_quality::SoundKind;

use crate::api_client::Utterance;

/// Words after a silence up to this long, without a reply between them, belong to the turn before.
const LONGEST_PAUSE_MS: u64 = 2_500;

/// An act, as far as it concerns the kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScriptedSound {
    /// `say`, `sound` or `keys`, and its text: the names of the sandbox's record.
    what: &'static str,
    text: String,
    kind: SoundKind,
    /// The turn goes on with the next act.
    continues: bool,
}

/// The names of the kinds in a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindName {
    Turn,
    Backchannel,
    VocalTic,
    NonDirected,
    Noise,
}

impl From<KindName> for SoundKind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Turn => Self::Turn,
            KindName::Backchannel => Self::Backchannel,
            KindName::VocalTic => Self::VocalTic,
            KindName::NonDirected => Self::NonDirected,
            KindName::Noise => Self::Noise,
        }
    }
}

/// Takes the kinds out of a caller's script.
///
/// # Errors
///
/// A kind is not one of the names.
pub(super) fn take(caller: &mut Value) -> Result<Vec<ScriptedSound>, serde_json::Error> {
    let mut sounds: Vec<ScriptedSound> = vec![];
    for act in caller["acts"].as_array_mut().into_iter().flatten() {
        let named = act.as_object_mut().and_then(|act| act.remove("kind"));
        let named: Option<KindName> = named.map(serde_json::from_value).transpose()?;
        let member = |what: &'static str| act[what].as_str().map(|text| (what, text));
        let words = act.as_str().map(|words| ("say", words));
        let found = words.or_else(|| member("say")).or_else(|| member("sound")).or_else(|| member("keys"));
        let Some((what, text)) = found else { continue };
        let kind = match named {
            Some(name) => name.into(),
            None => default_kind(what, text),
        };
        let goes_on = act["after"] == "act" && act["wait_ms"].as_u64().unwrap_or(0) <= LONGEST_PAUSE_MS;
        if let Some(before) = sounds.last_mut()
            && goes_on
            && (before.kind, kind, what) == (SoundKind::Turn, SoundKind::Turn, "say")
        {
            before.continues = true;
        }
        sounds.push(ScriptedSound { what, text: text.to_owned(), kind, continues: false });
    }
    Ok(sounds)
}

fn default_kind(what: &str, text: &str) -> SoundKind {
    match (what, text) {
        ("sound", "beep") => SoundKind::Noise,
        ("sound", _) => SoundKind::VocalTic,
        _ => SoundKind::Turn,
    }
}

/// The kind of each sound that the sandbox has recorded, and whether its turn goes on. Lines that a person repeats, or says
/// because nobody speaks, are in no act.
pub(super) fn of_record(script: &[ScriptedSound], said: &[Utterance]) -> Vec<(SoundKind, bool)> {
    let mut acts = script.iter().peekable();
    let kind = |done: &Utterance| {
        let what = done.what.as_deref().unwrap_or("say");
        match acts.next_if(|act| act.what == what && act.text == done.text) {
            Some(act) => (act.kind, act.continues),
            None => (default_kind(what, &done.text), false),
        }
    };
    said.iter().map(kind).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn done(what: &str, text: &str) -> Utterance {
        Utterance { what: Some(what.into()), text: text.into(), ..Utterance::default() }
    }

    #[test]
    fn each_recorded_sound_has_the_kind_of_its_act() {
        let mut caller = json!({ "acts": [
            "My number is",
            { "after": "act", "wait_ms": 600, "say": "five five" },
            { "after": "speech", "say": "Uh-huh.", "kind": "backchannel" },
            { "after": "speech", "sound": "cough" },
            { "sound": "beep" },
            { "after": "act", "wait_ms": 5_000, "say": "Hello?" },
            { "hang_up": true },
        ] });
        let script = take(&mut caller).unwrap();
        assert!(!caller.to_string().contains("kind"), "the sandbox gets no kinds");
        let said = [
            done("say", "My number is"),
            done("say", "five five"),
            done("say", "My number is"),
            done("say", "Uh-huh."),
            done("sound", "cough"),
            done("sound", "beep"),
            done("say", "Hello?"),
        ];
        let kinds = of_record(&script, &said);
        assert_eq!(
            kinds,
            [
                (SoundKind::Turn, true),
                (SoundKind::Turn, false),
                (SoundKind::Turn, false),
                (SoundKind::Backchannel, false),
                (SoundKind::VocalTic, false),
                (SoundKind::Noise, false),
                (SoundKind::Turn, false),
            ]
        );
    }

    #[test]
    fn an_unknown_kind_is_an_error() {
        let error = take(&mut json!({ "acts": [{ "say": "a", "kind": "sneeze" }] })).unwrap_err();
        assert!(
            error.to_string().contains("unknown variant `sneeze`, expected one of `turn`, `backchannel`"),
            "{error}"
        );
    }
}
