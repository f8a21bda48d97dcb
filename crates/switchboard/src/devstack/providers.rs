//! The base URLs and keys of the vendors in the catalogue: the sandbox's, or the real vendor's if the environment has
//! its keys.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context as _;
use switchboard_model::catalogue;
use switchboard_sandbox::Vendor;

use super::host_environment::HostEnvironment;

/// Base URLs and keys for the deployment.
#[derive(Default)]
pub(crate) struct ProviderEndpoints {
    /// The base URLs, by the environment variable that holds one.
    pub(crate) urls: BTreeMap<&'static str, String>,
    /// The deployment's provider keys, by name.
    pub(crate) keys: BTreeMap<&'static str, String>,
}

impl fmt::Debug for ProviderEndpoints {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ProviderEndpoints([redacted])")
    }
}

impl ProviderEndpoints {
    /// Takes the sandbox's vendors, and the real vendor where the environment has its keys.
    ///
    /// # Errors
    ///
    /// The sandbox does not simulate a vendor that has an adapter.
    pub(crate) fn new(sandbox: &[Vendor], host: &HostEnvironment) -> anyhow::Result<Self> {
        let mut endpoints = Self::default();
        for connection in catalogue::connections() {
            let provider = connection.provider;
            if let Some(keys) = host.keys_of(connection) {
                endpoints.urls.insert(connection.url_variable, connection.default_url.to_owned());
                endpoints.keys.extend(keys);
            } else {
                let vendor = sandbox.iter().find(|vendor| vendor.name == provider);
                let vendor = vendor.with_context(|| format!("the sandbox does not simulate {provider}"))?;
                endpoints.urls.insert(connection.url_variable, vendor.url.clone());
                endpoints.keys.extend(vendor.keys.iter().map(|(name, key)| (*name, (*key).to_owned())));
            }
        }
        Ok(endpoints)
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
            let name = connection.keys[0].to_uppercase();
            let mut host = HostEnvironment::read(&Vars::from([(&*name, "real")]));
            let url = |host: &HostEnvironment| {
                let endpoints = ProviderEndpoints::new(&sandbox.vendors, host).unwrap();
                (endpoints.urls[connection.url_variable].clone(), endpoints.keys[connection.keys[0]].clone())
            };
            let is_carrier = catalogue::row(catalogue::Service::Carrier, connection.provider).is_some();
            if is_carrier {
                assert_ne!(url(&host).1, "real");
            } else {
                assert_eq!(url(&host), (connection.default_url.to_owned(), "real".to_owned()));
            }
            host.drop_provider_keys();
            assert_ne!(url(&host).1, "real");
        }
        sandbox.stop().await;
    }
}
