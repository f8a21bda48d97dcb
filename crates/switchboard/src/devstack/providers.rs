//! The source of each provider of the catalogue: the sandbox, the real vendor if the environment has its keys, or the server
//! at an address in the environment.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use switchboard_model::catalogue::{self, Connection, Service};
use switchboard_sandbox::Vendor;

use super::host_environment::{HostEnvironment, key_variable};

/// Stands for a key that a server of the user's does not need.
const NO_KEY: &str = "none";

/// The server behind a provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// The sandbox's.
    Sandbox,
    /// The vendor's own.
    Vendor,
    /// The one at this base URL.
    Address(String),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sandbox => formatter.write_str("simulated"),
            Self::Vendor => formatter.write_str("real"),
            Self::Address(url) => write!(formatter, "real, at {url}"),
        }
    }
}

impl Source {
    /// The source of a vendor in this environment.
    ///
    /// # Errors
    ///
    /// The address is not one, or the carrier at it has no keys.
    pub(crate) fn of(connection: &Connection, host: &HostEnvironment) -> anyhow::Result<Self> {
        let has_keys = host.keys_of(connection).is_some();
        // A real carrier cannot reach a stack on this machine, so its keys alone do not select it.
        let is_carrier = catalogue::row(Service::Carrier, connection.provider).is_some();
        let Some(url) = host.url_of(connection) else {
            let is_reachable = !is_carrier && !connection.has_ended();
            return Ok(if has_keys && is_reachable { Self::Vendor } else { Self::Sandbox });
        };
        let variable = connection.url_variable;
        let parsed = reqwest::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        ensure!(
            parsed.is_some_and(|url| url.host().is_some() && url.password().is_none()),
            "{variable} is not the address of a server: it must begin with http:// or https:// and hold no password"
        );
        ensure!(
            has_keys || !is_carrier,
            "{variable} names a carrier of yours, which needs {}",
            connection.keys.iter().map(|key| key_variable(key)).collect::<Vec<_>>().join(" and ")
        );
        Ok(Self::Address(url.to_owned()))
    }
}

/// Base URLs and keys for the deployment.
#[derive(Default)]
pub(crate) struct ProviderEndpoints {
    /// The base URLs, by the environment variable that holds one.
    pub(crate) urls: BTreeMap<&'static str, String>,
    /// The deployment's provider keys, by name.
    pub(crate) keys: BTreeMap<&'static str, String>,
    /// The source of each vendor with an adapter.
    pub(crate) sources: BTreeMap<&'static str, Source>,
}

impl fmt::Debug for ProviderEndpoints {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ProviderEndpoints([redacted])")
    }
}

impl ProviderEndpoints {
    /// Takes the sandbox's vendors, the real vendor where the environment has its keys, and the server that the environment
    /// has an address of. Such a server may need no key.
    ///
    /// # Errors
    ///
    /// The sandbox does not simulate a vendor that has an adapter, or see [`Source::of`].
    pub(crate) fn new(sandbox: &[Vendor], host: &HostEnvironment) -> anyhow::Result<Self> {
        let mut endpoints = Self::default();
        for connection in catalogue::connections() {
            let provider = connection.provider;
            let source = Source::of(connection, host)?;
            let url = match &source {
                Source::Sandbox => {
                    let vendor = sandbox.iter().find(|vendor| vendor.name == provider);
                    let vendor =
                        vendor.with_context(|| format!("the sandbox does not simulate {provider}"))?;
                    endpoints.keys.extend(vendor.keys.iter().map(|(name, key)| (*name, (*key).to_owned())));
                    vendor.url.clone()
                }
                Source::Vendor => connection.default_url.to_owned(),
                Source::Address(url) => url.clone(),
            };
            if source != Source::Sandbox {
                let no_keys = || connection.keys.iter().map(|name| (*name, NO_KEY.to_owned())).collect();
                endpoints.keys.extend(host.keys_of(connection).unwrap_or_else(no_keys));
            }
            endpoints.urls.insert(connection.url_variable, url);
            endpoints.sources.insert(provider, source);
        }
        Ok(endpoints)
    }

    /// A line for each part of a call: the providers of it, each real or simulated.
    pub(crate) fn describe(&self) -> Vec<String> {
        let part = |(service, name): (Service, &str)| {
            let served = catalogue::providers(service).into_iter();
            let served =
                served.filter_map(|provider| Some(format!("{provider} ({})", self.sources.get(provider)?)));
            format!("{name:<14} {}", served.collect::<Vec<_>>().join(", "))
        };
        [
            (Service::Carrier, "carrier"),
            (Service::Transcriber, "transcriber"),
            (Service::LanguageModel, "language model"),
            (Service::Voice, "voice"),
        ]
        .map(part)
        .into()
    }

    /// The parameters of `template.yaml` with the base URLs.
    pub(crate) fn template_parameters(&self) -> impl Iterator<Item = (String, &str)> {
        let url = |variable| self.urls.get(variable).map(String::as_str);
        catalogue::connections().into_iter().filter_map(move |connection| {
            Some((connection.template_parameter(), url(connection.url_variable)?))
        })
    }
}

#[cfg(test)]
mod tests {
    use switchboard_runtime::Vars;
    use switchboard_sandbox::{Engines, Sandbox};

    use super::*;

    async fn sandbox() -> Sandbox {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Sandbox::start(Engines::Offline("http://127.0.0.1:9".into())).await.unwrap()
    }

    #[tokio::test]
    async fn the_sandbox_simulates_every_vendor_with_its_keys() {
        let sandbox = sandbox().await;
        let host = HostEnvironment::read(&Vars::default());
        let endpoints = ProviderEndpoints::new(&sandbox.vendors, &host).unwrap();
        for connection in catalogue::connections() {
            assert!(endpoints.urls[connection.url_variable].starts_with("http://127.0.0.1:"));
            assert!(connection.keys.iter().all(|key| endpoints.keys.contains_key(key)), "{connection:?}");
        }
        assert_eq!(endpoints.template_parameters().count(), catalogue::connections().len());
        sandbox.stop().await;
    }

    #[tokio::test]
    async fn a_real_vendor_replaces_the_sandboxs_if_its_keys_are_set() {
        let sandbox = sandbox().await;
        for connection in catalogue::connections() {
            let names: Vec<_> = connection.keys.iter().map(|key| key.to_uppercase()).collect();
            let vars = match &names[..] {
                [one] => Vars::from([(&**one, "real")]),
                [one, two] => Vars::from([(&**one, "real"), (&**two, "real")]),
                _ => panic!("a vendor has one key or two: {names:?}"),
            };
            let mut host = HostEnvironment::read(&vars);
            let url = |host: &HostEnvironment| {
                let endpoints = ProviderEndpoints::new(&sandbox.vendors, host).unwrap();
                (endpoints.urls[connection.url_variable].clone(), endpoints.keys[connection.keys[0]].clone())
            };
            let is_carrier = catalogue::row(catalogue::Service::Carrier, connection.provider).is_some();
            if is_carrier || connection.has_ended() {
                assert_ne!(url(&host).1, "real");
            } else {
                assert_eq!(url(&host), (connection.default_url.to_owned(), "real".to_owned()));
            }
            host.drop_providers();
            assert_ne!(url(&host).1, "real");
        }
        sandbox.stop().await;
    }

    #[tokio::test]
    async fn an_address_replaces_the_sandboxs_server_with_or_without_a_key() {
        let (sandbox, other) = (sandbox().await, sandbox().await);
        for connection in catalogue::connections() {
            let vendor = other.vendors.iter().find(|vendor| vendor.name == connection.provider).unwrap();
            let address = format!("{}/", vendor.url);
            let mut variables = vec![(connection.url_variable.to_owned(), address)];
            let is_carrier = catalogue::row(Service::Carrier, connection.provider).is_some();
            for has_keys in [false, true] {
                if has_keys {
                    let keys = connection.keys.iter().map(|key| (key_variable(key), format!("own-{key}")));
                    variables.extend(keys);
                }
                let set = |index: usize| {
                    variables
                        .get(index)
                        .map_or(("UNUSED", ""), |(name, value)| (name.as_str(), value.as_str()))
                };
                let host = HostEnvironment::read(&Vars::from(std::array::from_fn::<_, 5, _>(set)));
                let endpoints = ProviderEndpoints::new(&sandbox.vendors, &host);
                if is_carrier && !has_keys {
                    let error = endpoints.unwrap_err().to_string();
                    assert!(connection.keys.iter().all(|key| error.contains(&key_variable(key))), "{error}");
                    continue;
                }
                let endpoints = endpoints.unwrap();
                assert_eq!(endpoints.urls[connection.url_variable], vendor.url);
                let expected = |key: &str| if has_keys { format!("own-{key}") } else { NO_KEY.to_owned() };
                assert!(connection.keys.iter().all(|key| endpoints.keys[key] == expected(key)));
                let described = endpoints.describe().join("\n");
                let line = format!("{} (real, at {})", connection.provider, vendor.url);
                assert!(described.contains(&line), "{described}");
                assert_eq!(described.matches("(real").count(), described.matches(&line).count());
            }
        }
        sandbox.stop().await;
        other.stop().await;
    }

    #[test]
    fn a_variable_that_is_no_address_is_refused_by_name() {
        for wrong in ["localhost:11434", "ftp://127.0.0.1", "https://user:hunter2@127.0.0.1"] {
            let host = HostEnvironment::read(&Vars::from([("OPENAI_API_URL", wrong)]));
            let connection = catalogue::connection("openai").unwrap();
            let error = Source::of(connection, &host).unwrap_err().to_string();
            assert!(error.starts_with("OPENAI_API_URL") && !error.contains("hunter2"), "{error}");
        }
    }
}
