//! The applications of the document, read: known by the digest of their key, without a store.
//!
//! One application may have several entries, so that its key can be replaced: the same id and scopes,
//! another digest.

use std::collections::HashMap;

use crate::id::AppId;
use crate::id::Digest;

use super::document::AppEntry;
use super::finding::Findings;
use super::scalar::At;

/// An application known without a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSettings {
    /// Its public id.
    pub id: AppId,
    /// The digest of its key or secret.
    pub digest: Digest,
    /// What it may be used for.
    pub scopes: Vec<String>,
}

pub(super) fn resolve(entries: &[At<AppEntry>], findings: &mut Findings) -> Vec<AppSettings> {
    let mut ids: HashMap<&str, &At<AppEntry>> = HashMap::new();
    let mut digests = HashMap::new();
    let mut apps = Vec::new();
    for entry in entries {
        if let Some(problem) = app_id_problem(&entry.id) {
            findings.error(entry.id.place, format!("bad application id: {problem}"));
        }
        let first = *ids.entry(entry.id.value.as_str()).or_insert(entry);
        if first.scopes != entry.scopes {
            let (id, line) = (&entry.id.value, first.id.place.line);
            findings
                .error(entry.id.place, format!("`{id}` has other scopes in line {line}"))
                .help("each key of an application is good for the same: repeat its scopes");
        }
        let Some(digest) = Digest::from_hex(&entry.sha256) else {
            findings
                .error(entry.sha256.place, "not a SHA-256 digest: expected 64 hexadecimal digits")
                .help("`printf %s \"$KEY\" | sha256sum` prints the digest of a key");
            continue;
        };
        if let Some(line) = digests.insert(digest, entry.sha256.place.line) {
            findings
                .error(entry.sha256.place, format!("this digest already stands in line {line}"))
                .help("whom a key belongs to must be certain: each key has one entry");
        }
        let id = AppId::new(entry.id.value.as_str());
        apps.push(AppSettings { id, digest, scopes: entry.scopes.clone() });
    }
    apps
}

/// An id is sent upstream as the value of a header, so it must be one.
fn app_id_problem(id: &str) -> Option<&'static str> {
    match id.len() {
        0 => Some("it is empty"),
        129.. => Some("it is longer than 128 bytes"),
        _ if !id.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Some("only visible ASCII characters can stand in a header")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::settings::tests::remarks;

    #[test]
    fn an_application_has_one_or_more_keys_of_its_own() {
        let (a, b) = ("a".repeat(64), "B".repeat(64));
        let apps = |list: &str| remarks(&format!("apps:\n{list}"));
        assert_eq!(
            apps(&format!("- {{ id: x, sha256: {a} }}\n- {{ id: y, sha256: {b} }}")),
            [""; 0]
        );
        let two_keys = |first: &str, second: &str| {
            apps(&format!(
                "- {{ id: x, sha256: {a}, scopes: {first} }}\n- {{ id: x, sha256: {b}, scopes: {second} }}"
            ))
        };
        assert_eq!(two_keys("[]", "[]"), [""; 0]);
        assert_eq!(two_keys("[r, s]", "[r, s]"), [""; 0]);
        for (first, second) in [("[]", "[r]"), ("[r]", "[]"), ("[r]", "[s]")] {
            let found = two_keys(first, second);
            assert_eq!(found, ["6:9 `x` has other scopes in line 5"], "{first} {second}");
        }
        assert_eq!(
            apps(&format!("- {{ id: x, sha256: {a} }}\n- {{ id: x, sha256: {a} }}")),
            ["6:20 this digest already stands in line 5"]
        );
        let upper = a.to_uppercase();
        assert_eq!(
            apps(&format!("- {{ id: x, sha256: {a} }}\n- {{ id: y, sha256: {upper} }}")),
            ["6:20 this digest already stands in line 5"]
        );
        for digest in ["\"\"", &"a".repeat(63), &"a".repeat(65), &"g".repeat(64)] {
            let found = apps(&format!("- {{ id: x, sha256: {digest} }}"));
            assert_eq!(found, ["5:20 not a SHA-256 digest: expected 64 hexadecimal digits"]);
        }
        for (id, problem) in [
            ("\"\"", "it is empty"),
            ("\"a b\"", "only visible ASCII characters can stand in a header"),
            ("é", "only visible ASCII characters can stand in a header"),
            ("\"a\\nb\"", "only visible ASCII characters can stand in a header"),
            (&"x".repeat(129), "it is longer than 128 bytes"),
        ] {
            let found = apps(&format!("- {{ id: {id}, sha256: {a} }}"));
            assert_eq!(found, [format!("5:9 bad application id: {problem}")]);
        }
    }
}
