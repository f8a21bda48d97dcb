//! Azure Speech: transcriber ([`listen`]) and synthesizer ([`speak`]).

mod endpoint;
pub mod listen;
pub mod speak;
mod ssml;
mod usp;

use reqwest::Url;

use crate::endpoints::join;

pub(crate) const VENDOR: &str = "azure";

/// Endings of the hosts of resources that share their region's address, and the ending of the hosts of the services there.
const CLOUDS: &[(&str, &str)] = &[
    (".api.cognitive.microsoft.com", "speech.microsoft.com"),
    (".api.cognitive.azure.cn", "speech.azure.cn"),
    (".api.cognitive.microsoft.us", "speech.azure.us"),
];

/// The URL of a speech service (`tts`, `stt`) whose paths begin with a slash. A region's address has a host per service;
/// an address of one's own (a custom domain, a private link) has a path per service.
fn service_url(base: &Url, service: &str, path: &str) -> Url {
    let host = base.host_str().unwrap_or_default();
    let regional = CLOUDS.iter().find_map(|(cloud, services)| Some((host.strip_suffix(cloud)?, services)));
    let Some((region, services)) = regional else { return join(base, &format!("/{service}{path}")) };
    let mut url = base.clone();
    url.set_path(path);
    match url.set_host(Some(&format!("{region}.{service}.{services}"))) {
        Ok(()) => url,
        Err(_) => join(base, &format!("/{service}{path}")),
    }
}

/// The address of a region.
pub(crate) fn region_url(region: &str) -> Option<Url> {
    Url::parse(&format!("https://{region}.api.cognitive.microsoft.com")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(
            region_url("westeurope").unwrap().host_str(),
            Some("westeurope.api.cognitive.microsoft.com")
        );
    }
}
