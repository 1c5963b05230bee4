//! Judges of what the upstream received, written without a look at how the gateway works.

use super::Message;

/// A name as the laxest reader could fold it: letters and digits only, in lower case.
pub fn folded(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Fails unless each identity name occurs exactly as told: once with that value, or not at all;
/// in the header and in the trailers, in any spelling.
#[track_caller]
pub fn identity(request: &Message, expected: &[(&str, Option<&str>)]) {
    let fields = request.fields.0.iter().chain(&request.trailers.0);
    for (name, value) in expected {
        let same = |(known, _): &&(String, String)| folded(known) == folded(name);
        let found: Vec<&str> = fields.clone().filter(same).map(|(_, v)| v.as_str()).collect();
        let wanted: Vec<&str> = value.iter().copied().collect();
        assert_eq!(found, wanted, "{name} in {request:?}");
    }
}

/// The path as the most eager reader could understand it: decoded twice, backslashes turned,
/// parameters dropped, slashes merged, dot segments resolved, lower case, cut at NUL and `#`.
pub fn aggressive(target: &str) -> String {
    let path = target.split('?').next().unwrap();
    let decoded = decode(&decode(path.as_bytes()));
    let cut = decoded.split(|byte| matches!(byte, 0 | b'#')).next().unwrap();
    let turned = super::latin1(cut).replace('\\', "/").to_ascii_lowercase();
    let mut segments: Vec<&str> = Vec::new();
    for segment in turned.split('/') {
        match segment.split(';').next().unwrap() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            plain => segments.push(plain),
        }
    }
    format!("/{}", segments.join("/"))
}

fn decode(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), bytes);
    while let [first, tail @ ..] = rest {
        let pair = tail.get(..2).filter(|_| *first == b'%').map(super::latin1);
        let escaped = pair.and_then(|pair| u8::from_str_radix(&pair, 16).ok());
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_eager_reader_finds_every_disguise() {
        for disguise in [
            "/api/admin/x",
            "/public/../api/admin/x",
            "/public/%2e%2E/api/admin/x",
            "/public/..%2fapi/admin/x",
            "/public/..%5capi/admin/x",
            "/public/%252e%252e/api/admin/x",
            "//api//admin///x",
            "/api;a=b/./ADMIN/x",
            "/%61pi/admin/x%00y?z",
        ] {
            assert_eq!(aggressive(disguise), "/api/admin/x", "{disguise}");
        }
        assert_eq!(aggressive("/public/x?/../api/admin"), "/public/x");
        assert_eq!(aggressive("/a%zz/%2"), "/a%zz/%2");
    }
}
