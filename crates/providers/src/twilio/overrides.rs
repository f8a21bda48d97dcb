//! Connection overrides: the fragment of a URL that Twilio calls. Twilio reads it, and neither sends nor signs it.

/// Twilio by itself repeats a request once, and only if the connection fails. One 5xx would end a call. `rc` is the number
/// of repetitions, `rt` the milliseconds until a response, `rp` what is repeated: 5xx, and time-outs while connecting and
/// reading. All tries together have 15 s. Repetitions are safe: every callback is idempotent.
const RETRIES: &str = "#rc=3&rt=8000&rp=5xx,ct,rt";

/// The URL with retries; an empty one stays empty.
pub(super) fn with_retries(url: &str) -> String {
    if url.is_empty() { String::new() } else { format!("{url}{RETRIES}") }
}

/// The URL that Twilio calls.
pub(super) fn without_overrides(url: &str) -> &str {
    url.split_once('#').map_or(url, |(url, _)| url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_added_to_a_url_and_removed_from_it() {
        let url = "https://a.example/in?x=1";
        assert_eq!(with_retries(url), "https://a.example/in?x=1#rc=3&rt=8000&rp=5xx,ct,rt");
        assert_eq!(without_overrides(&with_retries(url)), url);
        assert_eq!(without_overrides(url), url);
        assert_eq!(with_retries(""), "");
    }
}
