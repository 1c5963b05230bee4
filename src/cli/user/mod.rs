//! `portcullis user`: the people who sign in, in the store that a gateway reads.
//!
//! A running gateway follows within a second. A password is typed or piped, never an argument.

mod act;
mod print;
mod second_factor;

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use self::act::Act;
use super::password::Source;
use super::place::{MasterArgs, PlaceArgs};
use crate::clock::Clock;
use crate::store::Login;

/// Creates, lists, shows and changes users.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  portcullis user add anna@example.com --attributes '{\"name\":\"Anna\"}' -c portcullis.yaml
  printf '%s' \"$PASSWORD\" | portcullis user add anna@example.com -c portcullis.yaml
  portcullis user attributes anna@example.com '{\"name\":\"Anna B.\",\"bio\":null}' -c portcullis.yaml
  portcullis user permissions anna@example.com '{\"Things\":[\"view\",\"edit\"]}' -c portcullis.yaml
  portcullis user totp anna@example.com -c portcullis.yaml

A user is named by the id that `list` prints, or by the name to sign in with.")]
pub struct UserArgs {
    /// Where they are kept.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: UserCommand,
}

/// What to do with users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Create a user; the password is asked for, or read from standard input
    Add {
        /// The name to sign in with, often an e-mail address
        #[arg(value_parser = login)]
        login: Login,
        /// What else is known about the user: a JSON object
        #[arg(long, value_name = "JSON", value_parser = object)]
        attributes: Option<JsonObject>,
        /// What the user may do: JSON in the form of the dialect
        #[arg(long, value_name = "JSON", value_parser = json)]
        permissions: Option<Value>,
        /// Create the user without a password: it cannot sign in until it is given one
        #[arg(long)]
        without_password: bool,
        /// Create the user as invited: whatever its password, it cannot sign in until it is enabled
        #[arg(long)]
        invited: bool,
    },
    /// List all users, oldest first
    List,
    /// Show one user
    Show {
        /// The user
        user: String,
    },
    /// Replace all passwords of a user and end the sessions, or add or remove one
    Password {
        /// The user
        user: String,
        /// Keep the passwords there are and add another
        #[arg(long, conflicts_with = "remove")]
        add: bool,
        /// Remove the password with this number, as `show` prints it
        #[arg(long, value_name = "NUMBER")]
        remove: Option<u32>,
    },
    /// Change what is known about a user
    Attributes {
        /// The user
        user: String,
        /// A JSON object: what it names is set, `null` removes, the rest stays
        #[arg(value_name = "JSON", value_parser = object)]
        change: JsonObject,
    },
    /// Replace what a user may do
    Permissions {
        /// The user
        user: String,
        /// JSON in the form of the dialect
        #[arg(value_name = "JSON", value_parser = json)]
        permissions: Value,
    },
    /// Give a user a second factor and print its seed and recovery codes, once; or take it away
    Totp {
        /// The user
        user: String,
        /// Take the second factor away
        #[arg(long)]
        remove: bool,
        /// The name that the user's app shows beside the code
        #[arg(long, value_name = "NAME", default_value = "Portcullis")]
        issuer: String,
        /// The key that seals the seed.
        #[command(flatten)]
        master: MasterArgs,
    },
    /// Refuse sign-ins and refreshes of a user; tokens there are stay good
    Lock {
        /// The user
        user: String,
    },
    /// Let a locked user sign in again, and forget failed attempts
    Unlock {
        /// The user
        user: String,
    },
    /// Refuse sign-ins and refreshes of a user until its password was changed; its tokens stay good
    Expire {
        /// The user
        user: String,
    },
    /// Switch a user off and end all sessions
    Disable {
        /// The user
        user: String,
    },
    /// Let a user sign in, whatever its state was
    Enable {
        /// The user
        user: String,
    },
    /// Delete a user for good and end all sessions
    Delete {
        /// The user
        user: String,
    },
    /// End all sessions of a user
    Logout {
        /// The user
        user: String,
    },
}

/// The members of a JSON object.
#[derive(Clone, Debug)]
pub struct JsonObject(pub Map<String, Value>);

/// Runs the command; results go to the first stream, notices to people to the second.
pub async fn run(
    args: &UserArgs,
    clock: &Clock,
    passwords: &mut Source<'_>,
    (out, err): (&mut (dyn Write + Send), &mut (dyn Write + Send)),
) -> anyhow::Result<()> {
    let (policy, cost) = args.place.passwords()?;
    // Only the first act on a store may create it; a mistyped path must not look like an empty store.
    let store = match args.command {
        UserCommand::Add { .. } => args.place.create().await?,
        _ => args.place.open().await?,
    };
    let act = Act {
        store: &store,
        place: &args.place,
        now: clock.now(),
        policy,
        cost,
        passwords,
        out,
        err,
    };
    let done = act.run(&args.command).await;
    store.close().await;
    done
}

fn login(text: &str) -> Result<Login, &'static str> {
    Login::parse(text)
        .ok_or("a name is 1 to 254 visible ASCII characters without spaces, with at most one `@`")
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

fn object(text: &str) -> Result<JsonObject, String> {
    match json(text)? {
        Value::Object(members) => Ok(JsonObject(members)),
        _ => Err("not a JSON object".to_owned()),
    }
}

#[cfg(test)]
mod tests;
