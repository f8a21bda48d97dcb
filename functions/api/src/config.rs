use aws::system::{ConfigError, Vars};
use domain::agents::WebhookUrls;

/// What this function is told by its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `TABLE_NAME`: the table.
    pub table_name: String,
    /// `RECORDINGS_BUCKET`: the bucket of recordings.
    pub recordings_bucket: String,
    /// `PUBLIC_URL`: the base URL of the API as the world sees it.
    pub public_url: String,
    /// `ALLOW_HTTP_WEBHOOKS` (`true`; a stack on the developer's own machine, never a deployed one):
    /// whether webhooks may be `http://` too.
    pub webhook_urls: WebhookUrls,
}

impl Config {
    /// Reads the environment. The error lists every variable that is missing or wrong.
    pub fn from_vars(mut vars: Vars) -> Result<Self, ConfigError> {
        let config = Self {
            table_name: vars.required("TABLE_NAME"),
            recordings_bucket: vars.required("RECORDINGS_BUCKET"),
            public_url: vars.required("PUBLIC_URL").trim_end_matches('/').to_owned(),
            webhook_urls: if vars.parsed("ALLOW_HTTP_WEBHOOKS", false) {
                WebhookUrls::HttpToo
            } else {
                WebhookUrls::HttpsOnly
            },
        };
        vars.finish().map(|()| config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_takes_https_webhooks_only_and_its_url_has_no_slash_at_the_end() {
        let vars = [
            ("TABLE_NAME", "table"),
            ("RECORDINGS_BUCKET", "bucket"),
            ("PUBLIC_URL", "https://api.example.com/"),
        ];
        let config = Config::from_vars(Vars::from(vars)).unwrap();
        assert_eq!(config.public_url, "https://api.example.com");
        assert_eq!(config.webhook_urls, WebhookUrls::HttpsOnly);
    }

    #[test]
    fn everything_that_is_missing_or_wrong_is_named_at_once() {
        let error = Config::from_vars(Vars::from([("ALLOW_HTTP_WEBHOOKS", "yes")])).unwrap_err();
        assert_eq!(error.0.len(), 4, "{error}");
    }
}
