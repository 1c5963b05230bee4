//! Noticing that the configuration, or a file it names, has other content than before.
//!
//! Events of the system only wake the comparison; the content decides. Kubernetes changes a mounted
//! file by swapping a link two steps away from it, an editor by renaming another file over it, and a
//! network file system by telling nobody: for the last there is a slow poll.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use notify::EventKind;
use notify::RecommendedWatcher;
use notify::RecursiveMode;
use notify::Watcher;
use notify::event::AccessKind;
use notify::event::AccessMode;
use tokio::sync::mpsc;

use crate::id::Digest;

/// Watches the content of a set of files.
///
/// Spawns no task; the system's events arrive through a thread of their own.
#[derive(Debug)]
pub struct Watch {
    files: Vec<NamedFile>,
    events: mpsc::Receiver<()>,
    watcher: Option<RecommendedWatcher>,
    poll: Duration,
    /// Whether files were added whose changes nobody told before they were watched.
    is_behind: bool,
}

/// A file that was read, and what it held shortly before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    pub(super) path: PathBuf,
    content: Content,
}

/// What a file held when it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Unreadable,
    Bytes(Digest),
}

/// How long after an event the files are left alone: a swap of several files should be one change.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// How long they are left alone once an event turned out to mean nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the files are compared although nothing was heard.
const POLL: Duration = Duration::from_secs(3);
/// Files watched at once; the configuration cannot name more that matter.
const MAX_FILES: usize = 1024;
/// How much of a file is compared: more than the largest that is ever read.
const MAX_COMPARED_BYTES: u64 = 2 << 20;

impl NamedFile {
    /// The file at `path` as it is now. To be made before the file is read for good: what changes
    /// between the two is then noticed.
    pub fn now(path: PathBuf) -> Self {
        Self { content: Content::of(&path), path }
    }
}

impl Watch {
    /// Starts to watch; what the files held when they were read is what a change is measured against,
    /// so that nothing is missed that happened since.
    pub fn new(files: impl IntoIterator<Item = NamedFile>) -> Self {
        let (sender, events) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !is_only_a_look(event.kind)) {
                // A full channel already holds the news.
                let _ = sender.try_send(());
            }
        });
        let (files_now, watcher) = (Vec::new(), watcher.ok());
        let mut watch = Self { files: files_now, events, watcher, poll: POLL, is_behind: true };
        watch.replace(files);
        watch
    }

    /// Watches these files from now on; those that were watched before keep what they held.
    pub fn replace(&mut self, files: impl IntoIterator<Item = NamedFile>) {
        let before = std::mem::take(&mut self.files);
        for file in files.into_iter().take(MAX_FILES) {
            if self.files.iter().all(|known| known.path != file.path) {
                let known = before.iter().find(|known| known.path == file.path);
                self.files.push(known.cloned().unwrap_or(file));
            }
        }
        for folder in self.files.iter().flat_map(|file| folders(&file.path)) {
            if let Some(watcher) = &mut self.watcher {
                // A folder that is not there yet, or watched already, is left to the poll.
                let _ = watcher.watch(&folder, RecursiveMode::NonRecursive);
            }
        }
        self.is_behind = true;
    }

    /// Waits until any of the files holds something else than when it was last looked at.
    ///
    /// Cancel safe: nothing is taken note of before all of it is.
    pub async fn changed(&mut self) {
        let mut pause = DEBOUNCE;
        if self.is_behind {
            let has_changed = self.compare().await;
            self.is_behind = false;
            if has_changed {
                return;
            }
        }
        loop {
            let heard = self.news().await;
            tokio::time::sleep(pause).await;
            while self.events.try_recv().is_ok() {}
            if self.compare().await {
                return;
            }
            // Something else is busy in the folder, such as a store: it must not keep us busy too.
            pause = if heard { PATIENCE } else { DEBOUNCE };
        }
    }

    /// Waits for an event of the system, or for the poll; says whether it was an event.
    async fn news(&mut self) -> bool {
        if self.watcher.is_none() {
            tokio::time::sleep(self.poll).await;
            return false;
        }
        tokio::time::timeout(self.poll, self.events.recv()).await.is_ok()
    }

    async fn compare(&mut self) -> bool {
        let mut now = Vec::with_capacity(self.files.len());
        for file in &self.files {
            now.push(Content::of_elsewhere(file.path.clone()).await);
        }
        let mut has_changed = false;
        for (file, content) in self.files.iter_mut().zip(now) {
            has_changed |= file.content != content;
            file.content = content;
        }
        has_changed
    }
}

/// Whether an event says only that somebody read, as our own comparing does: it must not wake itself.
const fn is_only_a_look(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    }
}

impl Content {
    fn of(path: &Path) -> Self {
        read(path).map_or(Self::Unreadable, |bytes| Self::Bytes(Digest::of(&bytes)))
    }

    /// Without holding up whoever asks: a file may be far away.
    async fn of_elsewhere(path: PathBuf) -> Self {
        let content = tokio::task::spawn_blocking(move || Self::of(&path)).await;
        content.unwrap_or(Self::Unreadable)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe would never end, and whoever reads it takes its content away.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_COMPARED_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The folders in which a change of a file can show: its own, and those its links lead through.
fn folders(path: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let target = std::fs::read_link(&path);
        folders.push(folder.clone());
        match target {
            Ok(target) => path = folder.join(target),
            Err(_) => break,
        }
    }
    folders
}

const MAX_LINKS: usize = 8;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Well below a poll, well above what a busy machine needs for an event and the debounce.
    const DEADLINE: Duration = Duration::from_secs(30);
    const NEVER: Duration = Duration::from_hours(1);

    fn block_on<T>(test: impl Future<Output = T>) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(test)
    }

    /// A watch that hears of changes only through events.
    fn listening(paths: &[&Path]) -> Watch {
        let mut watch = Watch::new(paths.iter().map(|path| NamedFile::now(path.to_path_buf())));
        assert!(watch.watcher.is_some());
        watch.poll = NEVER;
        watch
    }

    async fn notices(watch: &mut Watch) -> bool {
        tokio::time::timeout(DEADLINE, watch.changed()).await.is_ok()
    }

    #[test]
    fn what_changed_before_anybody_watched_is_noticed_without_an_event() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        fs::write(&a, "1").unwrap();
        fs::write(&b, "1").unwrap();
        let [a, b] = [a, b].map(|path| (NamedFile::now(path.clone()), path));
        fs::write(&a.1, "2").unwrap();
        block_on(async {
            let mut watch = Watch::new([a.0.clone()]);
            watch.poll = NEVER;
            assert!(notices(&mut watch).await);
            fs::write(&b.1, "2").unwrap();
            watch.replace([a.0, b.0]);
            assert!(notices(&mut watch).await);
        });
    }

    #[test]
    fn a_file_written_in_place_or_renamed_over_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.yaml");
        fs::write(&path, "a").unwrap();
        block_on(async {
            let mut watch = listening(&[&path]);
            fs::write(&path, "b").unwrap();
            assert!(notices(&mut watch).await);
            fs::write(folder.path().join("new"), "c").unwrap();
            fs::rename(folder.path().join("new"), &path).unwrap();
            assert!(notices(&mut watch).await);
        });
    }

    #[test]
    fn the_link_swap_of_a_kubernetes_mount_is_noticed() {
        let mount = tempfile::tempdir().unwrap();
        let at = |name: &str| mount.path().join(name);
        for (folder, content) in [("..1", "a"), ("..2", "b")] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join("p.yaml"), content).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/p.yaml", at("p.yaml")).unwrap();
        block_on(async {
            let mut watch = listening(&[&at("p.yaml")]);
            symlink("..2", at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
            assert!(notices(&mut watch).await);
        });
    }

    #[test]
    fn a_file_that_appears_and_one_that_goes_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        block_on(async {
            let mut watch = listening(&[&path]);
            fs::write(&path, "a").unwrap();
            assert!(notices(&mut watch).await);
            fs::remove_file(&path).unwrap();
            assert!(notices(&mut watch).await);
        });
    }

    #[test]
    fn without_events_the_poll_notices() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.yaml");
        fs::write(&path, "a").unwrap();
        block_on(async {
            let mut watch = Watch::new([NamedFile::now(path.clone())]);
            watch.watcher = None;
            watch.poll = Duration::from_millis(1);
            fs::write(&path, "b").unwrap();
            assert!(notices(&mut watch).await);
        });
    }

    #[test]
    fn the_same_content_written_again_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("p.yaml"), folder.path().join("other"));
        fs::write(&path, "a").unwrap();
        block_on(async {
            let mut watch = listening(&[&path]);
            fs::write(&path, "a").unwrap();
            fs::write(&other, "x").unwrap();
            assert!(!watch.compare().await);
            watch.replace([path.clone(), other.clone()].map(NamedFile::now));
            assert!(!watch.compare().await);
            fs::write(&other, "y").unwrap();
            assert!(watch.compare().await);
            assert!(!watch.compare().await);
        });
    }

    #[test]
    fn what_changed_before_the_watch_began_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("p.yaml"), folder.path().join("other"));
        fs::write(&path, "a").unwrap();
        fs::write(&other, "a").unwrap();
        let named = [path.clone(), other.clone()].map(NamedFile::now);
        fs::write(&path, "b").unwrap();
        block_on(async {
            let [first, second] = named;
            let mut watch = Watch::new([first.clone()]);
            assert!(watch.compare().await);
            assert!(!watch.compare().await);
            fs::write(&other, "b").unwrap();
            watch.replace([first, second]);
            assert!(watch.compare().await, "one that joins, and has changed since it was read");
            assert!(!watch.compare().await);
        });
    }

    #[test]
    fn reading_a_file_wakes_nobody() {
        use notify::event::CreateKind;
        use notify::event::ModifyKind;
        assert!(is_only_a_look(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(is_only_a_look(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(!is_only_a_look(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(!is_only_a_look(EventKind::Modify(ModifyKind::Any)));
        assert!(!is_only_a_look(EventKind::Create(CreateKind::Any)));
        assert!(!is_only_a_look(EventKind::Any) && !is_only_a_look(EventKind::Other));
    }

    #[test]
    fn links_are_followed_a_bounded_number_of_times() {
        let folder = tempfile::tempdir().unwrap();
        symlink("loop", folder.path().join("loop")).unwrap();
        assert_eq!(folders(&folder.path().join("loop")).len(), MAX_LINKS);
        assert_eq!(folders(Path::new("p.yaml")), [PathBuf::from(".")]);
    }
}
