//! Azure `OpenAI`: the same protocol at addresses of its own, with the key in a header of its own.
//!
//! Pure. Two forms of the address are in use: `https://NAME.openai.azure.com/openai/v1`, and
//! `.../openai/deployments/DEPLOYMENT` with a version in the query, where the address says which model answers.

use reqwest::Url;

/// The path below which each deployment has its own address.
const DEPLOYMENTS: &str = "/openai/deployments/";

/// The version of the API for an address that has none: the last one that is generally available.
const VERSION: &str = "2024-10-21";

/// Whether a server is Azure's.
pub(super) fn is_azure(base: &Url) -> bool {
    base.host_str().is_some_and(|host| host.ends_with(".azure.com")) || base.path().contains(DEPLOYMENTS)
}

/// The address of a request, with the version that deployments want.
pub(super) fn versioned(mut url: Url) -> Url {
    if url.path().contains(DEPLOYMENTS) && url.query().is_none() {
        url.set_query(Some(&format!("api-version={VERSION}")));
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoints::join;

    #[test]
    fn only_a_deployments_address_gets_a_version() {
        let completions =
            |base: &str| versioned(join(&Url::parse(base).unwrap(), "/chat/completions")).to_string();
        let deployment = "https://bakery.openai.azure.com/openai/deployments/ada";
        let url = format!("{deployment}/chat/completions?api-version=");
        assert_eq!(completions(deployment), format!("{url}2024-10-21"));
        assert_eq!(completions(&format!("{deployment}?api-version=preview")), format!("{url}preview"));
        let v1 = "https://bakery.openai.azure.com/openai/v1/";
        assert_eq!(completions(v1), "https://bakery.openai.azure.com/openai/v1/chat/completions");
    }

    #[test]
    fn azure_is_known_by_its_host_or_its_path() {
        let is = |base: &str| is_azure(&Url::parse(base).unwrap());
        assert!(is("https://bakery.openai.azure.com/openai/v1"));
        assert!(is("https://gateway.example/openai/deployments/ada"));
        assert!(!is("https://api.openai.com/v1") && !is("https://azure.com.example/v1"));
    }
}
