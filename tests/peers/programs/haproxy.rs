//! HAProxy, as a proxy.

use std::fs;
use std::net::SocketAddr;

use tempfile::TempDir;

use super::Program;
use super::command;

/// A running HAProxy with one thread.
pub struct Haproxy {
    program: Program,
    /// Where it listens.
    pub address: SocketAddr,
    _folder: TempDir,
}

impl Haproxy {
    /// One that passes everything on to `to`, over connections that it keeps; `server` is what else
    /// the server line says, `directives` what else its backend.
    #[track_caller]
    pub fn proxy(to: SocketAddr, server: &str, directives: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("haproxy.cfg");
        let (program, address) = Program::listening(|address| {
            let text = format!(
                "global\n  nbthread 1\n  maxconn 8000\n\
                 defaults\n  mode http\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n\
                 frontend before\n  bind {address}\n  default_backend behind\n\
                 backend behind\n  http-reuse always\n{directives}\n  server one {to} {server}\n"
            );
            fs::write(&file, text).unwrap();
            let mut haproxy = command("haproxy");
            haproxy.args(["-db", "-f"]).arg(&file);
            haproxy
        });
        Self { program, address, _folder: folder }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.program.id()
    }
}
