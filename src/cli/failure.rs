//! How a failed command is told: one sentence on standard error, and the exit code that fits.

use std::io;
use std::io::Write;

use super::Exit;
use crate::server::StartError;
use crate::store::StoreError;

/// Tells an error and chooses the exit code.
pub(super) fn tell(error: &anyhow::Error, err: &mut dyn Write) -> Exit {
    if is_of_a_reader_gone(error) {
        // `portcullis … | head` is no failure.
        return Exit::Done;
    }
    let exit = match error.downcast_ref::<StartError>() {
        Some(StartError::Config(report)) => {
            drop(write!(err, "{report}"));
            drop(writeln!(err, "{} is refused", report.source().path.display()));
            return Exit::Config;
        }
        Some(StartError::Listen(..) | StartError::Store(_)) => Exit::Unavailable,
        None if is_of_the_store(error) => Exit::Unavailable,
        Some(_) | None => Exit::Failed,
    };
    drop(writeln!(err, "error: {error:#}"));
    exit
}

/// A store that is not there, as against one that says no.
fn is_of_the_store(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<StoreError>(), Some(StoreError::Open { .. }))
}

fn is_of_a_reader_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    fn told(error: impl Into<anyhow::Error>) -> (Exit, String) {
        let mut err = Vec::new();
        let exit = tell(&error.into(), &mut err);
        (exit, String::from_utf8(err).unwrap())
    }

    #[test]
    fn each_kind_of_failure_has_its_code() {
        let in_use = io::Error::from(io::ErrorKind::AddrInUse);
        let (exit, text) = told(StartError::Listen("127.0.0.1:1".to_owned(), in_use));
        assert_eq!(exit, Exit::Unavailable);
        assert!(text.starts_with("error: cannot listen on 127.0.0.1:1: "), "{text}");
        let report = config::load(Path::new("/nonexistent/p.yaml")).unwrap_err();
        let (exit, text) = told(StartError::Config(Box::new(report)));
        assert_eq!(exit, Exit::Config);
        assert!(text.ends_with("/nonexistent/p.yaml is refused\n"), "{text}");
        assert_eq!(told(StartError::Random).0, Exit::Failed);
        assert_eq!(told(anyhow::anyhow!("x")), (Exit::Failed, "error: x\n".to_owned()));
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(told(gone), (Exit::Done, String::new()));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(told(full).0, Exit::Failed);
    }
}
