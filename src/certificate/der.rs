//! Just enough of DER (X.690) to read what stands in a certificate: lengths are checked, nothing is repaired.

use jiff::civil::DateTime;

use crate::clock::Timestamp;

/// What is left of an encoding, read element by element.
pub(super) struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    pub(super) const fn new(encoded: &'a [u8]) -> Self {
        Self(encoded)
    }

    pub(super) const fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    /// The tag and content of the next element.
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let [tag, rest @ ..] = self.0 else { return None };
        // Tags of several bytes occur in no certificate.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = length(rest)?;
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The content of the next element, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// The content of the next element, if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.0.first() != Some(&tag) {
            return None;
        }
        self.expect(tag)
    }

    /// The next element as an instant (RFC 5280 §4.1.2.5): to the second, in UTC.
    pub(super) fn time(&mut self) -> Option<Timestamp> {
        let (tag, content) = self.next()?;
        let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
        let digits = match (tag, text.len()) {
            (UTC_TIME, 12) if text < "50" => format!("20{text}"),
            (UTC_TIME, 12) => format!("19{text}"),
            (GENERALIZED_TIME, 14) => text.to_owned(),
            _ => return None,
        };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let part = |from: usize, to: usize| digits.get(from..to)?.parse::<i8>().ok();
        let year = digits.get(..4)?.parse().ok()?;
        let (month, day) = (part(4, 6)?, part(6, 8)?);
        let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
        let time = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        let since = time.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
        Some(Timestamp::from_seconds(since.as_secs()))
    }
}

/// A length in its shortest form, and what follows it.
fn length(encoded: &[u8]) -> Option<(usize, &[u8])> {
    let [first, rest @ ..] = encoded else { return None };
    if *first < 0x80 {
        return Some((usize::from(*first), rest));
    }
    let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    let is_shortest = match bytes {
        [] | [0, ..] => false,
        [one] => *one >= 0x80,
        _ => bytes.len() <= MOST_LENGTH_BYTES,
    };
    let length = bytes.iter().fold(0_usize, |length, byte| (length << 8) | usize::from(*byte));
    is_shortest.then_some((length, rest))
}

/// Who somebody is: a sequence of attributes, from the general to the specific.
pub(super) struct DistinguishedName {
    /// As RFC 4514 writes it: from the specific to the general.
    pub(super) text: String,
    /// The common name, if there is exactly one.
    pub(super) common_name: Option<String>,
}

impl DistinguishedName {
    pub(super) fn read(encoded: &[u8]) -> Option<Self> {
        let (mut levels, mut common_names) = (Vec::new(), Vec::new());
        let mut list = Der::new(encoded);
        while !list.is_over() {
            let mut set = Der::new(list.expect(SET)?);
            let mut level = Vec::new();
            while !set.is_over() {
                let mut attribute = Der::new(set.expect(SEQUENCE)?);
                let kind = attribute.expect(OBJECT)?;
                let (tag, content) = attribute.next()?;
                let text = text(tag, content);
                level.push(format!("{}={}", kind_of(kind), written(text.as_deref(), content)));
                let is_common = kind == COMMON_NAME;
                common_names.extend(is_common.then(|| text.filter(|text| is_printable(text))));
            }
            levels.push(level.join("+"));
        }
        levels.reverse();
        let common_name = (common_names.len() == 1).then(|| common_names.pop()).flatten().flatten();
        Some(Self { text: levels.join(","), common_name })
    }
}

fn is_printable(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// The text of an attribute of a kind that can be read without guessing.
fn text(tag: u8, content: &[u8]) -> Option<String> {
    match tag {
        UTF8 => std::str::from_utf8(content).ok().map(str::to_owned),
        NUMERIC | PRINTABLE | IA5 if content.is_ascii() => {
            Some(String::from_utf8_lossy(content).into_owned())
        }
        BMP => {
            let units = content.chunks_exact(2).map(|pair| match pair {
                [high, low] => u16::from_be_bytes([*high, *low]),
                _ => 0,
            });
            String::from_utf16(&units.collect::<Vec<_>>()).ok()
        }
        _ => None,
    }
}

/// RFC 4514 §2.4: what has a meaning of its own is escaped, so that no value can pass for two.
fn written(text: Option<&str>, content: &[u8]) -> String {
    let Some(text) = text else {
        return content.iter().fold("#".to_owned(), |hex, byte| hex + &format!("{byte:02x}"));
    };
    let last = text.chars().count().saturating_sub(1);
    let mut written = String::with_capacity(text.len());
    for (at, c) in text.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => written.extend(['\\', c]),
            ' ' if at == 0 || at == last => written.push_str("\\ "),
            '#' if at == 0 => written.push_str("\\#"),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                let bytes = c.encode_utf8(&mut bytes).bytes();
                written.extend(bytes.map(|byte| format!("\\{byte:02X}")));
            }
            c => written.push(c),
        }
    }
    written
}

/// The name that RFC 4514 §3 gives a kind of attribute, or its number.
fn kind_of(kind: &[u8]) -> String {
    let known = match kind {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "STREET",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        _ => return dotted(kind),
    };
    known.to_owned()
}

fn dotted(kind: &[u8]) -> String {
    let (mut arcs, mut arc) = (Vec::new(), 0_u64);
    for byte in kind {
        arc = arc.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.extend([first, arc.saturating_sub(first * 40)]);
            } else {
                arcs.push(arc);
            }
            arc = 0;
        }
    }
    arcs.iter().map(u64::to_string).collect::<Vec<_>>().join(".")
}

const OBJECT: u8 = 0x06;
const UTF8: u8 = 0x0c;
const NUMERIC: u8 = 0x12;
const PRINTABLE: u8 = 0x13;
const IA5: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const BMP: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
/// Of a length; no certificate is larger than 16 MiB.
const MOST_LENGTH_BYTES: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn attribute(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        tlv(SEQUENCE, &[tlv(OBJECT, kind), tlv(tag, value)].concat())
    }

    #[test]
    fn a_name_is_written_so_that_no_value_passes_for_two() {
        let one = |tag, value: &[u8]| {
            let name = tlv(SET, &attribute(COMMON_NAME, tag, value));
            let name = DistinguishedName::read(&name).unwrap();
            (name.text, name.common_name)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(one(UTF8, b"a"), ("CN=a".to_owned(), some("a")));
        assert_eq!(one(UTF8, b"a,O=b"), (r"CN=a\,O\=b".to_owned(), some("a,O=b")));
        assert_eq!(one(UTF8, b"a+CN=b").0, r"CN=a\+CN\=b");
        assert_eq!(one(UTF8, b" #a ").0, r"CN=\ #a\ ");
        assert_eq!(one(UTF8, b"#a").0, r"CN=\#a");
        assert_eq!(one(UTF8, b"a\\").0, r"CN=a\\");
        assert_eq!(one(UTF8, "\u{e9}".as_bytes()).0, "CN=\u{e9}");
        assert_eq!(one(UTF8, b"a\0b"), (r"CN=a\00b".to_owned(), None));
        assert_eq!(one(UTF8, b"a\r\nb"), (r"CN=a\0D\0Ab".to_owned(), None));
        assert_eq!(one(UTF8, b""), ("CN=".to_owned(), None));
        assert_eq!(one(UTF8, b"\xff"), ("CN=#ff".to_owned(), None));
        assert_eq!(one(PRINTABLE, b"\xe9").0, "CN=#e9");
        assert_eq!(one(BMP, &[0, b'a', 0x20, 0xac]).0, "CN=a\u{20ac}");
        assert_eq!(one(20, b"teletex").0, "CN=#74656c65746578");
    }

    #[test]
    fn levels_are_turned_round_and_one_of_several_common_names_is_none() {
        let level = |parts: &[Vec<u8>]| tlv(SET, &parts.concat());
        let name = [
            level(&[attribute(&[0x55, 4, 6], PRINTABLE, b"DE")]),
            level(&[attribute(&[0x55, 4, 10], UTF8, b"x"), attribute(&[0x55, 4, 97], UTF8, b"y")]),
            level(&[attribute(COMMON_NAME, UTF8, b"a")]),
            level(&[attribute(COMMON_NAME, UTF8, b"b")]),
        ];
        let name = DistinguishedName::read(&name.concat()).unwrap();
        assert_eq!(name.text, "CN=b,CN=a,O=x+2.5.4.97=y,C=DE");
        assert_eq!(name.common_name, None);
    }

    #[test]
    fn times_are_read_in_both_forms_and_no_other() {
        let time =
            |tag, text: &str| Der::new(&tlv(tag, text.as_bytes())).time().map(Timestamp::seconds);
        assert_eq!(time(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, "491231235959Z"), Some(2_524_607_999));
        assert_eq!(time(UTC_TIME, "500101000000Z"), Some(-631_152_000));
        assert_eq!(time(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000));
        assert_eq!(time(GENERALIZED_TIME, "99991231235959Z"), Some(253_402_300_799));
        for text in
            ["7001010000Z", "700101000000", "700101000000+0100", "701301000000Z", "70010100000xZ"]
        {
            assert_eq!(time(UTC_TIME, text), None, "{text}");
        }
        assert_eq!(time(GENERALIZED_TIME, "20500101000000.5Z"), None);
        assert_eq!(time(UTC_TIME, "700230000000Z"), None, "no such day");
    }

    #[test]
    fn lengths_have_one_form() {
        let read = |bytes: &[u8]| Der::new(bytes).next().map(|(_, content)| content.len());
        assert_eq!(read(&[4, 1, 7]), Some(1));
        assert_eq!(read(&[4, 0]), Some(0));
        assert_eq!(read(&[&[4, 0x81, 0x80][..], &[7; 128]].concat()), Some(128));
        for wrong in [
            &[4, 0x81, 1, 7][..],
            &[4, 0x82, 0, 1, 7],
            &[4, 0x80, 7, 0, 0],
            &[4, 2, 7],
            &[0x1f, 1, 1, 7],
            &[4, 0x84, 1, 0, 0, 0],
            &[4],
            &[],
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
