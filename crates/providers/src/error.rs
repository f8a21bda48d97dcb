//! The error of a request to a provider that may be repeated, and the redaction of providers' texts.

use std::{error, fmt, time::Duration};

/// A provider did not serve a request. The variants say what the caller can do. Texts come from the provider,
/// shortened; they contain no key and no transcript.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The same request will fail again: a bad key, an unknown model, no credit left.
    #[error("{vendor} refused the request ({code}): {message}")]
    Rejected {
        /// The provider's name in the catalogue.
        vendor: &'static str,
        /// The provider's own code, else the HTTP status or close code.
        code: String,
        /// The provider's explanation.
        message: String,
    },
    /// The same request may succeed later: the provider could not be reached, stayed silent, or failed on its side.
    #[error("{vendor} is unavailable: {reason}")]
    Unavailable {
        /// The provider's name in the catalogue.
        vendor: &'static str,
        /// Description of the fault.
        reason: String,
        /// How long the provider asked to wait, if it said.
        retry_after: Option<Duration>,
        /// The error of the connection, if there was one.
        #[source]
        source: Option<Box<dyn error::Error + Send + Sync>>,
    },
}

impl Error {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether the provider does not accept the key, or there is none. Vendors say so in different codes.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        const CODES: [&str; 7] = [
            "401",
            "403",
            "missing_key",
            "invalid_api_key",
            "INVALID_AUTH",
            "API_KEY_INVALID",
            "UNAUTHENTICATED",
        ];
        matches!(self, Self::Rejected { code, .. } if CODES.contains(&&**code))
    }

    /// Whether the provider refuses every request with this key and model, whoever asks: it does not accept the key, the
    /// account has no credit, or there is no such model.
    pub(crate) fn concerns_all_calls(&self) -> bool {
        const CODES: [&str; 23] = [
            "402",
            "404",
            "410",
            "bad_key",
            "no_adapter",
            "no_server",
            "missing_api_key",
            "missing_permissions",
            "needs_authorization",
            "detected_unusual_activity",
            "insufficient_quota",
            "insufficient_credits",
            "quota_exceeded",
            "RESOURCE_EXHAUSTED",
            "billing_hard_limit_reached",
            "billing_not_active",
            "PAYMENT_REQUIRED",
            "ASR_PAYMENT_REQUIRED",
            "INSUFFICIENT_PERMISSIONS",
            "model_not_found",
            "model_deprecated",
            "unsupported_model",
            "NOT_FOUND",
        ];
        self.is_unauthorized() || matches!(self, Self::Rejected { code, .. } if CODES.contains(&&**code))
    }

    /// Whether a voice's provider does not have the voice: as its code says, or as far as a bare status can say so.
    pub(crate) fn is_unknown_voice(&self) -> bool {
        const CODES: [&str; 7] = [
            "voice_not_found",
            "voice_does_not_exist",
            "voice_not_fine_tuned",
            "paid_plan_required",
            "404",
            "410",
            "NOT_FOUND",
        ];
        matches!(self, Self::Rejected { code, .. } if CODES.contains(&&**code))
    }

    /// The provider's name in the catalogue.
    #[must_use]
    pub fn vendor(&self) -> &'static str {
        match self {
            Self::Rejected { vendor, .. } | Self::Unavailable { vendor, .. } => vendor,
        }
    }

    /// The error without the provider's explanation, which may quote the key or the words of a caller: fit for logs and
    /// events.
    #[must_use]
    pub fn without_explanation(&self) -> String {
        match self {
            Self::Rejected { code, .. } => format!("refused the request ({code})"),
            Self::Unavailable { reason, .. } => {
                let reason = reason.split_once(": ").map_or(reason.as_str(), |(reason, _explanation)| reason);
                reason.trim_end().to_owned()
            }
        }
    }

    /// The same error, but one after which another provider may serve the same request.
    pub(crate) fn retryable(self) -> Self {
        match self {
            Self::Rejected { vendor, code, .. } => {
                Self::unavailable(vendor, &format!("refused the request ({code})"))
            }
            unavailable @ Self::Unavailable { .. } => unavailable,
        }
    }

    /// How long the provider asked to wait, if it said.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Rejected { .. } => None,
        }
    }

    pub(crate) fn rejected(vendor: &'static str, code: impl fmt::Display, message: &str) -> Self {
        let code = Some(code.to_string()).filter(|code| is_code(code)).unwrap_or_else(|| "error".to_owned());
        Self::Rejected { vendor, code, message: shorten(message) }
    }

    pub(crate) fn unavailable(vendor: &'static str, reason: &str) -> Self {
        Self::Unavailable { vendor, reason: shorten(reason), retry_after: None, source: None }
    }

    /// `reason` is in our words, `explanation` in the provider's, which may quote the key or a caller.
    pub(crate) fn unavailable_because(vendor: &'static str, reason: &str, explanation: &str) -> Self {
        Self::unavailable(vendor, &format!("{reason}: {explanation}"))
    }

    pub(crate) fn broken(
        vendor: &'static str,
        reason: &str,
        source: impl error::Error + Send + Sync + 'static,
    ) -> Self {
        Self::Unavailable {
            vendor,
            reason: shorten(reason),
            retry_after: None,
            source: Some(Box::new(source)),
        }
    }

    pub(crate) fn silent(vendor: &'static str, waited: Duration) -> Self {
        Self::unavailable(vendor, &format!("it sent nothing for {} ms", waited.as_millis()))
    }
}

/// Whether a text is a code rather than a sentence, which may quote the caller: codes are logged and stored. No code of a
/// vendor has more than five digits, as the carrier's have; a telephone number has.
pub(crate) fn is_code(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    text.len() <= 48 && text.bytes().all(is_part) && text.bytes().filter(u8::is_ascii_digit).count() <= 5
}

/// A provider's text, bounded and on one line. A quotation may be from a transcript and is redacted, unless it looks
/// like the name of a field or a model.
pub(crate) fn shorten(text: &str) -> String {
    let mut quoted = false;
    let parts = text.split(['"', '\'', '`']).map(|part| {
        let hidden =
            quoted && !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.[]/:".contains(&byte));
        quoted = !quoted;
        if hidden { "..." } else { part }
    });
    let text = parts.collect::<Vec<_>>().join("'");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotations_are_redacted_unless_they_are_names() {
        assert_eq!(shorten("Unsupported 'max_tokens' for \"gpt-6\""), "Unsupported 'max_tokens' for 'gpt-6'");
        assert_eq!(shorten("cannot read 'my card is 4111'\nhere"), "cannot read '...' here");
        assert_eq!(
            shorten("it's broken: my secret"),
            "it's broken: my secret".replace("s broken: my secret", "...")
        );
    }

    #[test]
    fn only_codes_and_our_own_words_are_logged() {
        let logged = |error: Error| error.without_explanation();
        assert_eq!(
            logged(Error::rejected("acme", "voice_not_found", "")),
            "refused the request (voice_not_found)"
        );
        assert_eq!(logged(Error::rejected("acme", "no: my card is lost", "")), "refused the request (error)");
        let failed = Error::unavailable_because("acme", "it failed", "cannot say my card is lost");
        assert_eq!(logged(failed), "it failed");
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(shorten(&"x".repeat(500)).len(), 200);
    }
}
