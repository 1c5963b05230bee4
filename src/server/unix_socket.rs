//! A Unix socket to listen at, and its file: made with the permissions that were asked for, and removed by
//! whoever made it.

use std::fs;
use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::listen::BACKLOG;
use crate::config::UnixSettings;

/// The file of a socket that listens; dropped before the socket is, it goes.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// Device and inode, which nobody else gets as long as the socket is open.
type Identity = (u64, u64);

/// Listens at a path at which nobody else does.
pub(super) fn bind(settings: &UnixSettings) -> io::Result<(SocketFile, UnixListener)> {
    let UnixSettings { path, mode } = settings;
    let _alone = lock_folder(path);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let address = SockAddr::unix(path)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error);
        }
        remove_stale(path, &address)?;
        socket.bind(&address)?;
    }
    let file = SocketFile { path: path.clone(), identity: identity(path)? };
    // Whatever the process's umask is, and before anybody can connect.
    fs::set_permissions(path, Permissions::from_mode(*mode))?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    Ok((file, socket.into()))
}

/// Removes what a process left behind that did not end well.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "what is there is no socket"));
    }
    let asking = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // One whose backlog is full listens too, and is not waited for.
    asking.set_nonblocking(true)?;
    match asking.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(()) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// Keeps others that start from taking a socket for stale that is bound and does not listen yet. A
/// folder that cannot be locked is none: what it guards against is rare.
fn lock_folder(path: &Path) -> Option<File> {
    let folder = File::open(path.parent()?).ok()?;
    for _ in 0..LOCK_TRIES {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(_)) => return None,
        }
    }
    None
}

fn identity(path: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have put a socket of their own in its place.
        if identity(&self.path).is_ok_and(|identity| identity == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a socket");
        }
    }
}

/// How often a folder is tried that somebody else has locked.
const LOCK_TRIES: u32 = 100;
/// How long between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &Path, mode: u32) -> io::Result<(SocketFile, UnixListener)> {
        bind(&UnixSettings { path: path.to_owned(), mode })
    }

    #[test]
    fn a_socket_has_the_mode_that_was_asked_for_and_goes_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.sock");
        for mode in [0o600, 0o660, 0o666] {
            let bound = at(&path, mode).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
            drop(bound);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_socket_at_which_somebody_listens_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.sock");
        let listener = UnixListener::bind(&path).unwrap();
        for _ in 0..2 {
            assert_eq!(at(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
        drop(listener);
        assert!(path.exists(), "left behind");
        assert!(at(&path, 0o600).is_ok(), "and taken over");
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, target] = ["file", "link", "target"].map(|name| folder.path().join(name));
        fs::write(&file, "precious").unwrap();
        drop(UnixListener::bind(&target).unwrap());
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for path in [&file, &link, folder.path()] {
            assert_eq!(at(path, 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        assert!(link.is_symlink() && target.exists());
        let nowhere = folder.path().join("none/p.sock");
        assert_eq!(at(&nowhere, 0o600).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_socket_of_somebody_else_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.sock");
        let (file, _listener) = at(&path, 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = at(&path, 0o600).unwrap();
        drop(file);
        assert!(path.exists());
    }
}
