//! The part of a receiver's answer that is stored, without secrets.

/// Maximum length of a stored answer, in bytes.
pub const MAX_ANSWER_BYTES: usize = 1024;

const REDACTED: &str = "[redacted]";
/// Minimum length of a secret, in bytes. A shorter value (`1`, `true`) is none, and would blacken every answer.
const SHORTEST_SECRET: usize = 8;
/// The prefixes of our own secrets, each with the minimum length of the rest.
const OURS: [(&str, usize); 2] = [("sk_", 32), ("whsec_", 24)];

/// The first KiB of an answer without secrets: without the given ones (the values of the webhook's own headers, which a
/// receiver may echo), also where the scheme before them is missing, and without everything that looks like one of our
/// tokens or signing secrets.
#[must_use]
pub fn kept<'a>(answer: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut text = answer.to_owned();
    let mut secrets: Vec<_> = secrets
        .into_iter()
        .flat_map(|secret| std::iter::once(secret).chain(secret.split_ascii_whitespace()))
        .filter(|secret| secret.len() >= SHORTEST_SECRET)
        .collect();
    // The longest first, so that a secret that contains another one is replaced as a whole.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in secrets {
        text = text.replace(secret, REDACTED);
    }
    for (prefix, length) in OURS {
        text = without_tokens(&text, prefix, length);
    }
    text.truncate(text.floor_char_boundary(MAX_ANSWER_BYTES));
    text
}

fn without_tokens(text: &str, prefix: &str, length: usize) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_');
    let mut parts = text.split(prefix);
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(is_part);
        if part.len() - rest.len() >= length {
            clean.push_str(REDACTED);
            clean.push_str(rest);
        } else {
            clean.push_str(prefix);
            clean.push_str(part);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_of_an_answer_is_kept() {
        let token = format!("sk_{}", "a1".repeat(16));
        let signing = format!("whsec_{}=", "Ab+/".repeat(10));
        let answer = format!("[{token}] \"{signing}\" Bearer 0123456789, 0123456789 1 sk_short whsec_");
        assert_eq!(
            kept(&answer, ["Bearer 0123456789", "1"]),
            "[[redacted]] \"[redacted]\" [redacted], [redacted] 1 sk_short whsec_"
        );
    }

    #[test]
    fn an_answer_is_cut_at_a_letter_after_redaction() {
        let long = format!("{}{}", "x".repeat(MAX_ANSWER_BYTES - 4), "secret-0123456789");
        let expected = format!("{}[red", "x".repeat(MAX_ANSWER_BYTES - 4));
        assert_eq!(kept(&long, ["secret-0123456789"]), expected);
        let letters = kept(&"é🎂".repeat(1_000), []);
        assert!(letters.len() <= MAX_ANSWER_BYTES && letters.len() > MAX_ANSWER_BYTES - 4);
    }
}
