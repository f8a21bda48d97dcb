//! Azure's hosts. The portal shows one endpoint for a resource; each service has a host or a path of its own.

use reqwest::Url;

use super::regional_host;
use crate::endpoints::join;

/// The ending of the host of a resource that has a name of its own.
const NAMED: &str = ".cognitiveservices.azure.com";

/// The address of transcription, with the path of one language or the one of several.
pub(super) fn listen_url(endpoint: &Url, has_several_languages: bool) -> Url {
    let (mut base, host) = (endpoint.clone(), endpoint.host_str().unwrap_or_default());
    let is_named = host.ends_with(NAMED);
    if let Some(host) = regional_host(endpoint, "stt") {
        base.set_host(Some(&host)).expect("a label and one of our hosts are a host");
    }
    let path = match (has_several_languages, is_named) {
        // Only this one identifies languages while it listens.
        (true, _) => "/stt/speech/universal/v2",
        (false, true) => "/stt/speech/recognition/conversation/cognitiveservices/v1",
        (false, false) => "/speech/recognition/conversation/cognitiveservices/v1",
    };
    let mut url = join(&base, path);
    let scheme = if url.scheme() == "http" { "ws" } else { "wss" };
    url.set_scheme(scheme).expect("http and ws are of one kind, so the scheme can be changed");
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_region_and_a_named_resource_have_their_hosts() {
        let one = "speech/recognition/conversation/cognitiveservices/v1";
        let global = "https://westeurope.api.cognitive.microsoft.com";
        for (endpoint, several, expected) in [
            (global, false, format!("wss://westeurope.stt.speech.microsoft.com/{one}")),
            (global, true, "wss://westeurope.stt.speech.microsoft.com/stt/speech/universal/v2".into()),
            (
                "https://chinaeast2.api.cognitive.azure.cn",
                false,
                format!("wss://chinaeast2.stt.speech.azure.cn/{one}"),
            ),
            (
                "https://bakery.cognitiveservices.azure.com/",
                false,
                format!("wss://bakery.cognitiveservices.azure.com/stt/{one}"),
            ),
            ("http://127.0.0.1:9/azure", false, format!("ws://127.0.0.1:9/azure/{one}")),
        ] {
            assert_eq!(listen_url(&url(endpoint), several).as_str(), expected);
        }
    }
}
