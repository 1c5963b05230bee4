//! An upstream that records every byte it gets and answers as a script tells it.
//!
//! Two threads per connection: one only reads and records, so that nothing the gateway sends can
//! go unseen; the other plays the script.

use std::fmt;
use std::io::Read;
use std::io::Write;
use std::net::Ipv4Addr;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use socket2::SockRef;

use super::DEADLINE;
use super::End;
use super::Fault;
use super::Gate;
use super::Kind;
use super::Message;
use super::wire::find;

/// What the upstream does once the head of a request has arrived.
#[derive(Debug, Clone)]
pub enum Step {
    /// Waits until the whole request has arrived.
    Body,
    /// Answers 200 with the head of the request, as it came, for a body.
    Echo,
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Waits for a gate.
    Wait(Gate),
    /// Ends the connection cleanly.
    Close,
    /// Ends the connection with a reset.
    Reset,
    /// Answers nothing until the other side goes away.
    Silence,
}

impl Step {
    /// Sends text.
    pub fn text(text: &str) -> Self {
        Self::Send(text.as_bytes().to_vec())
    }
}

/// A recording upstream on a port of its own.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    log: Mutex<Record>,
    changed: Condvar,
    script: Script,
    reading: Option<Gate>,
}

type Script = Box<dyn Fn(usize, &str) -> Vec<Step> + Send + Sync>;

/// What has been recorded so far.
#[derive(Default)]
pub struct Record {
    connections: Vec<Connection>,
    requests: usize,
    stopped: bool,
}

struct Connection {
    stream: Option<TcpStream>,
    bytes: Vec<u8>,
    end: Option<End>,
}

/// A place in the record.
#[derive(Clone, Debug)]
pub struct Mark(Vec<usize>);

impl Record {
    /// Bytes received on all connections.
    pub fn bytes(&self) -> usize {
        self.connections.iter().map(|connection| connection.bytes.len()).sum()
    }

    /// Connections accepted.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Heads of requests that the script was asked about.
    pub fn heads(&self) -> usize {
        self.requests
    }

    /// Connections that the gateway ended.
    pub fn ended(&self) -> usize {
        self.connections.iter().filter(|connection| connection.end.is_some()).count()
    }

    /// Whether any connection received these bytes in a row.
    pub fn has(&self, needle: &[u8]) -> bool {
        self.connections.iter().any(|connection| find(&connection.bytes, needle).is_some())
    }
}

impl Upstream {
    /// Answers every request with 200 and an echo of its head.
    pub fn echo() -> Self {
        Self::scripted(|_, _| vec![Step::Body, Step::Echo])
    }

    /// Answers every request with the same bytes.
    pub fn answering(answer: &str) -> Self {
        let answer = answer.to_owned();
        Self::scripted(move |_, _| vec![Step::Body, Step::text(&answer)])
    }

    /// Asks `script` what to do with the n-th request (from 0) and its head.
    pub fn scripted(script: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::start(Box::new(script), None)
    }

    /// Like [`Upstream::echo`], but reads only after the gate has been opened.
    pub fn reading_after(gate: &Gate) -> Self {
        Self::start(Box::new(|_, _| vec![Step::Body, Step::Echo]), Some(gate.clone()))
    }

    fn start(script: Script, reading: Option<Gate>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (log, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { log, changed, script, reading });
        let theirs = Arc::clone(&shared);
        let acceptor = thread::spawn(move || theirs.accept(&listener));
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Looks at the record.
    pub fn look<T>(&self, at: impl FnOnce(&Record) -> T) -> T {
        at(&self.shared.log())
    }

    /// Bytes received so far.
    pub fn bytes_seen(&self) -> usize {
        self.look(Record::bytes)
    }

    /// Waits until the record fulfils a condition.
    #[track_caller]
    pub fn wait(&self, what: &str, condition: impl Fn(&Record) -> bool) {
        assert!(self.wait_for(DEADLINE, condition), "never happened: {what}\n{self:?}");
    }

    /// Waits at most `patience` until the record fulfils a condition; false when it does not.
    pub fn wait_for(&self, patience: Duration, condition: impl Fn(&Record) -> bool) -> bool {
        let until = Instant::now() + patience;
        let mut log = self.shared.log();
        while !condition(&log) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            log = self.shared.changed.wait_timeout(log, left).unwrap().0;
        }
        true
    }

    /// Every request received, read strictly; fails when any byte cannot be read so.
    #[track_caller]
    pub fn requests(&self) -> Vec<Message> {
        self.try_requests()
            .unwrap_or_else(|fault| panic!("the upstream got an unclean request: {fault}"))
    }

    /// Every request received, read strictly.
    pub fn try_requests(&self) -> Result<Vec<Message>, Fault> {
        self.since(&Mark(vec![]))
    }

    /// Where the record stands now.
    pub fn mark(&self) -> Mark {
        Mark(
            self.shared.log().connections.iter().map(|connection| connection.bytes.len()).collect(),
        )
    }

    /// Every request received since a mark, read strictly.
    pub fn since(&self, mark: &Mark) -> Result<Vec<Message>, Fault> {
        let log = self.shared.log();
        let read = |(id, connection): (usize, &Connection)| {
            let from = mark.0.get(id).copied().unwrap_or(0);
            Message::read_all(&connection.bytes[from..], Kind::Request)
        };
        log.connections
            .iter()
            .enumerate()
            .map(read)
            .collect::<Result<Vec<_>, _>>()
            .map(|all| all.concat())
    }

    /// What each connection received since a mark.
    pub fn bytes_since(&self, mark: &Mark) -> Vec<Vec<u8>> {
        let from = |id| mark.0.get(id).copied().unwrap_or(0);
        self.raw().into_iter().enumerate().map(|(id, raw)| raw[from(id)..].to_vec()).collect()
    }

    /// Ends every connection that is open, as a server that gives up idle ones does.
    pub fn hang_up(&self) {
        for stream in self.shared.log().connections.iter().filter_map(|c| c.stream.as_ref()) {
            close(stream);
        }
    }

    /// What each connection received.
    pub fn raw(&self) -> Vec<Vec<u8>> {
        self.shared.log().connections.iter().map(|connection| connection.bytes.clone()).collect()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.log().stopped = true;
        self.hang_up();
        self.shared.changed.notify_all();
        // Wakes the acceptor, which then sees that it is over.
        let _ = TcpStream::connect_timeout(&self.address, DEADLINE);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "upstream {}", self.address)?;
        for connection in &self.shared.log().connections {
            writeln!(f, "  {:?} \"{}\"", connection.end, connection.bytes.escape_ascii())?;
        }
        Ok(())
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Record> {
        self.log.lock().unwrap()
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.log().stopped {
                return;
            }
            self.adopt(stream.unwrap());
        }
    }

    fn adopt(self: &Arc<Self>, stream: TcpStream) {
        let (reader, writer) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        let id = {
            let mut log = self.log();
            log.connections.push(Connection { stream: Some(stream), bytes: vec![], end: None });
            log.connections.len() - 1
        };
        self.changed.notify_all();
        let (reading, playing) = (Arc::clone(self), Arc::clone(self));
        thread::spawn(move || reading.record(id, reader));
        thread::spawn(move || playing.play(id, writer));
    }

    fn record(&self, id: usize, mut stream: TcpStream) {
        if let Some(gate) = &self.reading {
            gate.wait();
        }
        let mut chunk = [0; 16 * 1024];
        loop {
            let read = stream.read(&mut chunk);
            let mut log = self.log();
            let connection = &mut log.connections[id];
            match read {
                Ok(0) => connection.end = Some(End::Fin),
                Ok(count) => connection.bytes.extend_from_slice(&chunk[..count]),
                Err(_) => connection.end = Some(End::Reset),
            }
            let over = connection.end.is_some();
            drop(log);
            self.changed.notify_all();
            if over {
                return;
            }
        }
    }

    fn play(&self, id: usize, mut stream: TcpStream) {
        let mut from = 0;
        while let Some(head) = self.head(id, from) {
            let steps = {
                let mut log = self.log();
                log.requests += 1;
                (self.script)(log.requests - 1, &head)
            };
            self.changed.notify_all();
            let mut steps = steps.into_iter();
            let go_on = |step| self.act(step, (id, from), &head, &mut stream);
            if steps.try_for_each(go_on).is_break() {
                return;
            }
            match self.whole(id, from) {
                Some(length) => from += length,
                None => return close(&stream),
            }
        }
    }

    /// Does one step for the request that begins at `from`; breaks where the connection ends.
    fn act(
        &self,
        step: Step,
        (id, from): (usize, usize),
        head: &str,
        stream: &mut TcpStream,
    ) -> ControlFlow<()> {
        match step {
            Step::Body if self.whole(id, from).is_some() => return ControlFlow::Continue(()),
            Step::Body | Step::Close => close(stream),
            Step::Echo => {
                let length = head.len();
                let start = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}");
                let _ = stream.write_all(start.as_bytes());
                return ControlFlow::Continue(());
            }
            Step::Send(bytes) => {
                let _ = stream.write_all(&bytes);
                return ControlFlow::Continue(());
            }
            Step::Wait(gate) => {
                gate.wait();
                return ControlFlow::Continue(());
            }
            Step::Reset => {
                // The reset goes out when the last handle is dropped: the record's here, the
                // reader's when this wakes it, the player's when it returns.
                let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
                self.log().connections[id].stream = None;
                let _ = stream.shutdown(Shutdown::Read);
            }
            Step::Silence => self.outwait(id),
        }
        ControlFlow::Break(())
    }

    /// The head that begins at `from`, once it is whole.
    fn head(&self, id: usize, from: usize) -> Option<String> {
        let seen = |connection: &Connection| {
            let rest = &connection.bytes[from..];
            find(rest, b"\r\n\r\n").map(|end| super::wire::latin1(&rest[..end + 4]))
        };
        self.await_some(id, seen)
    }

    /// The length of the message that begins at `from`, once it is whole; nothing when it is bad.
    fn whole(&self, id: usize, from: usize) -> Option<usize> {
        let seen = |connection: &Connection| match Message::read(
            &connection.bytes[from..],
            Kind::Request,
            false,
        ) {
            Ok(Some((_, length))) => Some(Some(length)),
            Ok(None) => None,
            Err(_) => Some(None),
        };
        self.await_some(id, seen).flatten()
    }

    fn outwait(&self, id: usize) {
        let _ = self.await_some(id, |connection| connection.end.map(drop));
    }

    /// Waits without a deadline of its own: the end of the connection or of the world ends it.
    fn await_some<T>(&self, id: usize, seen: impl Fn(&Connection) -> Option<T>) -> Option<T> {
        let mut log = self.log();
        loop {
            let found = seen(&log.connections[id]);
            if found.is_some() || log.stopped || log.connections[id].end.is_some() {
                return found;
            }
            log = self.changed.wait(log).unwrap();
        }
    }
}

fn close(stream: &TcpStream) {
    let _ = stream.shutdown(Shutdown::Both);
}
