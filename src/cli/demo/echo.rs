//! The API of the demonstration: answers every request with what it saw of it.
//!
//! A server of its own on a thread of its own, as an upstream would be; it ends with its handle.

use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use http::HeaderValue;
use http::Request;
use http::Response;
use http::header;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::message;
use crate::message::Body;

/// The running API.
#[derive(Debug)]
pub(super) struct Echo {
    address: SocketAddr,
    /// Its end ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts it on a free port of the loopback interface.
    pub(super) fn start() -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let runtime = crate::cli::runtime()?;
        let thread = std::thread::Builder::new().name("echo".to_owned()).spawn(move || {
            runtime.block_on(async {
                if let Ok(listener) = TcpListener::from_std(listener) {
                    serve(listener, stopped).await;
                }
            });
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

async fn serve(listener: TcpListener, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        // Each may be dropped at its await: nothing is accepted or joined by halves.
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(answer_all(stream));
                }
            }
            Some(_) = connections.join_next() => {}
            _ = &mut stopped => return,
        }
    }
}

async fn answer_all(stream: TcpStream) {
    let service = service_fn(|request: Request<Incoming>| {
        std::future::ready(Ok::<_, std::convert::Infallible>(answer(&request)))
    });
    // Whoever hung up needs no answer.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

fn answer<B>(request: &Request<B>) -> Response<Body> {
    let mut headers = Map::new();
    for name in request.headers().keys() {
        let values = request.headers().get_all(name).iter();
        let values: Vec<_> =
            values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        headers.insert(name.to_string(), json!(values.join(", ")));
    }
    let seen = json!({
        "method": request.method().as_str(),
        "target": request.uri().to_string(),
        "headers": Value::Object(headers),
    });
    let mut response = message::text(http::StatusCode::OK, format!("{seen:#}\n"));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Connections at once; more wait to be accepted.
const MOST_CONNECTIONS: usize = 256;
