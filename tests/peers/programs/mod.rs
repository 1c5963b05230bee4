//! Other programs: looked for, started, waited for, and ended with the test that needs them.

mod api;
mod haproxy;
mod nginx;
mod wrk;

pub use api::Api;
pub use api::each_on_a_thread;
pub use api::hear;
pub use haproxy::Haproxy;
pub use nginx::Nginx;
pub use wrk::Load;
pub use wrk::Wrk;

use std::env;
use std::io::Read;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

/// The longest that any single wait may take, on a machine that does a lot beside.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// Where `.ci/run` puts Python and what `requirements.txt` names.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers/bin");
/// How many ports are tried for a program that cannot be given port 0.
const PORTS: usize = 5;

/// A command for a program that must be there.
#[track_caller]
pub fn command(name: &str) -> Command {
    any_command(&[name])
}

/// A command for a program that must be there under one of these names.
#[track_caller]
pub fn any_command(names: &[&str]) -> Command {
    let path = env::var_os("PATH").unwrap_or_default();
    // Python with what it needs goes before any other; nginx and HAProxy are not on every path.
    let folders = [PathBuf::from(PYTHON)].into_iter();
    let folders = folders.chain(env::split_paths(&path)).chain([PathBuf::from("/usr/sbin")]);
    let folders: Vec<_> = folders.collect();
    let mut files =
        names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let found = files.find(|file| file.is_file());
    Command::new(found.unwrap_or_else(|| panic!("{names:?} is missing: these tests need it")))
}

/// Runs a program to its end; what it said on both streams, and whether it was content.
#[track_caller]
pub fn run(command: Command) -> (bool, String) {
    run_within(command, PATIENCE)
}

/// The same for one that may take so long.
#[track_caller]
pub fn run_within(command: Command, patience: Duration) -> (bool, String) {
    let mut program = Program::start(command);
    let status = within(patience, "the program ends", || program.ended());
    (status.success(), program.all_said())
}

/// What a program says in a folder, which must be content.
#[track_caller]
pub fn said(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let mut command = command(program);
    command.current_dir(folder).args(arguments);
    let (is_content, said) = run(command);
    assert!(is_content, "{program}: {said}");
    said
}

/// Has npm put a package of its registry into a folder.
#[cfg(feature = "npm")]
#[track_caller]
pub fn install(folder: &Path, package: &str) {
    std::fs::write(folder.join("package.json"), r#"{ "private": true }"#).unwrap();
    said(folder, "npm", &["install", "--no-audit", package]);
}

/// Looks until there is something to see.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, look)
}

#[track_caller]
fn within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + patience;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < until, "never happened: {what}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// Holds a process and all its threads to one core, where there is more than one.
#[track_caller]
pub fn pin(id: u32, core: usize) {
    if thread::available_parallelism().is_ok_and(|cores| cores.get() > core) {
        let mut taskset = command("taskset");
        taskset.args(["--all-tasks", "--cpu-list", "--pid", &core.to_string(), &id.to_string()]);
        let (is_content, said) = run(taskset);
        assert!(is_content, "{said}");
    }
}

/// A program that runs; asked to end when dropped.
pub struct Program {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    listeners: Vec<JoinHandle<()>>,
}

impl Program {
    /// Starts it.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = Arc::new(Mutex::new(Vec::new()));
        let out = listen(child.stdout.take().unwrap(), Arc::clone(&said));
        let err = listen(child.stderr.take().unwrap(), Arc::clone(&said));
        Self { child, said, listeners: vec![out, err] }
    }

    /// Starts a server on a port that was free a moment ago, and waits until it listens.
    #[track_caller]
    pub fn listening(command_for: impl Fn(SocketAddr) -> Command) -> (Self, SocketAddr) {
        let mut said = String::new();
        for _ in 0..PORTS {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = free.local_addr().unwrap();
            drop(free);
            let mut program = Self::start(command_for(address));
            let listens = eventually("a server listens", || {
                let has_ended = program.ended().is_some();
                let listens = TcpStream::connect(address).is_ok();
                (has_ended || listens).then_some(!has_ended)
            });
            if listens {
                return (program, address);
            }
            said = program.all_said();
        }
        panic!("does not listen: {said}");
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// Sends it a signal by its name.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Waits until it has ended; all that it said.
    #[track_caller]
    pub fn end(mut self) -> String {
        eventually("the program ends", || self.ended());
        self.all_said()
    }

    /// Everything it said; it must have ended.
    fn all_said(&mut self) -> String {
        for listener in self.listeners.drain(..) {
            let _ = listener.join();
        }
        self.said()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Asked first: a master that is killed leaves its workers behind.
        if self.ended().is_none() {
            self.signal("TERM");
        }
        let until = Instant::now() + PATIENCE;
        while self.ended().is_none() && Instant::now() < until {
            thread::park_timeout(Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process.
pub fn signal(id: u32, name: &str) {
    let mut kill = command("sh");
    kill.args(["-c", &format!("kill -{name} {id}")]);
    // It may have ended meanwhile, which is what was wanted.
    let _ = kill.stderr(Stdio::null()).status();
}

fn listen(mut to: impl Read + Send + 'static, said: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = to.read(&mut bytes) {
            said.lock().unwrap().extend_from_slice(&bytes[..count]);
        }
    })
}
