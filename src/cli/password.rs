//! How commands are given a password: typed twice without echo, or as the first line of a pipe.
//!
//! Never as an argument, which other users of the machine can see.

use std::io;
use std::io::{BufRead, IsTerminal, Read, Write};

use anyhow::{Context, bail};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Where passwords come from.
pub enum Source<'a> {
    /// A person at the terminal that is standard input.
    Terminal,
    /// A program, or a file.
    Stream(&'a mut (dyn BufRead + Send)),
    /// Standard input when it is no terminal.
    Input,
}

impl Source<'_> {
    /// The terminal or the pipe that this process reads.
    pub(super) fn of_process() -> Self {
        if io::stdin().is_terminal() { Self::Terminal } else { Self::Input }
    }

    /// Reads a new password; a person types it twice.
    pub(super) fn read(&mut self, err: &mut dyn Write) -> anyhow::Result<Zeroizing<String>> {
        let password = match self {
            Self::Stream(input) => line(input)?,
            Self::Input => line(&mut io::stdin().lock())?,
            Self::Terminal => {
                let typed = typed("New password: ", err)?;
                if typed != self::typed("Once more: ", err)? {
                    bail!("the two passwords differ");
                }
                typed
            }
        };
        if password.is_empty() {
            bail!("no password was given; it is typed, or read from standard input");
        }
        Ok(password)
    }
}

/// One line without its end, and nothing else taken away.
fn line(input: &mut dyn BufRead) -> anyhow::Result<Zeroizing<String>> {
    // With its whole room from the beginning, so that no copy is left behind by growing.
    let mut text = Zeroizing::new(String::with_capacity(LONGEST));
    let longest = u64::try_from(LONGEST).unwrap_or(u64::MAX);
    input.take(longest).read_line(&mut text).context("the password cannot be read")?;
    match text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).len()) {
        Some(end) => text.truncate(end),
        None if text.len() >= LONGEST => bail!("the password is longer than {LONGEST} bytes"),
        None => {}
    }
    Ok(text)
}

fn typed(prompt: &str, err: &mut dyn Write) -> anyhow::Result<Zeroizing<String>> {
    write!(err, "{prompt}")?;
    err.flush()?;
    let silence = Silence::begin().context("the terminal goes on showing what is typed")?;
    let text = line(&mut io::stdin().lock());
    drop(silence);
    writeln!(err)?;
    text
}

/// The terminal shows nothing of what is typed until this is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        // What was typed ahead is thrown away: it was shown.
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Bytes of a line.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut input: &[u8]) -> anyhow::Result<String> {
        Source::Stream(&mut input).read(&mut Vec::new()).map(|password| password.to_string())
    }

    #[test]
    fn a_password_is_the_first_line_as_it_stands() {
        for (input, password) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("secret\r\n", "secret"),
            ("secret\nmore\n", "secret"),
            (" sec ret \n", " sec ret "),
            ("sec\rret\r", "sec\rret\r"),
            ("pässwörd\0\n", "pässwörd\0"),
        ] {
            assert_eq!(read(input.as_bytes()).unwrap(), password, "{input:?}");
        }
        let longest = "x".repeat(LONGEST - 1);
        assert_eq!(read(format!("{longest}\n").as_bytes()).unwrap(), longest);
    }

    #[test]
    fn what_is_no_password_is_refused() {
        let long = "x".repeat(LONGEST);
        for input in [&b""[..], b"\n", b"\r\n", b"\xff\n", long.as_bytes()] {
            assert!(read(input).is_err(), "{input:?}");
        }
    }
}
