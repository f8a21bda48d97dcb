//! Where each vendor is. A variable per vendor, so that a compatible server, a regional endpoint or
//! a simulation can stand in.

use reqwest::Url;

/// Base URLs; paths are appended to whatever path they have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// `TWILIO_API_URL`, default `https://api.twilio.com`.
    pub twilio: Url,
    /// `OPENAI_API_URL`, default `https://api.openai.com/v1`.
    pub openai: Url,
    /// `DEEPGRAM_API_URL`, default `https://api.deepgram.com`.
    pub deepgram: Url,
}

/// A variable does not hold a base URL.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct BadEndpoint {
    /// Its name.
    pub variable: &'static str,
    /// What is wrong with it; its value is not repeated, it may hold a password.
    pub problem: &'static str,
}

impl Endpoints {
    /// Reads the variables through `variable`; an unset or empty one means the vendor's own address.
    /// All bad ones are reported.
    pub fn from_vars(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, Vec<BadEndpoint>> {
        let mut bad = Vec::new();
        let mut endpoint = |name: &'static str, default: &str| {
            let set = variable(name).filter(|text| !text.trim().is_empty());
            match parse(set.as_deref().unwrap_or(default).trim()) {
                Ok(url) => Some(url),
                Err(problem) => {
                    bad.push(BadEndpoint { variable: name, problem });
                    None
                }
            }
        };
        let twilio = endpoint("TWILIO_API_URL", "https://api.twilio.com");
        let openai = endpoint("OPENAI_API_URL", "https://api.openai.com/v1");
        let deepgram = endpoint("DEEPGRAM_API_URL", "https://api.deepgram.com");
        match (twilio, openai, deepgram) {
            (Some(twilio), Some(openai), Some(deepgram)) => Ok(Self { twilio, openai, deepgram }),
            _ => Err(bad),
        }
    }
}

fn parse(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "not a URL")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with https:// or http://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not hold a query or fragment");
    }
    Ok(url)
}

/// `base` with `path` (which begins with a slash) after its own path.
pub(crate) fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_variables_mean_the_vendors_own_addresses() {
        let endpoints = Endpoints::from_vars(&|_| None).unwrap();
        assert_eq!(endpoints.openai.as_str(), "https://api.openai.com/v1");
        assert_eq!(
            join(&endpoints.openai, "/chat/completions").as_str(),
            "https://api.openai.com/v1/chat/completions"
        );
        assert_eq!(join(&endpoints.deepgram, "/v1/speak").as_str(), "https://api.deepgram.com/v1/speak");
    }

    #[test]
    fn every_bad_variable_is_reported_without_its_value() {
        let bad = Endpoints::from_vars(&|name| {
            Some(
                match name {
                    "TWILIO_API_URL" => "ftp://example.com",
                    "OPENAI_API_URL" => "http://127.0.0.1:4010/v1/",
                    _ => "https://user:hunter2@example.com",
                }
                .to_owned(),
            )
        })
        .unwrap_err();
        let bad: Vec<String> = bad.iter().map(ToString::to_string).collect();
        assert_eq!(
            bad,
            [
                "TWILIO_API_URL: must begin with https:// or http://",
                "DEEPGRAM_API_URL: must not hold a user name or password"
            ]
        );
    }
}
