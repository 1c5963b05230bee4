//! Header compression (RFC 7541) as far as a test needs it: written without indexing, read without a
//! dynamic table, which our settings forbid the other side to use.

use super::Fault;
use super::latin1;

/// Writes fields as literals that nobody remembers.
pub fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            integer(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// Of seven bits, the eighth being clear.
fn integer(block: &mut Vec<u8>, mut number: usize) {
    if number < 127 {
        return block.push(u8::try_from(number).unwrap());
    }
    block.push(127);
    number -= 127;
    while number > 127 {
        block.push(u8::try_from(number % 128 + 128).unwrap());
        number /= 128;
    }
    block.push(u8::try_from(number).unwrap());
}

/// Reads a whole block.
pub fn decode(block: &[u8]) -> Result<Vec<(String, String)>, Fault> {
    let (mut fields, mut at) = (Vec::new(), 0);
    while let Some(first) = block.get(at) {
        let bits = match first {
            0x80.. => 7,
            0x40.. => 6,
            0x20.. => 5,
            _ => 4,
        };
        let index = number(block, &mut at, bits)?;
        if bits == 5 {
            continue;
        }
        let (name, value) = if index == 0 {
            (text(block, &mut at)?, "")
        } else {
            let known = STATIC.get(index - 1);
            let (name, value) = known.ok_or(Fault(format!("no table entry {index}")))?;
            ((*name).to_owned(), *value)
        };
        let value = if bits == 7 { value.to_owned() } else { text(block, &mut at)? };
        fields.push((name, value));
    }
    Ok(fields)
}

fn number(block: &[u8], at: &mut usize, bits: u32) -> Result<usize, Fault> {
    let mut next = || {
        *at += 1;
        block.get(*at - 1).map(|byte| usize::from(*byte)).ok_or(Fault("a cut block".into()))
    };
    let most = (1 << bits) - 1;
    let mut number = next()? & most;
    let mut shift = 0;
    while number >= most {
        let byte = next()?;
        number += (byte & 127) << shift;
        shift += 7;
        if byte < 128 {
            break;
        }
    }
    Ok(number)
}

fn text(block: &[u8], at: &mut usize) -> Result<String, Fault> {
    let is_huffman = block.get(*at).is_some_and(|byte| *byte >= 128);
    let length = number(block, at, 7)?;
    let bytes = block.get(*at..*at + length).ok_or(Fault("a cut block".into()))?;
    *at += length;
    Ok(if is_huffman { latin1(&unpack(bytes)) } else { latin1(bytes) })
}

/// The code is canonical: its lengths tell it. Bits that are left over are padding.
fn unpack(bytes: &[u8]) -> Vec<u8> {
    let mut symbols: Vec<(u8, u8)> = (0..=255).map(|s: u8| (LENGTHS[usize::from(s)], s)).collect();
    symbols.sort_unstable();
    let mut codes = std::collections::HashMap::new();
    let (mut code, mut before) = (0_u32, 0);
    for (length, symbol) in symbols {
        code <<= length - before;
        before = length;
        codes.insert((length, code), symbol);
        code += 1;
    }
    let (mut text, mut length, mut code) = (Vec::new(), 0, 0_u32);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)) {
        (length, code) = (length + 1, code << 1 | u32::from(bit));
        if let Some(symbol) = codes.get(&(length, code)) {
            text.push(*symbol);
            (length, code) = (0, 0);
        }
    }
    text
}

/// How many bits each byte takes (RFC 7541, appendix B).
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// RFC 7541, appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[test]
fn reads_the_examples_of_the_standard() {
    // RFC 7541, appendix C.6.1, with its dynamic table entries written once.
    let block = b"\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b\x61\x96\xd0\x7a\xbe\x94\x10\x54\xd4\x44\xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff\x6e\x91\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\xc8\xe9\xae\x82\xae\x43\xd3";
    let fields = decode(block).unwrap();
    let expected = [
        (":status", "302"),
        ("cache-control", "private"),
        ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
        ("location", "https://www.example.com"),
    ];
    let read = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    assert!(read.eq(expected), "{fields:?}");
    let long = "v".repeat(400);
    assert_eq!(decode(&encode(&[("n", &long)])).unwrap(), [("n".to_owned(), long)]);
}
