//! The signature of a webhook: [Standard Webhooks](https://www.standardwebhooks.com), version 1.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The value of `webhook-signature`: one signature per secret, separated by spaces, each `v1,` and the
/// HMAC-SHA256 of `{id}.{timestamp}.{content}` in base64. The content is the body of a `POST`, or the query of a `GET`
/// without the question mark.
///
/// A secret is `whsec_` and the key in base64; any other text signs with its own bytes.
#[must_use]
pub fn sign<'a>(
    secrets: impl IntoIterator<Item = &'a str>,
    id: &str,
    timestamp_seconds: i64,
    content: &str,
) -> String {
    let signatures = secrets.into_iter().map(|secret| {
        let mut mac = keyed(secret);
        for part in [id, ".", &timestamp_seconds.to_string(), ".", content] {
            mac.update(part.as_bytes());
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

fn keyed(secret: &str) -> Hmac<Sha256> {
    let text = secret.strip_prefix("whsec_").unwrap_or(secret);
    let key = STANDARD.decode(text).unwrap_or_else(|_| secret.as_bytes().to_vec());
    Hmac::new_from_slice(&key).expect("HMAC takes a key of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the specification's libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: i64 = 1_614_265_330;
    const BODY: &str = r#"{"test": 2432232314}"#;
    const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_example_of_the_specification_is_signed() {
        assert_eq!(sign([SECRET], ID, AT, BODY), SIGNED);
    }

    #[test]
    fn two_secrets_sign_in_their_order() {
        let other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        let both = sign([SECRET, other], ID, AT, BODY);
        assert_eq!(both, format!("{SIGNED} {}", sign([other], ID, AT, BODY)));
    }

    #[test]
    fn id_timestamp_and_content_are_signed() {
        let bodies = [r#"{"test": 2432232315}"#, "", r#"{"test": 2432232314} "#];
        for signed in bodies.map(|body| sign([SECRET], ID, AT, body)).into_iter().chain([
            sign([SECRET], "msg_p5jXN8AQM9LWM0D4loKWxJel", AT, BODY),
            sign([SECRET], ID, AT + 1, BODY),
            sign(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx"], ID, AT, BODY),
        ]) {
            assert_ne!(signed, SIGNED);
        }
    }
}
