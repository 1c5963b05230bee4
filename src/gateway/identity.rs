//! Headers that say who the caller is: removed from clients, written by us.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use serde_json::Value;

use crate::principal::Principal;

/// Every header name under `forward`, of all routes, folded so that no spelling of it gets through; and
/// the headers that clients write, for which one spelling does.
#[derive(Debug)]
pub struct IdentityNames {
    /// Letters and digits only, lower case.
    folded: Vec<String>,
    /// Which bytes begin and end a name above; most header names are told apart by these two.
    firsts: [bool; 128],
    lasts: [bool; 128],
    /// Clients write these, in this spelling alone.
    theirs: Vec<HeaderName>,
}

impl IdentityNames {
    /// Reserves these names.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n HeaderName>) -> Self {
        let (firsts, lasts) = ([false; 128], [false; 128]);
        let mut all = Self { folded: Vec::new(), firsts, lasts, theirs: Vec::new() };
        for name in names {
            all.reserve(fold(name.as_str()));
        }
        all
    }

    /// Reserves the other spellings of headers that hold credentials and are passed on: what stands
    /// there was judged by nobody.
    #[must_use]
    pub fn with_credentials<'n>(mut self, names: impl IntoIterator<Item = &'n HeaderName>) -> Self {
        for name in names {
            let folded = fold(name.as_str());
            // A name that tells who calls is ours in every spelling.
            let is_theirs = self.theirs.iter().any(|theirs| fold(theirs.as_str()) == folded);
            if is_theirs || !self.folded.contains(&folded) {
                self.theirs.push(name.clone());
                self.reserve(folded);
            }
        }
        self
    }

    fn reserve(&mut self, folded: String) {
        set(&mut self.firsts, folded.bytes().next());
        set(&mut self.lasts, folded.bytes().last());
        if !self.folded.contains(&folded) {
            self.folded.push(folded);
        }
    }

    /// Whether `name` could be taken for one of ours: upstreams that make variables of headers fold
    /// `-`, `_` and `.` together, and some drop them.
    pub fn is_reserved(&self, name: &str) -> bool {
        let bytes = name.as_bytes();
        let may_match = |table: &[bool; 128], byte: Option<&u8>| {
            byte.is_some_and(|byte| {
                !byte.is_ascii_alphanumeric()
                    || table.get(usize::from(byte.to_ascii_lowercase())).is_some_and(|mark| *mark)
            })
        };
        may_match(&self.firsts, bytes.first())
            && may_match(&self.lasts, bytes.last())
            && self.folded.iter().any(|reserved| is_folded(reserved, bytes))
            && !self.theirs.iter().any(|theirs| theirs.as_str() == name)
    }

    /// Removes every header that could be taken for one of ours.
    pub fn strip(&self, headers: &mut HeaderMap) {
        // The usual request has none; only then nothing is collected.
        if headers.keys().any(|name| self.is_reserved(name.as_str())) {
            let forged: Vec<HeaderName> =
                headers.keys().filter(|name| self.is_reserved(name.as_str())).cloned().collect();
            for name in forged {
                headers.remove(name);
            }
        }
    }
}

fn set(table: &mut [bool; 128], byte: Option<u8>) {
    if let Some(mark) = byte.and_then(|byte| table.get_mut(usize::from(byte))) {
        *mark = true;
    }
}

/// Whether `name` without its separators is `folded`.
fn is_folded(folded: &str, name: &[u8]) -> bool {
    let mut rest = folded.bytes();
    let is_prefix = name
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .all(|byte| rest.next() == Some(byte.to_ascii_lowercase()));
    is_prefix && rest.next().is_none()
}

fn fold(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// One line under `forward`: a header and the fact it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardRule {
    /// The header as the upstream sees it.
    pub name: HeaderName,
    /// What it tells.
    pub fact: Fact,
}

/// A fact about the caller that a header can carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// `app.id`
    AppId,
    /// `app.scopes`, separated by spaces.
    AppScopes,
    /// `user.id`: the text at the identity pointer.
    UserIdentity,
    /// `user.issuer`
    UserIssuer,
    /// `certificate.subject`
    CertificateSubject,
    /// `certificate.sha256`: the digest of the whole, in hexadecimal.
    CertificateDigest,
    /// `certificate.dns`, separated by spaces.
    CertificateDns,
    /// `certificate.uris`, separated by spaces.
    CertificateUris,
    /// `user.claim` or `user.claim.member`: a member of the claims, by its path.
    Claim(Vec<String>),
}

/// A claim has a value that no header can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwritable;

impl Fact {
    /// Reads `app.id`, `user.sub`, `user.address.city`, `certificate.subject`; nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let (who, what) = text.trim().split_once('.')?;
        match (who, what) {
            ("app", "id") => Some(Self::AppId),
            ("app", "scopes") => Some(Self::AppScopes),
            ("user", "id") => Some(Self::UserIdentity),
            ("user", "issuer") => Some(Self::UserIssuer),
            ("certificate", "subject") => Some(Self::CertificateSubject),
            ("certificate", "sha256") => Some(Self::CertificateDigest),
            ("certificate", "dns") => Some(Self::CertificateDns),
            ("certificate", "uris") => Some(Self::CertificateUris),
            ("user", path) => {
                let path: Vec<String> = path.split('.').map(str::to_owned).collect();
                path.iter().all(|member| !member.is_empty()).then_some(Self::Claim(path))
            }
            _ => None,
        }
    }

    /// The header value that tells this fact; `None` when there is nothing to tell.
    pub fn value(&self, principal: &Principal) -> Result<Option<HeaderValue>, Unwritable> {
        let (app, user) = (principal.app.as_deref(), principal.user.as_deref());
        let shown = principal.certificate.as_deref();
        match self {
            Self::CertificateSubject => shown.map(|shown| write(&shown.subject)).transpose(),
            Self::CertificateDigest => shown.map(|s| write(&s.digest.to_string())).transpose(),
            Self::CertificateDns => shown.map(|shown| write(&shown.dns.join(" "))).transpose(),
            Self::CertificateUris => shown.map(|shown| write(&shown.uris.join(" "))).transpose(),
            Self::AppId => app.map(|app| write(app.id.as_str())).transpose(),
            Self::AppScopes => app.map(|app| write(&app.scopes.join(" "))).transpose(),
            Self::UserIdentity => user.map(|user| write(&user.identity)).transpose(),
            Self::UserIssuer => user.map(|user| write(&user.issuer)).transpose(),
            Self::Claim(path) => {
                let Some((first, rest)) = path.split_first() else { return Ok(None) };
                let top = user.and_then(|user| user.claims.get(first));
                let value =
                    rest.iter().try_fold(top, |value, member| value.map(|value| value.get(member)));
                value.flatten().map(write_claim).transpose().map(Option::flatten)
            }
        }
    }
}

fn write_claim(claim: &Value) -> Result<Option<HeaderValue>, Unwritable> {
    match claim {
        Value::Null => Ok(None),
        Value::String(text) => write(text).map(Some),
        other => write(&other.to_string()).map(Some),
    }
}

/// UTF-8 goes through as it is; a control character could end the header and begin another.
fn write(text: &str) -> Result<HeaderValue, Unwritable> {
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err(Unwritable);
    }
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Unwritable)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
    use crate::id::AppId;
    use crate::principal::App;
    use crate::principal::Permissions;
    use crate::principal::Subject;

    fn names() -> IdentityNames {
        IdentityNames::new(&[
            HeaderName::from_static("x-user"),
            HeaderName::from_static("x-app-id"),
        ])
    }

    #[test]
    fn no_spelling_of_an_identity_name_gets_through() {
        for name in
            ["x-user", "X-USER", "x_user", "x.user", "XUser", "x--user", "-x-user_", "X_App.ID"]
        {
            assert!(names().is_reserved(name), "{name}");
        }
        for name in ["x-users", "ax-user", "x-use", "user", "x", "", "host", "x-app"] {
            assert!(!names().is_reserved(name), "{name}");
        }
    }

    #[test]
    fn a_credential_has_one_spelling() {
        let token = HeaderName::from_static("x-user-token");
        let names = names().with_credentials([&token, &HeaderName::from_static("x_user")]);
        for name in
            ["x_user_token", "x-user_token", "xusertoken", "x.user-token", "x-user", "x_user"]
        {
            assert!(names.is_reserved(name), "{name}");
        }
        for name in ["x-user-token", "x-user-tokens", "x-token"] {
            assert!(!names.is_reserved(name), "{name}");
        }
        let twice = [token, HeaderName::from_static("x-usertoken")];
        let names = IdentityNames::new(&[]).with_credentials(&twice);
        assert!(!names.is_reserved("x-user-token") && !names.is_reserved("x-usertoken"));
        assert!(names.is_reserved("x_user_token"));
    }

    #[test]
    fn strips_every_copy() {
        let mut headers = HeaderMap::new();
        headers.append("x-user", HeaderValue::from_static("root"));
        headers.append("x-user", HeaderValue::from_static("root"));
        headers.append("x_user", HeaderValue::from_static("root"));
        headers.append("accept", HeaderValue::from_static("*/*"));
        names().strip(&mut headers);
        assert_eq!(headers.len(), 1);
        assert!(headers.contains_key("accept"));
    }

    fn principal() -> Principal {
        let claims = json!({"sub": "u1", "n": 7, "roles": ["a", "b"], "o": {"city": "Köln"},
                            "bad": "a\r\nX-User: root", "nothing": null});
        Principal {
            app: Some(Arc::new(App {
                id: AppId::new("mobile"),
                scopes: vec!["r".into(), "w".into()],
            })),
            user: Some(Arc::new(Subject {
                identity: "u1".into(),
                issuer: "https://id.test".into(),
                claims: claims.as_object().unwrap().clone(),
                permissions: Permissions::None,
                expires_at: Timestamp::from_seconds(0),
                bound_to: None,
                own: None,
            })),
            facts: None,
            certificate: None,
        }
    }

    #[track_caller]
    fn tells(fact: &str, expected: Result<Option<&str>, Unwritable>) {
        let value = Fact::parse(fact).unwrap().value(&principal());
        let text =
            value.map(|value| value.map(|v| String::from_utf8(v.as_bytes().to_vec()).unwrap()));
        assert_eq!(text, expected.map(|value| value.map(str::to_owned)), "{fact}");
    }

    #[test]
    fn a_header_tells_a_checked_fact_or_nothing() {
        tells("app.id", Ok(Some("mobile")));
        tells("app.scopes", Ok(Some("r w")));
        tells("user.id", Ok(Some("u1")));
        tells("user.sub", Ok(Some("u1")));
        tells("user.issuer", Ok(Some("https://id.test")));
        tells("user.n", Ok(Some("7")));
        tells("user.roles", Ok(Some(r#"["a","b"]"#)));
        tells("user.o.city", Ok(Some("Köln")));
        tells("user.nothing", Ok(None));
        tells("user.absent", Ok(None));
        tells("user.sub.deeper", Ok(None));
        tells("user.bad", Err(Unwritable));
    }

    #[test]
    fn refuses_what_is_not_a_fact() {
        for text in ["", "app", "app.secret", "user", "user.", "user..x", "request.path", "x.y"] {
            assert_eq!(Fact::parse(text), None, "{text}");
        }
    }
}
