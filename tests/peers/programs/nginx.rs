//! nginx, as a proxy and as an upstream.

use std::fs;
use std::net::SocketAddr;

use tempfile::TempDir;

use super::Program;
use super::command;
use super::eventually;
use crate::process_table::children;

/// A running nginx with one worker, and the folder of what it serves, `www`.
pub struct Nginx {
    program: Program,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its folder.
    pub folder: TempDir,
}

impl Nginx {
    /// Starts one with these directives for `http` and for its one `server`.
    #[track_caller]
    pub fn start(http: &str, server: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("www")).unwrap();
        let (program, address) = Program::listening(|address| {
            let text = configuration(address, http, server);
            fs::write(folder.path().join("nginx.conf"), text).unwrap();
            let mut nginx = command("nginx");
            nginx.arg("-p").arg(folder.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
            nginx
        });
        Self { program, address, folder }
    }

    /// One that passes everything on to `to`, over connections that it keeps.
    #[track_caller]
    pub fn proxy(to: SocketAddr, directives: &str) -> Self {
        let http = format!("upstream behind {{ server {to}; keepalive 256; }}");
        let server = format!(
            "location / {{ proxy_pass http://behind; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n{directives} }}"
        );
        Self::start(&http, &server)
    }

    /// One that answers everything with a few bytes.
    #[track_caller]
    pub fn answering() -> Self {
        Self::start("", "location / { default_type text/plain; return 200 'an answer\\n'; }")
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The process of its one worker.
    #[track_caller]
    pub fn worker(&self) -> u32 {
        let master = self.program.id();
        eventually("nginx has its worker", || children(master).first().copied())
    }
}

fn configuration(address: SocketAddr, http: &str, server: &str) -> String {
    // As root, a worker of another user could not read the folder of the test; others ignore `user`.
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path temporary-{what};"))
        .join("\n");
    format!(
        "daemon off;\nuser root root;\nworker_processes 1;\npid nginx.pid;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\naccess_log off;\nkeepalive_requests 1000000000;\nclient_max_body_size 0;\n\
         {temporary}\n{http}\nserver {{\nlisten {address};\nroot www;\n{server}\n}}\n}}\n"
    )
}
