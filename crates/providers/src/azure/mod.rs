//! Azure Speech: transcriber ([`listen`]) and synthesizer ([`speak`]).

mod endpoint;
pub mod listen;
pub mod speak;
mod ssml;
mod usp;

use http::{HeaderValue, StatusCode};
use reqwest::Url;

use crate::{Error, Secret, endpoints::join};

pub(crate) const VENDOR: &str = "azure";

/// One of Azure's clouds.
struct Cloud {
    /// The beginnings of its regions' names.
    regions: &'static [&'static str],
    /// The ending of the address of a region, as the portal shows it.
    region: &'static str,
    /// The ending of the hosts of the speech services of a region.
    services: &'static str,
}

/// The last one has all other regions.
const CLOUDS: [Cloud; 3] = [
    Cloud { regions: &["china"], region: ".api.cognitive.azure.cn", services: "speech.azure.cn" },
    Cloud {
        regions: &["usgov", "usdod"],
        region: ".api.cognitive.microsoft.us",
        services: "speech.azure.us",
    },
    Cloud { regions: &[""], region: ".api.cognitive.microsoft.com", services: "speech.microsoft.com" },
];

/// The host of a speech service (`tts`, `stt`) of the region whose address this is; none if it is an address of one's own (a
/// custom domain, a private link).
fn regional_host(base: &Url, service: &str) -> Option<String> {
    let host = base.host_str()?;
    CLOUDS.iter().find_map(|cloud| {
        let region = host.strip_suffix(cloud.region)?;
        Some(format!("{region}.{service}.{}", cloud.services))
    })
}

/// The URL of a speech service whose paths begin with a slash. A region's address has a host per service; an address of
/// one's own has a path per service.
fn service_url(base: &Url, service: &str, path: &str) -> Url {
    let Some(host) = regional_host(base, service) else { return join(base, &format!("/{service}{path}")) };
    let mut url = base.clone();
    url.set_path(path);
    match url.set_host(Some(&host)) {
        Ok(()) => url,
        Err(_) => join(base, &format!("/{service}{path}")),
    }
}

/// The address of a region.
pub(crate) fn region_url(region: &str) -> Option<Url> {
    let is_in = |cloud: &&Cloud| cloud.regions.iter().any(|begins| region.starts_with(begins));
    let cloud = CLOUDS.iter().find(is_in)?;
    Url::parse(&format!("https://{region}{}", cloud.region)).ok()
}

/// The header with the key, or with a token that was issued for one.
fn authorization(key: &Secret) -> Result<(&'static str, HeaderValue), Error> {
    let key = key.reveal();
    // Keys are hexadecimal or base64; a token has three parts.
    let is_token = key.matches('.').count() == 2;
    let (name, value) = if is_token {
        ("authorization", format!("Bearer {key}"))
    } else {
        ("ocp-apim-subscription-key", key.to_owned())
    };
    let mut value = HeaderValue::try_from(value).map_err(|_| {
        Error::rejected(VENDOR, "bad_key", "the key holds characters that no header can carry")
    })?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// The explanation of a status that refuses the key; the vendor gives none. None: it refuses something else.
fn refusal_of_key(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::UNAUTHORIZED => Some("the key is not valid at this endpoint: it belongs to one region"),
        StatusCode::FORBIDDEN => Some("the key may not use this service, or its quota is used up"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_another_header_than_a_key() {
        let of = |key: &str| {
            let (name, value) = authorization(&Secret::new(key)).unwrap();
            assert!(value.is_sensitive());
            (name, value.to_str().unwrap().to_owned())
        };
        assert_eq!(of("0a1b"), ("ocp-apim-subscription-key", "0a1b".to_owned()));
        assert_eq!(of("e.y.J"), ("authorization", "Bearer e.y.J".to_owned()));
        assert!(authorization(&Secret::new("a\nb")).is_err());
    }

    #[test]
    fn a_region_has_a_host_for_each_service_and_a_custom_domain_has_not() {
        let path = "/cognitiveservices/v1";
        for (base, url) in [
            (
                "https://westeurope.api.cognitive.microsoft.com",
                "https://westeurope.tts.speech.microsoft.com/cognitiveservices/v1",
            ),
            (
                "https://chinaeast2.api.cognitive.azure.cn/",
                "https://chinaeast2.tts.speech.azure.cn/cognitiveservices/v1",
            ),
            (
                "https://mine.cognitiveservices.azure.com",
                "https://mine.cognitiveservices.azure.com/tts/cognitiveservices/v1",
            ),
            ("http://127.0.0.1:9", "http://127.0.0.1:9/tts/cognitiveservices/v1"),
        ] {
            assert_eq!(service_url(&Url::parse(base).unwrap(), "tts", path).as_str(), url);
        }
        for (region, host) in [
            ("westeurope", "westeurope.api.cognitive.microsoft.com"),
            ("chinanorth3", "chinanorth3.api.cognitive.azure.cn"),
            ("usgovvirginia", "usgovvirginia.api.cognitive.microsoft.us"),
        ] {
            assert_eq!(region_url(region).unwrap().host_str(), Some(host));
        }
    }
}
