//! The admin listener: operators ask in clear, a bounded number of them at once.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::listen::{Accepted, Listener};
use crate::admin::Admin;

/// Answers operators for as long as it is polled.
pub(super) async fn serve(listener: Listener, admin: Arc<Admin>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= ADMIN_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok(Accepted::Tcp(stream, _)) => {
                connections.spawn(answer_operator(stream, Arc::clone(&admin)));
            }
            Ok(Accepted::Unix(stream)) => {
                connections.spawn(answer_operator(stream, Arc::clone(&admin)));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the admin listener");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer_operator<S>(stream: S, admin: Arc<Admin>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request: Request<Incoming>| {
        let response = admin.answer(&request);
        async move { Ok::<_, std::convert::Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ADMIN_PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = pin!(connection).await {
        tracing::debug!(%error, "an admin connection ended");
    }
}

/// Connections of operators at once.
const ADMIN_CONNECTIONS: usize = 64;
/// How long an operator's request may take to arrive, or the next one to come.
const ADMIN_PATIENCE: Duration = Duration::from_secs(30);
