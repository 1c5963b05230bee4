//! How many client connections may be open: of all clients together, and of one place on the network.
//!
//! One count for all workers. A connection that finds no room is told so, by way of a few places that
//! are kept for that; when these are taken too, it ends without a word.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::LimitSettings;
use crate::inquiry::Network;

/// Counts the connections of all workers.
pub(super) struct Room {
    open: AtomicUsize,
    most: AtomicUsize,
    turned_away: AtomicUsize,
    most_of_network: AtomicUsize,
    /// Only those that have connections open: no more than there are connections.
    networks: [Mutex<HashMap<Network, usize>>; SHARDS],
    hasher: RandomState,
}

/// A connection among all.
#[derive(Debug)]
pub(super) struct Place(Arc<Room>);

/// A connection that is only told that there is no room.
#[derive(Debug)]
pub(super) struct Doorstep(Arc<Room>);

/// A connection among those of its network.
#[derive(Debug)]
pub(super) struct Seat {
    room: Arc<Room>,
    network: Network,
}

/// The network has as many connections as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Crowded;

impl Room {
    pub(super) fn new(limits: &LimitSettings) -> Self {
        let room = Self {
            open: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            turned_away: AtomicUsize::new(0),
            most_of_network: AtomicUsize::new(0),
            networks: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        };
        room.resize(limits);
        room
    }

    /// Changes the bounds. What is open stays; what was not counted by network until now never is.
    pub(super) fn resize(&self, limits: &LimitSettings) {
        let of_network = limits.connections_per_address.unwrap_or(NO_BOUND);
        self.most.store(limits.connections, Ordering::Relaxed);
        self.most_of_network.store(of_network, Ordering::Relaxed);
    }

    /// A place for one more, if there is room.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        let most = self.most.load(Ordering::Relaxed);
        one_more(&self.open, most).then(|| Place(Arc::clone(self)))
    }

    /// A place for one more to be told that there is no room.
    pub(super) fn stand_by(self: &Arc<Self>) -> Option<Doorstep> {
        one_more(&self.turned_away, MOST_TURNED_AWAY).then(|| Doorstep(Arc::clone(self)))
    }

    /// A place among those of a client's network; none where networks are not counted.
    pub(super) fn sit(self: &Arc<Self>, client: IpAddr) -> Result<Option<Seat>, Crowded> {
        let most = self.most_of_network.load(Ordering::Relaxed);
        if most == NO_BOUND {
            return Ok(None);
        }
        let network = Network::of(client);
        let Some(mut shard) = self.shard(network) else { return Ok(None) };
        let count = shard.entry(network).or_default();
        // There is an entry only while there are connections, so the bound, at least one, is not
        // exceeded by a new one.
        if *count >= most {
            return Err(Crowded);
        }
        *count += 1;
        drop(shard);
        Ok(Some(Seat { room: Arc::clone(self), network }))
    }

    fn shard(&self, network: Network) -> Option<MutexGuard<'_, HashMap<Network, usize>>> {
        let shards = u64::try_from(SHARDS).ok()?;
        let number = usize::try_from(self.hasher.hash_one(network) % shards).ok()?;
        Some(self.networks.get(number)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn one_more(count: &AtomicUsize, most: usize) -> bool {
    let more = |now| (now < most).then_some(now + 1);
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Doorstep {
    fn drop(&mut self) {
        self.0.turned_away.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(mut shard) = self.room.shard(self.network) else { return };
        let Some(count) = shard.get_mut(&self.network) else { return };
        *count -= 1;
        if *count == 0 {
            shard.remove(&self.network);
        }
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").field("open", &self.open).finish_non_exhaustive()
    }
}

/// Locks under which networks are counted, once for each connection.
const SHARDS: usize = 16;
const NO_BOUND: usize = usize::MAX;
/// Connections that are told at once that there is no room for them.
const MOST_TURNED_AWAY: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn room(connections: usize, connections_per_address: Option<usize>) -> Arc<Room> {
        Arc::new(Room::new(&limits(connections, connections_per_address)))
    }

    fn limits(connections: usize, connections_per_address: Option<usize>) -> LimitSettings {
        LimitSettings {
            target: 0,
            headers: 0,
            header_count: 0,
            body: 0,
            slowest_body: 0,
            token: 0,
            connections,
            connections_per_address,
            tell_rates: false,
            callers: 0,
        }
    }

    fn seats(room: &Arc<Room>, address: &str) -> usize {
        let seats: Vec<_> =
            std::iter::from_fn(|| room.sit(address.parse().unwrap()).ok()).take(100).collect();
        seats.len()
    }

    #[test]
    fn there_is_room_for_as_many_as_may_be_and_again_when_one_goes() {
        let room = room(2, None);
        let (first, second) = (room.enter().unwrap(), room.enter().unwrap());
        assert!(room.enter().is_none());
        drop(first);
        let third = room.enter().unwrap();
        assert!(room.enter().is_none());
        room.resize(&limits(1, None));
        drop(second);
        assert!(room.enter().is_none());
        drop(third);
        assert!(room.enter().is_some());
    }

    #[test]
    fn a_network_has_its_own_bound_and_leaves_nothing_behind() {
        let room = room(9, Some(3));
        let held = room.sit("2001:db8:0:1::1".parse().unwrap()).unwrap();
        assert_eq!(seats(&room, "2001:db8:0:1:ffff::2"), 2);
        assert_eq!(seats(&room, "2001:db8:0:2::1"), 3);
        assert_eq!(seats(&room, "192.0.2.1"), 3);
        drop(held);
        assert_eq!(seats(&room, "2001:db8:0:1::1"), 3);
        for number in 0..100_000_u32 {
            assert!(room.sit(std::net::Ipv4Addr::from(number).into()).unwrap().is_some());
        }
        assert!(room.networks.iter().all(|shard| shard.lock().unwrap().is_empty()));
        room.resize(&limits(9, None));
        assert_eq!(seats(&room, "192.0.2.1"), 100);
    }

    #[test]
    fn parallel_clients_find_exactly_as_many_places_as_there_are() {
        let room = room(100, Some(50));
        let come = || {
            let places: Vec<_> = (0..100).filter_map(|_| room.enter()).collect();
            let seats: Vec<_> =
                (0..100).filter_map(|_| room.sit("192.0.2.1".parse().unwrap()).ok()).collect();
            (places, seats)
        };
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(come)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.iter().map(|(places, _)| places.len()).sum::<usize>(), 100);
        assert_eq!(all.iter().map(|(_, seats)| seats.len()).sum::<usize>(), 50);
    }
}
