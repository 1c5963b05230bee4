//! The loops that run for upstreams on the control thread: active checks, and look-ups of names.

use std::sync::Arc;

use tokio::task::AbortHandle;
use tokio::task::JoinSet;

use crate::endpoint::Pool;
use crate::upstream::watch;

/// The loops at work, by upstream.
#[derive(Default)]
pub(super) struct Watches(Vec<(Arc<Pool>, [AbortHandle; 2])>);

impl Watches {
    /// Begins loops for upstreams that have none, ends those that nobody names.
    pub(super) fn replace(&mut self, pools: &[Arc<Pool>], tasks: &mut JoinSet<()>) {
        self.0.retain(|(watched, handles)| {
            let is_named = pools.iter().any(|pool| Arc::ptr_eq(pool, watched));
            if !is_named {
                handles.iter().for_each(AbortHandle::abort);
            }
            is_named
        });
        for pool in pools {
            if self.0.iter().any(|(watched, _)| Arc::ptr_eq(watched, pool)) {
                continue;
            }
            pool.begin();
            let check = tasks.spawn(watch::check(Arc::clone(pool)));
            let resolve = tasks.spawn(watch::resolve(Arc::clone(pool)));
            self.0.push((Arc::clone(pool), [check, resolve]));
        }
    }
}
