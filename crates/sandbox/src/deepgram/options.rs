//! The query parameters of a live transcription that this server supports.

use std::time::Duration;

use axum::http::StatusCode;

use super::{
    api::{Refusal, parameter},
    models,
};

/// The shortest silence that ends an utterance: stop consonants are silent for up to 100 ms.
const SHORTEST_ENDPOINTING: Duration = Duration::from_millis(100);

/// The encoding of the client's audio, which is always mono, and at 8 kHz unless another rate is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Mulaw,
    Linear16,
    /// Linear samples at 16 kHz.
    Wideband,
}

/// The requested options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListenOptions {
    pub(super) encoding: Encoding,
    pub(super) interim_results: bool,
    /// Silence that ends an utterance; `None`: only `Finalize` does.
    pub(super) endpointing: Option<Duration>,
    /// Gap after the last word at which `UtteranceEnd` is sent.
    pub(super) utterance_end: Option<Duration>,
    pub(super) vad_events: bool,
    /// Whether punctuation and capitals are written.
    pub(super) punctuate: bool,
}

impl ListenOptions {
    /// Reads the query; unknown parameters are ignored.
    pub(super) fn parse(query: &[(String, String)]) -> Result<Self, Refusal> {
        let get = |name| parameter(query, name);
        let flag = |name| match get(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::parameter(format!("{name} must be true or false"))),
        };
        let millis = |name| match get(name) {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(ms) => Ok(Some(Duration::from_millis(ms))),
                Err(_) => Err(Refusal::parameter(format!("{name} must be a number of milliseconds"))),
            },
        };
        let Some(model) = get("model").filter(|model| !model.is_empty()) else {
            return Err(Refusal::parameter("model is required"));
        };
        if !models::takes(model, get("language").unwrap_or("en")) {
            let message = models::NO_SUCH_COMBINATION;
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "Bad Request", message));
        }
        if model.starts_with("nova-3") && get("keywords").is_some() {
            return Err(Refusal::parameter("keywords are not supported by nova-3: use keyterm"));
        }
        let key_terms = query.iter().filter(|(key, _)| key == "keyterm").map(|(_, term)| term.as_str());
        if !model.starts_with("nova-3") && key_terms.clone().count() > 0 {
            return Err(Refusal::parameter("keyterm is supported by nova-3 only: use keywords"));
        }
        if key_terms.map(models::key_term_tokens).sum::<usize>() > models::MAX_KEY_TERM_TOKENS {
            let message = "keyterm limit exceeded: the maximum number of tokens across all keyterms is 500";
            return Err(Refusal::parameter(message));
        }
        let encoding = match (get("encoding"), get("sample_rate")) {
            (Some("mulaw"), Some("8000")) => Encoding::Mulaw,
            (Some("linear16"), Some("8000")) => Encoding::Linear16,
            (Some("linear16"), Some("16000")) => Encoding::Wideband,
            (Some("mulaw"), _) => return Err(Refusal::parameter("sample_rate must be 8000")),
            (Some("linear16"), _) => return Err(Refusal::parameter("sample_rate must be 8000 or 16000")),
            _ => return Err(Refusal::parameter("encoding must be mulaw or linear16")),
        };
        if !matches!(get("channels"), None | Some("1")) {
            return Err(Refusal::parameter("channels must be 1"));
        }
        let endpointing = match get("endpointing") {
            Some("false") => None,
            Some(_) => millis("endpointing")?,
            None => Some(Duration::from_millis(10)),
        };
        let interim_results = flag("interim_results")?;
        let utterance_end = millis("utterance_end_ms")?;
        if utterance_end.is_some_and(|gap| gap < Duration::from_secs(1) || !interim_results) {
            let message = "utterance_end_ms must be at least 1000 and needs interim_results=true";
            return Err(Refusal::parameter(message));
        }
        Ok(Self {
            encoding,
            interim_results,
            endpointing: endpointing.map(|silence| silence.max(SHORTEST_ENDPOINTING)),
            utterance_end,
            vad_events: flag("vad_events")?,
            punctuate: flag("punctuate")? | flag("smart_format")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<ListenOptions, String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs: Vec<(String, String)> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        ListenOptions::parse(&pairs).map_err(|refusal| refusal.message)
    }

    const TELEPHONE: &str = "model=nova-3&encoding=mulaw&sample_rate=8000";

    #[test]
    fn options_are_off_by_default_and_endpointing_is_short() {
        let expected = ListenOptions {
            encoding: Encoding::Mulaw,
            interim_results: false,
            endpointing: Some(SHORTEST_ENDPOINTING),
            utterance_end: None,
            vad_events: false,
            punctuate: false,
        };
        assert_eq!(parse(TELEPHONE).unwrap(), expected);
    }

    #[test]
    fn the_parameters_of_an_agent_are_read() {
        let query = "&channels=1&language=en-US&interim_results=true&endpointing=300&utterance_end_ms=1000\
                     &vad_events=true&smart_format=true&keyterm=Ada&keyterm=bakery&unknown=1";
        let expected = ListenOptions {
            encoding: Encoding::Mulaw,
            interim_results: true,
            endpointing: Some(Duration::from_millis(300)),
            utterance_end: Some(Duration::from_secs(1)),
            vad_events: true,
            punctuate: true,
        };
        assert_eq!(parse(&format!("{TELEPHONE}{query}")).unwrap(), expected);
        assert_eq!(parse(&format!("{TELEPHONE}&endpointing=false")).unwrap().endpointing, None);
    }

    #[test]
    fn wrong_parameters_are_refused_by_name() {
        let wrong = [
            ("encoding=mulaw&sample_rate=8000", "model"),
            ("model=nova-3", "encoding"),
            ("model=nova-3&encoding=opus", "encoding"),
            ("model=nova-3&encoding=mulaw", "sample_rate"),
            ("model=nova-3&encoding=mulaw&sample_rate=16000", "sample_rate"),
            ("model=nova-3&encoding=linear16&sample_rate=44100", "sample_rate"),
            ("model=nova-3&encoding=mulaw&sample_rate=8000&channels=2", "channels"),
            ("model=nova-3&encoding=mulaw&sample_rate=8000&endpointing=soon", "endpointing"),
            ("model=nova-3&encoding=mulaw&sample_rate=8000&interim_results=1", "interim_results"),
            ("model=nova-3&encoding=mulaw&sample_rate=8000&utterance_end_ms=1000", "utterance_end_ms"),
            ("model=nova-3&encoding=mulaw&sample_rate=8000&keywords=Ada:2", "keywords"),
        ];
        for (query, name) in wrong {
            let message = parse(query).unwrap_err();
            assert!(message.starts_with(name), "{query}: {message}");
        }
        let terms = |count: usize| format!("{TELEPHONE}{}", "&keyterm=corner bakery".repeat(count));
        assert!(parse(&terms(120)).is_ok());
        assert!(parse(&terms(200)).unwrap_err().starts_with("keyterm limit"));
        let wideband = parse("model=nova-3&encoding=linear16&sample_rate=16000").unwrap();
        assert_eq!(wideband.encoding, Encoding::Wideband);
        let older = "model=nova-2&encoding=mulaw&sample_rate=8000&keyterm=Ada";
        assert!(parse(older).unwrap_err().starts_with("keyterm"));
        for pair in ["model=nova-9", "model=nova-3&language=fr-FR", "model=nova-2-meeting&language=fr"] {
            let query = format!("{pair}&encoding=mulaw&sample_rate=8000");
            assert_eq!(parse(&query).unwrap_err(), models::NO_SUCH_COMBINATION, "{query}");
        }
        let query = format!("{TELEPHONE}&interim_results=true&utterance_end_ms=999");
        assert!(parse(&query).unwrap_err().starts_with("utterance_end_ms"));
    }
}
