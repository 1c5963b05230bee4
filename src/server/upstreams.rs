//! The loops that run for upstreams on the control thread: active checks, and look-ups of names.

use std::sync::Arc;

use tokio::task::AbortHandle;
use tokio::task::JoinSet;

use crate::gateway::Destination;
use crate::upstream::watch;

/// The loops at work, by upstream.
#[derive(Default)]
pub(super) struct Watches(Vec<(Arc<Destination>, [AbortHandle; 2])>);

impl Watches {
    /// Begins loops for upstreams that have none, ends those that nobody names.
    pub(super) fn replace(&mut self, named: Vec<Arc<Destination>>, tasks: &mut JoinSet<()>) {
        self.0.retain(|(watched, handles)| {
            let is_named = named.iter().any(|named| is_same(named, watched));
            if !is_named {
                handles.iter().for_each(AbortHandle::abort);
            }
            is_named
        });
        for named in named {
            if self.0.iter().any(|(watched, _)| is_same(&named, watched)) {
                continue;
            }
            named.pool.begin();
            let check = tasks.spawn(watch::check(Arc::clone(&named)));
            let resolve = tasks.spawn(watch::resolve(Arc::clone(&named.pool)));
            self.0.push((named, [check, resolve]));
        }
    }
}

/// Whether two upstreams are watched alike: an authority or a certificate may have been replaced.
fn is_same(one: &Destination, other: &Destination) -> bool {
    Arc::ptr_eq(&one.pool, &other.pool) && one.transport.takes(other.transport.secured.as_ref())
}
