//! The chunked coding of an answer (RFC 9112 §7.1), read strictly: every line ends in CRLF.

use bytes::Bytes;
use bytes::BytesMut;
use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;

/// Where in the coding the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunked {
    /// Before a line with a size.
    Size,
    /// Within a chunk, so many bytes before its end.
    Data(u64),
    /// Before the CRLF that ends a chunk.
    DataEnd,
    /// After the last chunk.
    Trailers,
    /// After everything.
    Done,
}

/// What was found next.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// More bytes are needed.
    More,
    /// Some of the content.
    Data(Bytes),
    /// The end, with the fields after it.
    End(HeaderMap),
}

/// Not the chunked coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunked coding is broken")]
pub struct BrokenChunk;

impl Chunked {
    /// Takes the next piece off `read`.
    pub(super) fn take(&mut self, read: &mut BytesMut) -> Result<Piece, BrokenChunk> {
        loop {
            let found = match *self {
                Self::Size => self.begin_chunk(read)?,
                Self::Data(left) => Some(self.take_data(left, read)),
                Self::DataEnd => self.end_chunk(read)?,
                Self::Trailers => Some(self.take_end(read)?),
                Self::Done => Some(Piece::End(HeaderMap::new())),
            };
            if let Some(piece) = found {
                return Ok(piece);
            }
        }
    }

    fn begin_chunk(&mut self, read: &mut BytesMut) -> Result<Option<Piece>, BrokenChunk> {
        let Some(line) = take_line(read)? else { return Ok(Some(Piece::More)) };
        *self = match size_of(&line)? {
            0 => Self::Trailers,
            size => Self::Data(size),
        };
        Ok(None)
    }

    fn take_data(&mut self, left: u64, read: &mut BytesMut) -> Piece {
        if read.is_empty() {
            return Piece::More;
        }
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(read.len());
        let left = left.saturating_sub(u64::try_from(take).unwrap_or(left));
        *self = if left == 0 { Self::DataEnd } else { Self::Data(left) };
        Piece::Data(read.split_to(take).freeze())
    }

    fn take_end(&mut self, read: &mut BytesMut) -> Result<Piece, BrokenChunk> {
        let Some(trailers) = take_trailers(read)? else { return Ok(Piece::More) };
        *self = Self::Done;
        Ok(Piece::End(trailers))
    }

    fn end_chunk(&mut self, read: &mut BytesMut) -> Result<Option<Piece>, BrokenChunk> {
        match read.get(..2) {
            None => Ok(Some(Piece::More)),
            Some(b"\r\n") => {
                _ = read.split_to(2);
                *self = Self::Size;
                Ok(None)
            }
            Some(_) => Err(BrokenChunk),
        }
    }
}

fn take_line(read: &mut BytesMut) -> Result<Option<BytesMut>, BrokenChunk> {
    let Some(end) = read.iter().position(|byte| *byte == b'\n') else {
        return if read.len() > LONGEST_LINE { Err(BrokenChunk) } else { Ok(None) };
    };
    let mut line = read.split_to(end + 1);
    if end > LONGEST_LINE || !line.ends_with(b"\r\n") {
        return Err(BrokenChunk);
    }
    line.truncate(end - 1);
    Ok(Some(line))
}

/// A size and an extension, which is dropped.
fn size_of(line: &[u8]) -> Result<u64, BrokenChunk> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at_checked(digits).ok_or(BrokenChunk)?;
    let is_extension = matches!(rest.trim_ascii_start().first(), None | Some(b';'));
    if !is_extension || rest.contains(&b'\r') || digits.len() > 16 {
        return Err(BrokenChunk);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| BrokenChunk)?;
    u64::from_str_radix(digits, 16).map_err(|_| BrokenChunk)
}

fn take_trailers(read: &mut BytesMut) -> Result<Option<HeaderMap>, BrokenChunk> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_TRAILERS];
    let (length, fields) = match httparse::parse_headers(read, &mut fields) {
        Ok(httparse::Status::Complete(complete)) => complete,
        Ok(httparse::Status::Partial) if read.len() <= LARGEST_TRAILERS => return Ok(None),
        Ok(httparse::Status::Partial) | Err(_) => return Err(BrokenChunk),
    };
    // The parser takes a bare LF for the end of a line as well.
    if !ends_lines_in_crlf(read.get(..length).unwrap_or_default()) {
        return Err(BrokenChunk);
    }
    let mut trailers = HeaderMap::new();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BrokenChunk)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| BrokenChunk)?;
        trailers.append(name, value);
    }
    _ = read.split_to(length);
    Ok(Some(trailers))
}

fn ends_lines_in_crlf(lines: &[u8]) -> bool {
    let mut before = b' ';
    lines.iter().all(|byte| std::mem::replace(&mut before, *byte) == b'\r' || *byte != b'\n')
}

/// A line with a size and its extension, in bytes.
const LONGEST_LINE: usize = 4096;
/// All trailer fields together, in bytes.
const LARGEST_TRAILERS: usize = 16 * 1024;
/// Trailer fields.
const MOST_TRAILERS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `text` handed over in pieces of `step` bytes; none when it has no end.
    fn read(text: &str, step: usize) -> Result<Option<(String, HeaderMap)>, BrokenChunk> {
        let (mut state, mut buffer, mut content) = (Chunked::Size, BytesMut::new(), String::new());
        let mut pieces = text.as_bytes().chunks(step);
        loop {
            match state.take(&mut buffer)? {
                Piece::Data(data) => content.push_str(&String::from_utf8_lossy(&data)),
                Piece::End(trailers) => return Ok(Some((content, trailers))),
                Piece::More => match pieces.next() {
                    Some(piece) => buffer.extend_from_slice(piece),
                    None => return Ok(None),
                },
            }
        }
    }

    #[test]
    fn reads_what_is_well_formed_however_it_is_cut() {
        let text = "5\r\nhello\r\n1; a=b\r\n,\r\n00A\r\n0123456789\r\n0\r\nX: y\r\n\r\n";
        for step in 1..=text.len() {
            let (content, trailers) = read(text, step).unwrap().unwrap();
            assert_eq!(content, "hello,0123456789");
            assert_eq!(trailers["x"], "y");
        }
        assert_eq!(read("0\r\n\r\n", 1), Ok(Some((String::new(), HeaderMap::new()))));
    }

    #[test]
    fn a_body_that_breaks_off_has_no_end() {
        let text = "5\r\nhello\r\n0\r\n\r\n";
        for end in 0..text.len() {
            let (cut, _) = text.split_at(end);
            assert_eq!(read(cut, 3), Ok(None), "{end}");
        }
    }

    #[test]
    fn refuses_what_is_not_exactly_the_coding() {
        for text in [
            "5\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n",
            "+5\r\nhello\r\n",
            "-1\r\n",
            " 5\r\nhello\r\n",
            "\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhelloX\r\n",
            "5 x\r\nhello\r\n",
            "5;a\rb\r\nhello\r\n",
            "10000000000000000\r\n",
            "00000000000000001\r\n",
            "0\r\nX y\r\n\r\n",
            "0\r\n\n",
            "0\r\nX: y\n\r\n",
            "0\r\nX: y\r\n\n",
        ] {
            assert_eq!(read(text, text.len()), Err(BrokenChunk), "{text:?}");
        }
    }

    #[test]
    fn bounds_lines_and_trailers() {
        let line = |length: usize| format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(length));
        assert!(read(&line(LONGEST_LINE - 3), 64).unwrap().is_some());
        assert_eq!(read(&line(LONGEST_LINE), 64), Err(BrokenChunk));
        let trailers = format!("0\r\nX: {}", "y".repeat(LARGEST_TRAILERS + 64));
        assert_eq!(read(&trailers, 64), Err(BrokenChunk));
    }
}
