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
    method: &'static str,
    path: &'static str,
    /// Its header fields.
    pub(super) headers: Vec<(String, String)>,
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
        writeln!(out, "\n")
    }
}

/// All of them, in the order in which they tell the story.
pub(super) fn all(stage: &Stage) -> Vec<Try> {
    let key = ("X-App-Key", stage.key.expose().as_str());
    let bearer = |token: &str| format!("Bearer {token}");
    let (good, expired) = (bearer(stage.token.expose()), bearer(stage.expired.expose()));
    let forged = bearer(stage.forged.expose());
    let user = ("Authorization", good.as_str());
    let told = format!("\"x-user\": \"{USER}\"");
    let get = |title: &str, path, headers: &[(&str, &str)], status, shows: &str| Try {
        title: title.to_owned(),
        method: "GET",
        path,
        headers: headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        status,
        shows: shows.to_owned(),
    };
    let orders = "/orders";
    let delete = get(
        "The user may not delete: known, but not permitted",
        "/orders/7",
        &[key, user],
        403,
        "insufficient_permission",
    );
    vec![
        get(
            "Key and token are good: forwarded, and the API is told who calls",
            orders,
            &[key, user],
            200,
            &told,
        ),
        get("No key", orders, &[user], 401, "missing_credentials"),
        get(
            "A wrong key",
            orders,
            &[("X-App-Key", stage.wrong_key.expose()), user],
            401,
            "invalid_application_key",
        ),
        get("No token", orders, &[key], 401, "missing_credentials"),
        get(
            "A token that has expired",
            orders,
            &[key, ("Authorization", &expired)],
            401,
            "expired_token",
        ),
        get(
            "A forged token: the same claims, signed by somebody else",
            orders,
            &[key, ("Authorization", &forged)],
            401,
            "invalid_token",
        ),
        Try { method: "DELETE", ..delete },
        get(
            "Somebody claims to be another user: the claim is replaced by the truth",
            orders,
            &[key, user, ("X-User", "admin")],
            200,
            &told,
        ),
        get("A public route: forwarded without any check", "/health", &[], 200, "\"/health\""),
        get(
            "An unknown path, without credentials: nothing is told about it",
            "/nowhere",
            &[],
            401,
            "missing_credentials",
        ),
        get("An unknown path, with credentials", "/nowhere", &[key, user], 404, "not_found"),
        get(
            "A path that could be read in two ways",
            "/health/..%2forders",
            &[key, user],
            400,
            "malformed_request",
        ),
    ]
}
