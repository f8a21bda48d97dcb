//! The query parameters of `/v2/listen`. Those of `/v1/listen` are refused, and all others that do not exist.

use std::time::Duration;

use crate::deepgram::{
    api::{Refusal, parameter},
    models,
    recogniser::Encoding,
};

/// The languages that `flux-general-multi` can be told.
const HINTS: [&str; 10] = ["de", "en", "es", "fr", "hi", "it", "ja", "nl", "pt", "ru"];

/// Parameters that have no effect here.
const WITHOUT_EFFECT: [&str; 5] = ["mip_opt_out", "numerals", "profanity_filter", "redact", "tag"];

/// The requested options.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct FluxOptions {
    pub(super) encoding: Encoding,
    /// Silence that ends a turn.
    pub(super) silence: Duration,
    /// Whether a probable end is reported.
    pub(super) is_eager: bool,
    /// Whether the silence is the time limit, because no confidence ends a turn.
    pub(super) only_times_out: bool,
    /// None for a model of one language.
    pub(super) hints: Option<Vec<String>>,
}

impl FluxOptions {
    pub(super) fn parse(query: &[(String, String)]) -> Result<Self, Refusal> {
        let get = |name| parameter(query, name);
        let all = |name| query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str());
        let number = |name: &'static str, range: std::ops::RangeInclusive<f64>| match get(name)
            .map(str::parse::<f64>)
        {
            None => Ok(None),
            Some(Ok(value)) if range.contains(&value) => Ok(Some(value)),
            Some(_) => {
                let (from, to) = (range.start(), range.end());
                Err(Refusal::parameter(format!("{name} must be from {from} to {to}")))
            }
        };
        let is_multi = match get("model") {
            Some("flux-general-en") => false,
            Some("flux-general-multi") => true,
            _ => return Err(Refusal::parameter("model must be flux-general-en or flux-general-multi")),
        };
        for (name, _) in query {
            let is_known = matches!(
                name.as_str(),
                "model"
                    | "encoding"
                    | "sample_rate"
                    | "eot_threshold"
                    | "eager_eot_threshold"
                    | "eot_timeout_ms"
                    | "keyterm"
                    | "language_hint"
            );
            if !is_known && !WITHOUT_EFFECT.contains(&name.as_str()) {
                return Err(Refusal::parameter(format!("{name} is no parameter of /v2/listen")));
            }
        }
        let encoding = match (get("encoding"), get("sample_rate")) {
            (Some("mulaw"), Some("8000")) => Encoding::Mulaw,
            (Some("linear16"), Some("16000")) => Encoding::Wideband,
            _ => {
                let message = "encoding and sample_rate: this server has mulaw at 8000 and linear16 at 16000";
                return Err(Refusal::parameter(message));
            }
        };
        let threshold = number("eot_threshold", 0.5..=1.0)?.unwrap_or(0.7);
        let eager = number("eager_eot_threshold", 0.3..=0.9)?;
        if eager.is_some_and(|eager| eager > threshold) {
            return Err(Refusal::parameter("eager_eot_threshold must not be above eot_threshold"));
        }
        let limit = number("eot_timeout_ms", 500.0..=60_000.0)?.unwrap_or(5_000.0);
        if all("keyterm").map(models::key_term_tokens).sum::<usize>() > models::MAX_KEY_TERM_TOKENS {
            let message = "keyterm limit exceeded: the maximum number of tokens across all keyterms is 500";
            return Err(Refusal::parameter(message));
        }
        let hints: Vec<String> = all("language_hint").map(str::to_owned).collect();
        if !is_multi && !hints.is_empty() {
            return Err(Refusal::parameter("language_hint is for flux-general-multi only"));
        }
        if hints.iter().any(|hint| !HINTS.contains(&hint.as_str())) {
            return Err(Refusal::parameter(format!("language_hint must be one of {}", HINTS.join(" "))));
        }
        // 300 ms at the default, as in `/v1/listen`.
        let only_times_out = threshold >= 1.0;
        let silence = if only_times_out { limit } else { (50.0 + 500.0 * (threshold - 0.2)).min(limit) };
        Ok(Self {
            encoding,
            silence: Duration::from_secs_f64(silence / 1000.0),
            is_eager: eager.is_some(),
            only_times_out,
            hints: is_multi.then_some(hints),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Result<FluxOptions, String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs: Vec<(String, String)> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        FluxOptions::parse(&pairs).map_err(|refusal| refusal.message)
    }

    const TELEPHONE: &str = "model=flux-general-en&encoding=mulaw&sample_rate=8000";

    #[test]
    fn a_turn_ends_after_a_silence_that_grows_with_the_threshold() {
        let silence = |query: &str| parse(&format!("{TELEPHONE}{query}")).unwrap().silence.as_millis();
        assert_eq!(silence(""), 300);
        assert_eq!(silence("&eot_threshold=0.9"), 400);
        assert_eq!(silence("&eot_threshold=1.0&eot_timeout_ms=3000"), 3_000);
    }

    #[test]
    fn the_encoding_and_its_rate_go_together() {
        let encoding =
            |query: &str| parse(&format!("model=flux-general-en&{query}")).map(|options| options.encoding);
        assert_eq!(encoding("encoding=mulaw&sample_rate=8000"), Ok(Encoding::Mulaw));
        assert_eq!(encoding("encoding=linear16&sample_rate=16000"), Ok(Encoding::Wideband));
        assert!(
            encoding("encoding=linear16&sample_rate=8000").is_err(),
            "it would be heard at half its speed"
        );
        assert!(encoding("encoding=mulaw&sample_rate=16000").is_err());
    }

    #[test]
    fn wrong_parameters_are_refused_by_name() {
        for (query, name) in [
            ("", "model"),
            ("model=nova-3", "model"),
            ("model=flux-general-en", "encoding"),
            (&format!("{TELEPHONE}&interim_results=true"), "interim_results"),
            (&format!("{TELEPHONE}&language=en"), "language"),
            (&format!("{TELEPHONE}&channels=1"), "channels"),
            (&format!("{TELEPHONE}&eot_threshold=0.4"), "eot_threshold"),
            (&format!("{TELEPHONE}&eager_eot_threshold=0.8"), "eager_eot_threshold"),
            (&format!("{TELEPHONE}&eot_timeout_ms=100"), "eot_timeout_ms"),
            (&format!("{TELEPHONE}&language_hint=en"), "language_hint"),
            ("model=flux-general-multi&encoding=mulaw&sample_rate=8000&language_hint=de-DE", "language_hint"),
        ] {
            let message = parse(query).unwrap_err();
            assert!(message.starts_with(name), "{query}: {message}");
        }
    }
}
