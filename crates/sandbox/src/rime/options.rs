//! The parameters in the address of `/ws3`. Unknown ones are refused, and those of another model.

/// The speakers of coda, as far as they are known here.
const CODA: [&str; 7] = ["lyra", "astra", "walnut", "harrison_mary", "cohen_emily", "celeste", "luna"];
/// The speakers of the mist models.
const MIST: [&str; 3] = ["cove", "luna", "young_male_unmarked-1"];
const CODA_LANGUAGES: [&str; 10] = ["en", "es", "fr", "de", "hi", "eng", "spa", "fra", "ger", "hin"];

/// The requested options.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Options {
    /// Pace of the voice; 2.0 is twice as fast.
    pub(super) speed: f32,
    /// Samples per second of linear audio; none: mu-law at 8 kHz.
    pub(super) linear_rate: Option<u32>,
    pub(super) segment: Segment,
    /// Whether the times of words are told.
    pub(super) tells_words: bool,
}

/// When text is synthesized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segment {
    Never,
    BySentence,
    Immediate,
}

impl Options {
    pub(super) fn parse(query: &[(String, String)]) -> Result<Self, String> {
        let get =
            |name: &str| query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        // Without the parameter the newest mist serves.
        let model = get("modelId").unwrap_or("mistv3");
        let is_mist = match model {
            // Arcana is retired: coda answers.
            "coda" | "arcana" => false,
            "mist" | "mistv2" | "mistv3" => true,
            _ => return Err(format!("modelId: {model} is unknown")),
        };
        for (name, _) in query {
            let is_known = matches!(
                name.as_str(),
                "speaker" | "modelId" | "audioFormat" | "samplingRate" | "segment" | "lang" | "speedAlpha"
            ) || (is_mist
                && matches!(name.as_str(), "reduceLatency" | "inlineSpeedAlpha" | "noTextNormalization"))
                || (!is_mist && matches!(name.as_str(), "temperature" | "top_p" | "timeScaleFactor"));
            if !is_known {
                return Err(format!("{name}: no parameter of {model}"));
            }
        }
        let speaker = get("speaker").ok_or("speaker: required")?;
        let speakers: &[&str] = if is_mist { &MIST } else { &CODA };
        if !speakers.contains(&speaker) {
            return Err(format!("speaker: {speaker} is unknown to {model}"));
        }
        let linear_rate = match (get("audioFormat"), get("samplingRate")) {
            (Some("mulaw"), Some("8000")) => None,
            (Some("pcm"), Some("8000")) => Some(8_000),
            (Some("pcm"), Some("16000")) => Some(16_000),
            _ => {
                let text =
                    "audioFormat, samplingRate: this server has mulaw at 8000, and pcm at 8000 and 16000";
                return Err(text.to_owned());
            }
        };
        let language = get("lang").unwrap_or("eng");
        if !CODA_LANGUAGES.contains(&language) {
            return Err(format!("lang: {language} is not spoken by {model}"));
        }
        let segment = match get("segment") {
            None | Some("bySentence") => Segment::BySentence,
            Some("never") => Segment::Never,
            Some("immediate") => Segment::Immediate,
            Some(_) => return Err("segment: must be never, bySentence or immediate".to_owned()),
        };
        let alpha = match get("speedAlpha").map(str::parse::<f32>) {
            None => 1.0,
            Some(Ok(alpha)) if (0.1..=5.0).contains(&alpha) => alpha,
            Some(_) => return Err("speedAlpha: must be a number from 0.1 to 5".to_owned()),
        };
        if !matches!(get("reduceLatency"), None | Some("true" | "false")) {
            return Err("reduceLatency: must be true or false".to_owned());
        }
        Ok(Self {
            // Lower is faster.
            speed: (1.0 / alpha).clamp(0.5, 2.0),
            linear_rate,
            segment,
            tells_words: is_mist || matches!(language, "en" | "eng" | "es" | "spa"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<Options, String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs: Vec<(String, String)> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        Options::parse(&pairs)
    }

    const TELEPHONE: &str = "audioFormat=mulaw&samplingRate=8000";

    #[test]
    fn a_lower_alpha_is_faster_and_only_two_languages_have_times_of_words() {
        let options =
            parse(&format!("speaker=cove&modelId=mistv3&{TELEPHONE}&speedAlpha=0.5&reduceLatency=true"));
        let expected =
            Options { speed: 2.0, linear_rate: None, segment: Segment::BySentence, tells_words: true };
        assert_eq!(options, Ok(expected));
        let french = parse(&format!("speaker=lyra&modelId=coda&{TELEPHONE}&segment=never&lang=fr")).unwrap();
        assert!(!french.tells_words && french.segment == Segment::Never);
        let linear = parse("speaker=lyra&modelId=coda&audioFormat=pcm&samplingRate=16000").unwrap();
        assert_eq!(linear.linear_rate, Some(16_000));
        assert!(parse(&format!("speaker=lyra&modelId=arcana&{TELEPHONE}")).is_ok(), "served by coda");
    }

    #[test]
    fn wrong_parameters_are_refused_by_name() {
        for (query, name) in [
            (format!("modelId=coda&{TELEPHONE}"), "speaker"),
            (format!("speaker=cove&modelId=coda&{TELEPHONE}"), "speaker"),
            (format!("speaker=lyra&{TELEPHONE}"), "speaker"),
            (format!("speaker=lyra&modelId=mistv9&{TELEPHONE}"), "modelId"),
            ("speaker=lyra&modelId=coda".to_owned(), "audioFormat"),
            (format!("speaker=lyra&modelId=coda&{TELEPHONE}&lang=fr-FR"), "lang"),
            (format!("speaker=lyra&modelId=coda&{TELEPHONE}&reduceLatency=true"), "reduceLatency"),
            (format!("speaker=lyra&modelId=coda&{TELEPHONE}&speedAlpha=0"), "speedAlpha"),
            (format!("speaker=lyra&modelId=coda&{TELEPHONE}&segment=always"), "segment"),
            (format!("speaker=lyra&modelId=coda&{TELEPHONE}&volume=1"), "volume"),
        ] {
            let message = parse(&query).unwrap_err();
            assert!(message.starts_with(name), "{query}: {message}");
        }
    }
}
