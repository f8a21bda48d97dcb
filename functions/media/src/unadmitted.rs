//! Sockets that are not admitted yet: small pools of their own, bounded per address, so that sockets without a valid
//! token take no call slot. The carrier's, whose handshakes are signed, and browsers', whose are not, have a pool each:
//! browsers cannot keep the carrier out.

use std::{
    collections::HashMap,
    fmt::Debug,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::connect_info::Connected,
    http::HeaderMap,
    serve::{IncomingStream, Listener},
};

/// Maximum number of sockets that are not admitted yet. One takes some hundred milliseconds, at most 3 s for its first
/// message and the time limits of a few requests to the table.
const MAX_SOCKETS: usize = 64;
/// Maximum number of them from one address. The carrier connects from a few addresses.
const MAX_SOCKETS_PER_ADDRESS: usize = 32;
/// Maximum number of sockets that were refused and are being closed with a handshake.
const MAX_TURNED_AWAY: usize = 64;

/// The address that a socket comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PeerAddress {
    name: String,
    /// A private address is that of a load balancer: all callers come from it.
    is_private: bool,
}

/// A listener that says where its connections come from.
#[derive(Debug)]
pub(crate) struct PeerListener<L>(pub(crate) L);

impl<L> Listener for PeerListener<L>
where
    L: Listener<Addr: Debug>,
{
    type Io = L::Io;
    type Addr = PeerAddress;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (connection, address) = self.0.accept().await;
        (connection, PeerAddress::of_peer(&address))
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(PeerAddress::of_peer(&self.0.local_addr()?))
    }
}

impl<L> Connected<IncomingStream<'_, PeerListener<L>>> for PeerAddress
where
    L: Listener<Addr: Debug>,
{
    fn connect_info(stream: IncomingStream<'_, PeerListener<L>>) -> Self {
        stream.remote_addr().clone()
    }
}

impl PeerAddress {
    /// Tests listen on pipes, whose addresses are no IP addresses.
    fn of_peer(address: &impl Debug) -> Self {
        let address = format!("{address:?}");
        match address.parse::<SocketAddr>() {
            Ok(address) => Self::of(address.ip()),
            Err(_) => Self { name: address, is_private: false },
        }
    }

    /// A provider gives a customer a /64 of IPv6: it counts as one address.
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let is_private = address.is_private() || address.is_loopback();
                Self { name: address.to_string(), is_private }
            }
            IpAddr::V6(address) => {
                let network = Ipv6Addr::from(u128::from(address) >> 64 << 64);
                let is_private = address.is_unique_local() || address.is_loopback();
                Self { name: network.to_string(), is_private }
            }
        }
    }

    /// The address that the load balancer saw: the last one of `X-Forwarded-For`. Those before it are the client's
    /// word. `None` without one.
    pub(crate) fn forwarded(headers: &HeaderMap) -> Option<Self> {
        let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
        let last = last.rsplit(',').next()?.trim();
        let with_port = || last.parse::<SocketAddr>().map(|address| address.ip());
        last.parse().or_else(|_| with_port()).ok().map(Self::of)
    }
}

/// A pool.
#[derive(Debug, Default)]
pub(crate) struct UnadmittedSockets(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    sockets: usize,
    turned_away: usize,
    by_address: HashMap<PeerAddress, usize>,
}

/// The place of a socket in the pool, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    counts: Arc<Mutex<Counts>>,
    /// `None`: it is turned away.
    address: Option<PeerAddress>,
}

impl UnadmittedSockets {
    /// A place for a socket; `None` if the pool is full, or has too many of this address.
    pub(crate) fn enter(&self, address: PeerAddress) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = counts.by_address.get(&address).copied().unwrap_or(0);
        let is_over = of_address >= MAX_SOCKETS_PER_ADDRESS && !address.is_private;
        if counts.sockets == MAX_SOCKETS || is_over {
            return None;
        }
        counts.sockets += 1;
        counts.by_address.insert(address.clone(), of_address + 1);
        Some(Place { counts: Arc::clone(&self.0), address: Some(address) })
    }

    /// A place for a socket that is closed with a handshake; `None` if there are too many.
    pub(crate) fn turn_away(&self) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (counts.turned_away < MAX_TURNED_AWAY).then(|| {
            counts.turned_away += 1;
            Place { counts: Arc::clone(&self.0), address: None }
        })
    }
}

impl Place {
    /// Moves a socket that was refused to those of its pool that are being closed: a peer that does not close keeps none
    /// of the places of sockets that are not admitted yet. `None` if there are too many.
    pub(crate) fn turn_away(self) -> Option<Self> {
        let pool = UnadmittedSockets(Arc::clone(&self.counts));
        drop(self);
        pool.turn_away()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(address) = &self.address else {
            counts.turned_away -= 1;
            return;
        };
        counts.sockets -= 1;
        if let Some(count) = counts.by_address.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                counts.by_address.remove(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> PeerAddress {
        PeerAddress::of(text.parse().unwrap())
    }

    #[test]
    fn the_pool_is_bounded_in_all_and_per_address() {
        let pool = UnadmittedSockets::default();
        let one: Vec<_> = std::iter::from_fn(|| pool.enter(address("192.0.2.1"))).collect();
        assert_eq!(one.len(), MAX_SOCKETS_PER_ADDRESS);
        let other: Vec<_> = (0..255).map_while(|n| pool.enter(address(&format!("192.0.3.{n}")))).collect();
        assert_eq!(other.len(), MAX_SOCKETS - MAX_SOCKETS_PER_ADDRESS);
        let turned_away: Vec<_> = std::iter::from_fn(|| pool.turn_away()).collect();
        assert_eq!(turned_away.len(), MAX_TURNED_AWAY);
        drop((one, other, turned_away));
        assert!(pool.enter(address("192.0.2.1")).is_some() && pool.turn_away().is_some());
        assert!(pool.0.lock().unwrap().by_address.is_empty(), "nothing is kept of an address");
    }

    #[test]
    fn a_load_balancer_may_use_the_whole_pool() {
        let pool = UnadmittedSockets::default();
        let all: Vec<_> = std::iter::from_fn(|| pool.enter(address("10.0.3.7"))).collect();
        assert_eq!(all.len(), MAX_SOCKETS);
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        assert_eq!(address("2001:db8:1:2::3"), address("2001:db8:1:2:9::7"));
        assert_ne!(address("2001:db8:1:2::3"), address("2001:db8:1:3::3"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    }

    #[test]
    fn the_last_forwarded_address_counts() {
        let mut headers = HeaderMap::new();
        assert_eq!(PeerAddress::forwarded(&headers), None);
        headers.append("x-forwarded-for", "198.51.100.1, 192.0.2.1".parse().unwrap());
        assert_eq!(PeerAddress::forwarded(&headers), Some(address("192.0.2.1")));
        headers.append("x-forwarded-for", "198.51.100.9:4711".parse().unwrap());
        assert_eq!(PeerAddress::forwarded(&headers), Some(address("198.51.100.9")));
        headers.append("x-forwarded-for", "nobody".parse().unwrap());
        assert_eq!(PeerAddress::forwarded(&headers), None);
    }
}
