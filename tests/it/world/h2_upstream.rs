//! An upstream that speaks HTTP/2, records what each stream brings and answers as a script tells it.

use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::thread;
use std::thread::JoinHandle;

use bytes::Bytes;
use h2::Reason;
use h2::RecvStream;
use h2::SendStream;
use h2::server::Builder;
use h2::server::SendResponse;
use http::HeaderMap;
use http::Request;
use http::Response;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::DEADLINE;
use super::gate::Gate;

/// What becomes of a stream.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Answers 200 with what was sent, trailers included, once it is whole.
    Echo,
    /// Answers 200 at once, and sends each piece back as it comes.
    Mirror,
    /// Answers a call of gRPC: these messages at once, each piece back as it comes, then this status.
    Call(Vec<&'static [u8]>, u16),
    /// Answers with this, once the request is whole.
    Answer(u16, Vec<(&'static str, &'static str)>, Bytes),
    /// Answers with this before it reads anything.
    Early(Bytes),
    /// Resets the stream.
    Reset(Reason),
    /// Resets the stream once the request is whole.
    ReadAndReset(Reason),
    /// Answers nothing until the other side gives up.
    Silence,
    /// Reads the request, sends this and no more until the other side gives up.
    Half(Bytes),
    /// Sends this, reads the request and resets the stream.
    Cut(Bytes),
    /// Reads nothing before the gate opens, then echoes.
    Wait(Gate),
}

/// One stream, as far as it has come.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// The head: method, target with scheme and authority, and fields.
    pub head: Request<()>,
    /// What came of the body.
    pub body: Vec<u8>,
    /// What came behind it.
    pub trailers: Option<HeaderMap>,
    /// Whether all of it came.
    pub is_whole: bool,
    /// Why the other side gave up.
    pub reset: Option<Reason>,
}

impl Stream {
    /// The value of a field that stands there once.
    #[track_caller]
    pub fn one(&self, name: &str) -> &str {
        let values: Vec<_> = self.head.headers().get_all(name).iter().collect();
        assert_eq!(values.len(), 1, "{name}: {values:?}");
        values[0].to_str().unwrap()
    }
}

/// What has been recorded so far.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Connections that were accepted.
    pub connections: usize,
    /// Their streams.
    pub streams: Vec<Stream>,
}

/// A server on a port of its own.
pub struct H2Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    record: Mutex<Record>,
    changed: Condvar,
    script: Script,
    most_streams: u32,
}

type Script = Box<dyn Fn(usize, &Request<()>) -> Plan + Send + Sync>;

impl H2Upstream {
    /// Echoes everything.
    pub fn echo() -> Self {
        Self::scripted(|_, _| Plan::Echo)
    }

    /// Asks `script` what to do with the n-th stream (from 0).
    pub fn scripted(script: impl Fn(usize, &Request<()>) -> Plan + Send + Sync + 'static) -> Self {
        Self::allowing(100, script)
    }

    /// The same with at most so many streams on one connection.
    pub fn allowing(
        most_streams: u32,
        script: impl Fn(usize, &Request<()>) -> Plan + Send + Sync + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (record, changed) = (Mutex::default(), Condvar::new());
        let script = Box::new(script);
        let shared = Arc::new(Shared { record, changed, script, most_streams });
        let (stop, stopped) = oneshot::channel();
        let theirs = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = theirs.accept(listener) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was recorded so far.
    pub fn record(&self) -> Record {
        self.shared.record.lock().unwrap().clone()
    }

    /// Waits until the record fulfils a condition.
    #[track_caller]
    pub fn wait(&self, what: &str, condition: impl Fn(&Record) -> bool) -> Record {
        let record = self.shared.record.lock().unwrap();
        let waiting = self.shared.changed.wait_timeout_while(record, DEADLINE, |r| !condition(r));
        let (record, timeout) = waiting.unwrap();
        assert!(!timeout.timed_out(), "never happened: {what}\n{record:?}");
        record.clone()
    }
}

impl Shared {
    fn note<T>(&self, act: impl FnOnce(&mut Record) -> T) -> T {
        let outcome = act(&mut self.record.lock().unwrap());
        self.changed.notify_all();
        outcome
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            self.note(|record| record.connections += 1);
            connections.spawn(Arc::clone(&self).serve(stream));
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let mut builder = Builder::new();
        builder.max_concurrent_streams(self.most_streams);
        // Whoever does not speak HTTP/2 ends the handshake.
        let Ok(mut accepting) = builder.handshake::<_, Bytes>(stream).await else { return };
        let mut streams = JoinSet::new();
        while let Some(Ok((request, answer))) = accepting.accept().await {
            let (head, body) = request.into_parts();
            let head = Request::from_parts(head, ());
            let stream = Stream { head: head.clone(), ..Stream::default() };
            let number = self.note(|record| {
                record.streams.push(stream);
                record.streams.len() - 1
            });
            let plan = (self.script)(number, &head);
            streams.spawn(Arc::clone(&self).play(plan, number, body, answer));
        }
        streams.join_all().await;
    }

    async fn play(
        self: Arc<Self>,
        plan: Plan,
        number: usize,
        mut body: RecvStream,
        mut answer: SendResponse<Bytes>,
    ) {
        if let Plan::Wait(gate) = &plan {
            let gate = gate.clone();
            tokio::task::spawn_blocking(move || gate.wait()).await.unwrap();
        }
        match plan {
            Plan::Echo | Plan::Wait(_) => {
                if !self.read(number, &mut body, None).await {
                    return;
                }
                self.echo(number, answer).await;
            }
            Plan::Mirror => {
                let mut out = answer.send_response(Response::new(()), false).unwrap();
                if self.read(number, &mut body, Some(&mut out)).await {
                    let _gone = out.send_data(Bytes::new(), true);
                }
            }
            Plan::Call(messages, status) => {
                self.answer_call(number, (&mut body, answer), (messages, status)).await;
            }
            Plan::Answer(status, fields, content) => {
                if !self.read(number, &mut body, None).await {
                    return;
                }
                let head = head_of(status, fields);
                let mut out = answer.send_response(head, content.is_empty()).unwrap();
                if !content.is_empty() {
                    send(&mut out, content, true).await;
                }
            }
            Plan::Early(content) => {
                let mut out = answer.send_response(Response::new(()), false).unwrap();
                send(&mut out, content, true).await;
                self.read(number, &mut body, None).await;
            }
            Plan::Reset(reason) => answer.send_reset(reason),
            Plan::ReadAndReset(reason) => {
                self.read(number, &mut body, None).await;
                answer.send_reset(reason);
            }
            Plan::Half(content) => {
                self.read(number, &mut body, None).await;
                let mut out = answer.send_response(Response::new(()), false).unwrap();
                send(&mut out, content, false).await;
                let reason = poll_fn(|cx| out.poll_reset(cx)).await;
                self.note(|record| record.streams[number].reset = reason.ok());
            }
            Plan::Cut(content) => {
                let mut out = answer.send_response(Response::new(()), false).unwrap();
                send(&mut out, content, false).await;
                self.read(number, &mut body, None).await;
                out.send_reset(Reason::INTERNAL_ERROR);
            }
            Plan::Silence => {
                let reason = poll_fn(|cx| answer.poll_reset(cx)).await;
                self.note(|record| record.streams[number].reset = reason.ok());
            }
        }
    }

    async fn echo(&self, number: usize, mut answer: SendResponse<Bytes>) {
        let (sent, trailers) = self.note(|record| {
            let stream = &record.streams[number];
            (Bytes::from(stream.body.clone()), stream.trailers.clone())
        });
        let mut response = Response::builder();
        for name in trailers.iter().flat_map(HeaderMap::keys) {
            response = response.header("trailer", name.as_str());
        }
        let mut out = answer.send_response(response.body(()).unwrap(), false).unwrap();
        send(&mut out, sent, trailers.is_none()).await;
        if let Some(trailers) = trailers {
            let _gone = out.send_trailers(trailers);
        }
    }

    async fn answer_call(
        &self,
        number: usize,
        (body, mut answer): (&mut RecvStream, SendResponse<Bytes>),
        (messages, status): (Vec<&'static [u8]>, u16),
    ) {
        let response = Response::builder().header("content-type", "application/grpc");
        let mut out = answer.send_response(response.body(()).unwrap(), false).unwrap();
        for message in messages {
            send(&mut out, Bytes::from_static(message), false).await;
        }
        if self.read(number, body, Some(&mut out)).await {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", status.into());
            trailers.insert("grpc-message", "told".parse().unwrap());
            let _gone = out.send_trailers(trailers);
        }
    }

    /// Records a body, passing it on to `out`; whether all of it came.
    async fn read(
        &self,
        number: usize,
        body: &mut RecvStream,
        mut out: Option<&mut SendStream<Bytes>>,
    ) -> bool {
        while let Some(piece) = body.data().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    self.note(|record| record.streams[number].reset = error.reason());
                    return false;
                }
            };
            let _ended = body.flow_control().release_capacity(piece.len());
            self.note(|record| record.streams[number].body.extend_from_slice(&piece));
            if let Some(out) = &mut out {
                send(out, piece, false).await;
            }
        }
        let trailers = body.trailers().await;
        self.note(|record| {
            let stream = &mut record.streams[number];
            match trailers {
                Ok(trailers) => stream.trailers = trailers,
                Err(error) => stream.reset = error.reason(),
            }
            stream.is_whole = stream.reset.is_none();
            stream.is_whole
        })
    }
}

fn head_of(status: u16, fields: Vec<(&'static str, &'static str)>) -> Response<()> {
    let builder =
        fields.into_iter().fold(Response::builder().status(status), |response, (name, value)| {
            response.header(name, value)
        });
    builder.body(()).unwrap()
}

/// Sends as flow control lets it; stops when the other side has gone.
async fn send(out: &mut SendStream<Bytes>, mut content: Bytes, is_last: bool) {
    while !content.is_empty() {
        out.reserve_capacity(content.len());
        let Some(Ok(room)) = poll_fn(|cx| out.poll_capacity(cx)).await else { return };
        let piece = content.split_to(room.min(content.len()));
        if out.send_data(piece, false).is_err() {
            return;
        }
    }
    if is_last {
        let _gone = out.send_data(Bytes::new(), true);
    }
}

impl Drop for H2Upstream {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
