//! `X-Twilio-Signature`: the proof that a request comes from the carrier.
//!
//! The signature is the base64 of the HMAC-SHA1, under the account's auth token, of the URL as the carrier
//! requested it, followed by the form's parameters
//! (<https://www.twilio.com/docs/usage/security#validating-requests>).

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::callbacks::{Form, parse_form};
use crate::{Secret, carrier::callbacks::CallbackRequest};

/// The header, in lower case as HTTP libraries have it.
const HEADER: &str = "x-twilio-signature";

/// The parameter of the URL that carries the hash of a body that is no form.
const BODY_HASH: &str = "bodySHA256=";

/// The part of a request that is signed beside the URL.
#[derive(Debug, Clone, Copy)]
enum Signed<'a> {
    /// A form's parameters, decoded; all of them, in any order. Empty for a `GET`.
    Form(&'a Form<'a>),
    /// Any other body; the URL carries its hash.
    Body(&'a [u8]),
    /// A websocket's handshake; the URL is the one in the document.
    WebSocket,
}

/// Whether the carrier signed this request with the account's auth token.
pub(super) fn is_valid(auth_token: &Secret, request: &CallbackRequest) -> bool {
    let CallbackRequest { url, headers, body } = request;
    let signature = headers.get(HEADER).and_then(|header| header.to_str().ok()).unwrap_or_default();
    let form;
    let signed = if url.starts_with("ws") {
        Signed::WebSocket
    } else if claimed_hash(url).is_some() {
        Signed::Body(body)
    } else {
        form = parse_form(body);
        Signed::Form(&form)
    };
    verify(auth_token, url, signed, signature)
}

/// Whether `signature` proves that the carrier sent this to `url`. Takes the same time for every wrong signature.
/// Since the carrier is not consistent about ports (and, on websockets, trailing slashes and schemes), several
/// spellings of `url` are tried; each of them requires the token.
fn verify(auth_token: &Secret, url: &str, signed: Signed<'_>, signature: &str) -> bool {
    let Ok(signature) = BASE64_STANDARD.decode(signature.trim()) else { return false };
    let parameters = match signed {
        Signed::Form(parameters) => in_signing_order(parameters),
        Signed::Body(body) if !is_body_of(url, body) => return false,
        Signed::Body(_) | Signed::WebSocket => String::new(),
    };
    let spellings = spellings(url, matches!(signed, Signed::WebSocket));
    let valid = spellings.iter().fold(Choice::from(0), |valid, url| {
        valid | mac(auth_token, url, &parameters).as_slice().ct_eq(&signature)
    });
    valid.into()
}

fn mac(auth_token: &Secret, url: &str, parameters: &str) -> Vec<u8> {
    let mut mac =
        Hmac::<Sha1>::new_from_slice(auth_token.reveal().as_bytes()).expect("a key of any length will do");
    mac.update(url.as_bytes());
    mac.update(parameters.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Every name in byte order, each followed by its values, sorted, each value once.
fn in_signing_order(parameters: &[(Cow<'_, str>, Cow<'_, str>)]) -> String {
    let mut sorted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in parameters {
        sorted.entry(name).or_default().insert(value);
    }
    let mut text = String::new();
    for (name, values) in sorted {
        for value in values {
            text.push_str(name);
            text.push_str(value);
        }
    }
    text
}

fn claimed_hash(url: &str) -> Option<&str> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(BODY_HASH))
}

fn is_body_of(url: &str, body: &[u8]) -> bool {
    use std::fmt::Write as _;

    let Some(claimed) = claimed_hash(url) else { return false };
    let mut actual = String::new();
    for byte in Sha256::digest(body) {
        write!(actual, "{byte:02x}").expect("writing into a String does not fail");
    }
    claimed.as_bytes().ct_eq(actual.as_bytes()).into()
}

/// The ways the carrier may have written this URL.
fn spellings(url: &str, websocket: bool) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else { return vec![url.to_owned()] };
    let end_of_host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end_of_host);
    // The colons of an IPv6 address are inside brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, Some(port))
        }
        _ => (authority, None),
    };

    let schemes: &[&str] = match scheme {
        "wss" | "https" if websocket => &["wss", "https"],
        "ws" | "http" if websocket => &["ws", "http"],
        _ => &[scheme],
    };
    let paths = match path.strip_suffix('/') {
        Some(shorter) if websocket => vec![path.to_owned(), shorter.to_owned()],
        None if websocket => vec![path.to_owned(), format!("{path}/")],
        _ => vec![path.to_owned()],
    };
    let mut spellings = Vec::new();
    for scheme in schemes {
        let default_port = if matches!(*scheme, "http" | "ws") { "80" } else { "443" };
        for path in &paths {
            spellings.push(format!("{scheme}://{host}{path}"));
            spellings.push(format!("{scheme}://{host}:{}{path}", port.unwrap_or(default_port)));
        }
    }
    spellings
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    const URL: &str = "https://voice.example.com/twilio/status?tenant=t1";
    const FORM: [(&str, &str); 5] = [
        ("CallSid", "CA00000000000000000000000000000001"),
        ("CallStatus", "completed"),
        ("From", "+15005550006"),
        ("To", "+15005550001"),
        ("CallDuration", "42"),
    ];
    const SIGNATURE: &str = "pSqB5dvXEpgO2dPCa/P7Zg4vsMo=";

    fn token() -> Secret {
        Secret::new("test_auth_token_000")
    }

    fn is_valid_form(url: &str, form: &[(&str, &str)], signature: &str) -> bool {
        let form: Vec<_> = form.iter().map(|(name, value)| (Cow::from(*name), Cow::from(*value))).collect();
        verify(&token(), url, Signed::Form(&form), signature)
    }

    #[test]
    fn a_form_is_valid_with_and_without_a_port() {
        let with_port = URL.replace(".com/", ".com:443/");
        for url in [URL, &with_port] {
            for signature in [SIGNATURE, "+HMrYVBfHLjWYpWo1hVDbSZ1Css="] {
                assert!(is_valid_form(url, &FORM, signature), "{url} {signature}");
            }
        }
    }

    #[test]
    fn parameters_may_be_reordered_and_repeated() {
        let mut form = FORM.to_vec();
        form.reverse();
        form.push(FORM[2]);
        assert!(is_valid_form(URL, &form, SIGNATURE));
    }

    #[test]
    fn any_change_invalidates_the_signature() {
        assert!(!is_valid_form("https://voice.example.com/twilio/status?tenant=t2", &FORM, SIGNATURE));
        assert!(!is_valid_form(&URL.replace("https", "http"), &FORM, SIGNATURE));
        assert!(!is_valid_form(&URL.replace(".com/", ".com:8443/"), &FORM, "+HMrYVBfHLjWYpWo1hVDbSZ1Css="));
        assert!(!is_valid_form(URL, &FORM[..4], SIGNATURE));
        let mut form = FORM.to_vec();
        form.push(("Extra", ""));
        assert!(!is_valid_form(URL, &form, SIGNATURE));
        let form: Vec<_> = FORM.iter().map(|(name, value)| (Cow::from(*name), Cow::from(*value))).collect();
        assert!(!verify(&Secret::new("another"), URL, Signed::Form(&form), SIGNATURE));
    }

    #[test]
    fn a_malformed_signature_is_invalid() {
        for signature in
            ["V9DWM+1+m7FnSuupbA7SIELdiuSmJumSK3qvZMU+kbs=", "", "=", "not base64!", &SIGNATURE[..20]]
        {
            assert!(!is_valid_form(URL, &FORM, signature), "{signature}");
        }
    }

    #[test]
    fn a_get_is_valid_by_its_url() {
        let url = "https://voice.example.com/twilio/answer?CallSid=CA1&From=%2B15005550006";
        assert!(is_valid_form(url, &[], "nKx3cMr+868CTI08ujIalwY40lw="));
        assert!(!is_valid_form(&url.replace("%2B", "+"), &[], "nKx3cMr+868CTI08ujIalwY40lw="));
    }

    #[test]
    fn a_json_body_is_valid_by_the_hash_in_its_url() {
        let url = "https://voice.example.com/twilio/json?\
                   bodySHA256=15fe936d5a5c4a564c8dc9002280009263c0cc0bd0f28e16652529a9f83b2d23";
        let signature = "hdKI0tuS9D5EV3lY6/d6krYSxdk=";
        let is_valid_body =
            |url: &str, body: &str| verify(&token(), url, Signed::Body(body.as_bytes()), signature);
        assert!(is_valid_body(url, "{\"hello\":\"wörld\"}"));
        assert!(!is_valid_body(url, "{\"hello\":\"world\"}"));
        assert!(!is_valid_body("https://voice.example.com/twilio/json", "{\"hello\":\"wörld\"}"));
    }

    #[test]
    fn a_websocket_is_valid_in_each_known_spelling() {
        for url in [
            "wss://voice.example.com/media",
            "wss://voice.example.com/media/",
            "https://voice.example.com/media",
        ] {
            for signature in ["WC7Vw87xkVnTtq/IgVxelSQQAoQ=", "hUhUi4CxvPanfMe2JaUZ9j08il8="] {
                assert!(verify(&token(), url, Signed::WebSocket, signature), "{url} {signature}");
            }
        }
        assert!(!verify(
            &token(),
            "ws://voice.example.com/media",
            Signed::WebSocket,
            "WC7Vw87xkVnTtq/IgVxelSQQAoQ="
        ));
        assert!(!verify(
            &token(),
            "wss://voice.example.com/other",
            Signed::WebSocket,
            "WC7Vw87xkVnTtq/IgVxelSQQAoQ="
        ));
    }

    #[test]
    fn a_request_says_how_it_was_signed() {
        let signed = |url: &str, signature: &'static str, body: &'static str| {
            let headers = [(HeaderName::from_static(HEADER), HeaderValue::from_static(signature))];
            let headers = headers.into_iter().collect();
            is_valid(&token(), &CallbackRequest { url: url.to_owned(), headers, body: body.into() })
        };
        let form = "CallSid=CA00000000000000000000000000000001&CallStatus=completed&From=%2B15005550006\
                    &To=%2B15005550001&CallDuration=42";
        assert!(signed(URL, SIGNATURE, form));
        assert!(!signed(URL, "", form));
        assert!(signed("wss://voice.example.com/media", "WC7Vw87xkVnTtq/IgVxelSQQAoQ=", ""));
        let json = "https://voice.example.com/twilio/json?\
                    bodySHA256=15fe936d5a5c4a564c8dc9002280009263c0cc0bd0f28e16652529a9f83b2d23";
        assert!(signed(json, "hdKI0tuS9D5EV3lY6/d6krYSxdk=", "{\"hello\":\"wörld\"}"));
        assert!(!signed(json, "hdKI0tuS9D5EV3lY6/d6krYSxdk=", "{}"));
    }

    #[test]
    fn own_ports_and_ipv6_addresses_are_spelled_right() {
        assert_eq!(
            spellings("http://127.0.0.1:8787/x", false),
            ["http://127.0.0.1/x", "http://127.0.0.1:8787/x"]
        );
        assert_eq!(
            spellings("https://[::1]/x?a:1", false),
            ["https://[::1]/x?a:1", "https://[::1]:443/x?a:1"]
        );
    }

    proptest! {
        #[test]
        fn hostile_input_never_panics_and_never_passes(url in ".{0,60}", name in ".{0,9}", value in ".{0,9}", signature in ".{0,40}") {
            let form = [(name.as_str(), value.as_str())];
            prop_assert!(!is_valid_form(&url, &form, &signature));
            prop_assert!(!verify(&token(), &url, Signed::WebSocket, &signature));
        }

        #[test]
        fn only_the_right_token_makes_a_valid_signature(
            form in prop::collection::vec(("[A-Za-z]{1,6}", ".{0,8}"), 0..8),
        ) {
            let form: Vec<_> = form.into_iter().map(|(name, value)| (Cow::from(name), Cow::from(value))).collect();
            let sign = |token: &Secret| BASE64_STANDARD.encode(mac(token, URL, &in_signing_order(&form)));
            prop_assert!(verify(&token(), URL, Signed::Form(&form), &sign(&token())));
            prop_assert!(!verify(&token(), URL, Signed::Form(&form), &sign(&Secret::new("x"))));
        }
    }
}
