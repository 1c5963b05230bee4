//! A client that sends exactly the bytes it is given and reads answers strictly.

use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::DEADLINE;
use super::Fault;
use super::Kind;
use super::Line;
use super::Message;

/// One connection and what has arrived on it.
#[derive(Debug)]
pub struct Client {
    line: Line,
    buffer: Vec<u8>,
    end: Option<End>,
    /// Answers of the 1xx class that came before a final one.
    pub interim: Vec<Message>,
}

/// How the peer ended the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// A clean end of its direction.
    Fin,
    /// A reset.
    Reset,
}

impl Client {
    /// Connects in clear.
    #[track_caller]
    pub fn connect(to: SocketAddr) -> Self {
        Self::over(Line::connect(to).expect("the gateway listens"))
    }

    /// Connects to a Unix socket.
    #[track_caller]
    pub fn connect_unix(to: &Path) -> Self {
        Self::over(Line::connect_unix(to).expect("the gateway listens"))
    }

    /// A client on this line.
    pub const fn over(line: Line) -> Self {
        Self { line, buffer: vec![], end: None, interim: vec![] }
    }

    /// Sends bytes. A peer that has closed already is not an error: what it answered counts.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.line.write_all(bytes);
    }

    /// Sends as much of `bytes` as the peer takes before it makes us wait for `patience`.
    pub fn send_until_stuck(&mut self, bytes: &[u8], patience: Duration) -> usize {
        self.line.set_write_timeout(patience);
        let mut sent = 0;
        while let Some(rest @ [_, ..]) = bytes.get(sent..) {
            match self.line.write(rest) {
                Ok(0) | Err(_) => break,
                Ok(count) => sent += count,
            }
        }
        self.line.set_write_timeout(DEADLINE);
        sent
    }

    /// Reads the final answer to a request with this method.
    pub fn answer(&mut self, method: &str) -> Result<Message, Fault> {
        let kind = if method == "HEAD" { Kind::HeadResponse } else { Kind::Response };
        loop {
            let message = self.message(kind)?;
            if message.status() >= 200 {
                return Ok(message);
            }
            self.interim.push(message);
        }
    }

    fn message(&mut self, kind: Kind) -> Result<Message, Fault> {
        loop {
            if let Some((message, length)) =
                Message::read(&self.buffer, kind, self.end == Some(End::Fin))?
            {
                self.buffer.drain(..length);
                return Ok(message);
            }
            if self.end.is_some() {
                return Err(Fault("cut by a reset".into()));
            }
            self.pull()?;
        }
    }

    /// Waits until `needle` has arrived and returns everything not yet read.
    pub fn until(&mut self, needle: &[u8]) -> Result<&[u8], Fault> {
        while super::wire::find(&self.buffer, needle).is_none() {
            if self.end.is_some() {
                return Err(Fault(format!("ended before {}", needle.escape_ascii())));
            }
            self.pull()?;
        }
        Ok(&self.buffer)
    }

    /// Waits until the peer closes; says how, and which bytes came before that were not read.
    pub fn end(&mut self) -> Result<(End, Vec<u8>), Fault> {
        loop {
            if let Some(end) = self.end {
                return Ok((end, std::mem::take(&mut self.buffer)));
            }
            self.pull()?;
        }
    }

    /// Waits for `patience`, or until anything arrives; whether nothing did.
    pub fn is_quiet(&self, patience: Duration) -> bool {
        self.line.is_quiet(patience)
    }

    /// Tells the peer that nothing more will be sent.
    pub fn finish_sending(&mut self) {
        self.line.finish_sending();
    }

    /// Goes away without a word.
    pub fn reset(self) {
        self.line.socket().set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn pull(&mut self) -> Result<(), Fault> {
        let mut chunk = [0; 16 * 1024];
        match self.line.read(&mut chunk) {
            Ok(0) => self.end = Some(End::Fin),
            Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                let seen = self.buffer.escape_ascii();
                return Err(Fault(format!("nothing came for {DEADLINE:?} after \"{seen}\"")));
            }
            Err(_) => self.end = Some(End::Reset),
        }
        Ok(())
    }
}
