//! The SSRF guard: customers' URLs are connected to only through it.
//!
//! A name may resolve to another address each time (DNS rebinding), so the address that is checked must be the one that
//! is connected to: the connector gets its addresses only from [`Guard`], which resolves a name once per connection and
//! passes on the addresses that the egress policy allows. A literal address in a URL is never resolved:
//! [`EgressPolicy::url`] has checked it before. Connections are not reused, redirects not followed, proxies not used.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::ClientConfig;
use switchboard_model::egress_policy::EgressPolicy;
use tokio::net::lookup_host;

use super::{TLS, builder};

/// Connecting takes a second at worst. A dead address must leave time for the next one within a webhook's time limit.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The egress policy allows no address of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the egress policy allows no address of this name")]
pub(crate) struct NotAllowed;

/// The name has no address, or its lookup failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name could not be resolved")]
pub(crate) struct Unresolved;

/// A client that connects only to addresses that the policy allows, provided that its URLs come from
/// [`EgressPolicy::url`].
pub(crate) fn guarded_client(egress_policy: EgressPolicy) -> reqwest::Client {
    let lookup = |name| -> BoxFuture<'static, _> {
        Box::pin(async move { Ok(lookup_host((name, 0)).await?.collect()) })
    };
    guarded(egress_policy, TLS.clone(), Arc::new(lookup))
}

/// Resolves a name to addresses; tests replace it.
pub(crate) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

pub(crate) fn guarded(egress_policy: EgressPolicy, tls: ClientConfig, lookup: Lookup) -> reqwest::Client {
    builder(tls, &[b"http/1.1"])
        .http1_only()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(0)
        .retry(reqwest::retry::never())
        .dns_resolver(Guard { egress_policy, lookup })
        .build()
        .expect("a client without files or names to look up always builds")
}

/// The DNS resolver of the connector.
struct Guard {
    egress_policy: EgressPolicy,
    lookup: Lookup,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (egress_policy, lookup) = (self.egress_policy, (self.lookup)(name.as_str().to_owned()));
        Box::pin(async move {
            let addresses = lookup.await.map_err(|_| Unresolved)?;
            let allowed: Vec<_> =
                addresses.iter().copied().filter(|address| egress_policy.admit(address.ip())).collect();
            match (addresses.is_empty(), allowed.is_empty()) {
                (true, _) => Err(Unresolved.into()),
                (false, true) => Err(NotAllowed.into()),
                (false, false) => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn resolve(addresses: &'static [&'static str]) -> Result<Vec<String>, String> {
        let lookup: Lookup = Arc::new(|_| {
            let addresses = addresses.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect();
            Box::pin(async move { Ok(addresses) })
        });
        let guard = Guard { egress_policy: EgressPolicy::PublicOnly, lookup };
        match guard.resolve("example.com".parse().unwrap()).await {
            Ok(allowed) => Ok(allowed.map(|address| address.ip().to_string()).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[tokio::test]
    async fn only_allowed_addresses_of_a_name_are_passed_on() {
        let mixed = resolve(&["169.254.169.254", "93.184.215.14", "::1", "2606:2800:21f:cb07::1"]).await;
        assert_eq!(mixed.unwrap(), ["93.184.215.14", "2606:2800:21f:cb07::1"]);
        assert_eq!(resolve(&["10.0.0.1", "127.0.0.1"]).await, Err(NotAllowed.to_string()));
        assert_eq!(resolve(&[]).await, Err(Unresolved.to_string()));
    }
}
