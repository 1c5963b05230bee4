//! The requests of the demonstration, each with the answer to expect.

use std::io;
use std::io::Write;

use super::stage::Stage;
use super::stage::USER;

/// One request to try.
#[derive(Debug)]
pub(super) struct Try {
    /// What it shows.
    pub(super) title: String,
    pub(super) method: String,
    pub(super) path: String,
    /// Its header fields.
    pub(super) headers: Vec<(String, String)>,
    /// Its body.
    pub(super) body: String,
    /// The status to expect.
    pub(super) status: u16,
    /// What the answer's body holds.
    pub(super) shows: String,
}

impl Try {
    /// Method and path, as HTTP writes them.
    pub(super) fn request_line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// Prints what to expect, and a line to paste.
    pub(super) fn write(
        &self,
        number: usize,
        authority: &str,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        writeln!(out, "# {number}. {}", self.title)?;
        writeln!(out, "#    expect {} with {}", self.status, self.shows)?;
        write!(out, "curl -i http://{authority}{}", self.path)?;
        if self.method != "GET" {
            write!(out, " -X {}", self.method)?;
        }
        // Nothing here holds a quote.
        self.headers.iter().try_for_each(|(name, value)| write!(out, " -H '{name}: {value}'"))?;
        if !self.body.is_empty() {
            write!(out, " -d '{}'", self.body)?;
        }
        writeln!(out, "\n")
    }
}

/// All of them, in the order in which they tell the story.
pub(super) fn all(stage: &Stage) -> Vec<Try> {
    let bearer = |token: &str| format!("Bearer {token}");
    let good = bearer(stage.token.expose());
    let key = ("X-App-Key", stage.key.expose().as_str());
    let user = ("Authorization", good.as_str());
    let wrong_key = ("X-App-Key", stage.wrong_key.expose().as_str());
    let expired = bearer(stage.expired.expose());
    let forged = bearer(stage.forged.expose());
    let told = format!("\"x-user\": \"{USER}\"");
    vec![
        get("Key and token are good: forwarded, and the API is told who calls", "/orders")
            .with(&[key, user])
            .expects(200, &told),
        get("No key", "/orders").with(&[user]).expects(401, "missing_credentials"),
        get("A wrong key", "/orders")
            .with(&[wrong_key, user])
            .expects(401, "invalid_application_key"),
        get("No token", "/orders").with(&[key]).expects(401, "missing_credentials"),
        get("A token that has expired", "/orders")
            .with(&[key, ("Authorization", &expired)])
            .expects(401, "expired_token"),
        get("A forged token: the same claims, signed by somebody else", "/orders")
            .with(&[key, ("Authorization", &forged)])
            .expects(401, "invalid_token"),
        get("The user may not delete: known, but not permitted", "/orders/7")
            .by("DELETE")
            .with(&[key, user])
            .expects(403, "insufficient_permission"),
        get("Somebody claims to be another user: the claim is replaced by the truth", "/orders")
            .with(&[key, user, ("X-User", "admin")])
            .expects(200, &told),
        get("A public route: forwarded without any check", "/health").expects(200, "\"/health\""),
        get("An unknown path, without credentials: nothing is told about it", "/nowhere")
            .expects(401, "missing_credentials"),
        get("An unknown path, with credentials", "/nowhere")
            .with(&[key, user])
            .expects(404, "not_found"),
        get("A path that could be read in two ways", "/health/..%2forders")
            .with(&[key, user])
            .expects(400, "malformed_request"),
    ]
}

fn get(title: &str, path: &str) -> Try {
    Try {
        title: title.to_owned(),
        method: "GET".to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        body: String::new(),
        status: 200,
        shows: String::new(),
    }
}

impl Try {
    fn by(self, method: &str) -> Self {
        Self { method: method.to_owned(), ..self }
    }

    fn with(self, headers: &[(&str, &str)]) -> Self {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Self { headers: headers.iter().map(owned).collect(), ..self }
    }

    fn expects(self, status: u16, shows: &str) -> Self {
        Self { status, shows: shows.to_owned(), ..self }
    }
}
