//! The admin listener: operators ask in clear, a bounded number of them at once.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::admin::Admin;

/// Makes a listener of one that was bound before there was a runtime.
pub(super) fn listen(listener: std::net::TcpListener) -> std::io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Answers operators for as long as it is polled.
pub(super) async fn serve(listener: TcpListener, admin: Arc<Admin>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= ADMIN_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(answer_operator(stream, Arc::clone(&admin)));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the admin listener");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer_operator(stream: TcpStream, admin: Arc<Admin>) {
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
