//! The only way to a customer's URL.
//!
//! A name may have another address each time it is looked up, so what is checked is what is connected
//! to: the connector gets its addresses from [`Guard`] alone, which looks a name up once per connection
//! and hands on those that may be called. An address that stands in the URL itself is never looked up:
//! [`EgressPolicy::url`] has checked it before. Connections are not kept, redirects not followed, proxies
//! not used.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::ClientConfig;
use switchboard_model::egress_policy::EgressPolicy;
use tokio::net::lookup_host;

use super::{TLS, builder};

/// Opening a connection takes a second at worst; a dead address must leave time for the next one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// No address of a name may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no address of this name may be called")]
pub(crate) struct Refused;

/// A name has no address, or nobody could tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name could not be resolved")]
pub(crate) struct Unresolved;

/// A client that connects to nothing but such receivers, as long as its URLs come from
/// [`EgressPolicy::url`].
pub(crate) fn guarded_client(egress_policy: EgressPolicy) -> reqwest::Client {
    let lookup = |name| -> BoxFuture<'static, _> {
        Box::pin(async move { Ok(lookup_host((name, 0)).await?.collect()) })
    };
    guarded(egress_policy, TLS.clone(), Arc::new(lookup))
}

/// Looks up the addresses of a name.
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

/// Stands between a name and the connector.
struct Guard {
    egress_policy: EgressPolicy,
    lookup: Lookup,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (egress_policy, looked_up) = (self.egress_policy, (self.lookup)(name.as_str().to_owned()));
        Box::pin(async move {
            let addresses = looked_up.await.map_err(|_| Unresolved)?;
            let admitted: Vec<_> =
                addresses.iter().copied().filter(|address| egress_policy.admit(address.ip())).collect();
            match (addresses.is_empty(), admitted.is_empty()) {
                (true, _) => Err(Unresolved.into()),
                (false, true) => Err(Refused.into()),
                (false, false) => Ok(Box::new(admitted.into_iter()) as Addrs),
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
            Ok(admitted) => Ok(admitted.map(|address| address.ip().to_string()).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[tokio::test]
    async fn of_the_addresses_of_a_name_only_those_are_handed_on_that_may_be_called() {
        let mixed = resolve(&["169.254.169.254", "93.184.215.14", "::1", "2606:2800:21f:cb07::1"]).await;
        assert_eq!(mixed.unwrap(), ["93.184.215.14", "2606:2800:21f:cb07::1"]);
        assert_eq!(resolve(&["10.0.0.1", "127.0.0.1"]).await, Err(Refused.to_string()));
        assert_eq!(resolve(&[]).await, Err(Unresolved.to_string()));
    }
}
