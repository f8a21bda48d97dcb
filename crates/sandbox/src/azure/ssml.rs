//! Reads a document in SSML, as strictly as the vendor. Pure.

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
    name::QName,
};

/// Voices of the region.
pub(super) const VOICES: &[&str] = &[
    "en-US-AvaMultilingualNeural",
    "en-US-AndrewMultilingualNeural",
    "en-US-JennyNeural",
    "en-US-Ava:DragonHDLatestNeural",
    "de-DE-KatjaNeural",
    "fr-FR-DeniseNeural",
    "es-ES-ElviraNeural",
];

/// The words of a document, and their voice.
#[derive(Debug, PartialEq)]
pub(super) struct Spoken {
    pub(super) text: String,
    /// 1 is the voice's own speed.
    pub(super) speed: f32,
}

/// Reads a document; the error is the vendor's line of text.
pub(super) fn read(document: &str) -> Result<Spoken, String> {
    let mut reader = Reader::from_str(document);
    reader.config_mut().check_end_names = true;
    let mut spoken = Spoken { text: String::new(), speed: 1.0 };
    let mut open: Vec<String> = vec![];
    let (mut has_root, mut voices) = (false, 0);
    let invalid = |what: &str| format!("SSML is not valid: {what}");
    loop {
        let event = reader.read_event().map_err(|error| invalid(&error.to_string()))?;
        let begun = match &event {
            Event::Start(element) | Event::Empty(element) => Some(element),
            _ => None,
        };
        if let Some(element) = begun {
            let name = text_of(element.name());
            match (name.as_str(), open.last().map(String::as_str)) {
                ("speak", None) if !has_root => {
                    has_root = true;
                    for needed in ["version", "xmlns", "xml:lang"] {
                        attribute(element, needed)?
                            .ok_or_else(|| invalid(&format!("speak has no {needed}")))?;
                    }
                }
                ("voice", Some("speak")) => {
                    voices += 1;
                    let voice = attribute(element, "name")?.unwrap_or_default();
                    if !VOICES.contains(&voice.as_str()) {
                        return Err(format!("Unsupported voice {voice}."));
                    }
                }
                ("prosody", Some("voice")) => {
                    for name in ["pitch", "rate"] {
                        let Some(value) = attribute(element, name)? else { continue };
                        let percent =
                            percent(&value).ok_or_else(|| invalid(&format!("{name} is {value}")))?;
                        if name == "rate" {
                            spoken.speed = (1.0 + percent / 100.0).clamp(0.5, 2.0);
                        }
                    }
                }
                (name, parent) => return Err(invalid(&format!("{name} in {parent:?}"))),
            }
        }
        match event {
            Event::Start(element) => open.push(text_of(element.name())),
            Event::End(_) => drop(open.pop()),
            Event::Text(text) => {
                let text = text.decode().map_err(|error| invalid(&error.to_string()))?;
                if !text.trim().is_empty() && open.len() < 2 {
                    return Err(invalid("text outside of a voice"));
                }
                spoken.text.push_str(&text);
            }
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|error| invalid(&error.to_string()))?;
                let numbered = reference.resolve_char_ref().map_err(|error| invalid(&error.to_string()))?;
                let named = [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("apos", '\'')];
                let named = named.iter().find(|(known, _)| *known == name).map(|(_, c)| *c);
                spoken.text.push(numbered.or(named).ok_or_else(|| invalid("an unknown entity"))?);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    if !open.is_empty() || !has_root || voices == 0 {
        return Err(invalid("it has no voice, or is cut off"));
    }
    Ok(spoken)
}

fn text_of(name: QName<'_>) -> String {
    String::from_utf8_lossy(name.as_ref()).into_owned()
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    let attribute = element.try_get_attribute(name).map_err(|error| format!("SSML is not valid: {error}"))?;
    Ok(attribute.map(|attribute| String::from_utf8_lossy(&attribute.value).into_owned()))
}

/// A relative change, such as `+5%`.
fn percent(value: &str) -> Option<f32> {
    let number = value.strip_suffix('%')?;
    number.starts_with(['+', '-']).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(inner: &str) -> String {
        format!(
            "<speak version=\"1.0\" xmlns=\"http://www.w3.org/2001/10/synthesis\" xml:lang=\"en-US\">{inner}</speak>"
        )
    }

    #[test]
    fn a_document_is_read_with_its_speed() {
        let voice = "<voice name=\"en-US-JennyNeural\"><prosody pitch=\"+5%\" rate=\"-10%\">Fish &amp; \
                     chips</prosody></voice>";
        let spoken = read(&document(voice)).unwrap();
        assert_eq!(spoken, Spoken { text: "Fish & chips".into(), speed: 0.9 });
    }

    #[test]
    fn what_the_vendor_refuses_is_refused() {
        for (inner, reason) in [
            ("Hello.", "text outside"),
            ("<voice name=\"en-US-NobodyNeural\">Hi</voice>", "Unsupported voice en-US-NobodyNeural."),
            ("<voice>Hi</voice>", "Unsupported voice ."),
            ("<voice name=\"en-US-JennyNeural\">Fish & chips</voice>", "not valid"),
            ("<voice name=\"en-US-JennyNeural\">Hi", "not valid"),
            ("<voice name=\"en-US-JennyNeural\"><prosody rate=\"5%\">Hi</prosody></voice>", "rate is 5%"),
            ("<voice name=\"en-US-JennyNeural\"><loud>Hi</loud></voice>", "loud"),
            ("", "no voice"),
        ] {
            let error = read(&document(inner)).unwrap_err();
            assert!(error.contains(reason), "{inner}: {error}");
        }
        assert!(read("<speak><voice name=\"en-US-JennyNeural\">Hi</voice></speak>").is_err());
        assert!(read("").is_err());
    }
}
