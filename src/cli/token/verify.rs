//! `portcullis token verify`: what the checks of a configuration say to a token.

use std::io::Write;

use anyhow::bail;
use serde_json::Value;
use serde_json::json;

use super::read_token;
use crate::cli::ConfigArg;
use crate::cli::Exit;
use crate::cli::Output;
use crate::cli::moment;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::jwt::Recent;
use crate::jwt::TokenError;
use crate::jwt::Verified;
use crate::principal::Permissions;
use crate::secret::Secret;
use crate::server::Trial;

/// What `portcullis token verify` is asked.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The token is judged as in a request: issuer, key, signature, audience, times.
Where it is carried is not looked at; `portcullis explain` judges whole requests.
Exits with 0 when a check accepts the token, otherwise with 1.

Examples:
  portcullis token verify -c portcullis.yaml eyJhbGciOi…
  pbpaste | portcullis token verify --check user -")]
pub struct VerifyArgs {
    /// Which configuration judges.
    #[command(flatten)]
    pub config: ConfigArg,
    /// The check to ask [default: every check of tokens]
    #[arg(long, value_name = "NAME")]
    pub check: Option<String>,
    /// The token; `-` reads it from standard input
    pub token: String,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Asks the checks and prints what they say.
pub(super) async fn run(
    args: &VerifyArgs,
    clock: &Clock,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<Exit> {
    let token = read_token(&args.token)?;
    let trial = Trial::open(&args.config.config, clock.clone()).await?;
    let now = clock.now();
    let mut answers = Vec::new();
    for verifier in trial.gateway().verifiers() {
        let name = verifier.name().as_str();
        if args.check.as_deref().is_none_or(|wanted| wanted == name) {
            let answer =
                verifier.verify(Secret::new(token.expose().as_str()), now, &Recent::new()).await;
            answers.push((name, answer));
        }
    }
    if answers.is_empty() {
        let known: Vec<&str> = trial.gateway().verifiers().map(|v| v.name().as_str()).collect();
        match &args.check {
            Some(wanted) => bail!("no check of tokens is named `{wanted}`; there are: {known:?}"),
            None => bail!("the configuration has no check of tokens"),
        }
    }
    match args.output {
        Output::Json => {
            let told = answers.iter().map(|(name, answer)| as_json(name, answer));
            writeln!(out, "{:#}", told.collect::<Value>())?;
        }
        Output::Text => {
            for (name, answer) in &answers {
                write_text(out, name, answer, now)?;
            }
        }
    }
    let is_good = answers.iter().any(|(_, answer)| answer.is_ok());
    Ok(if is_good { Exit::Done } else { Exit::Failed })
}

fn as_json(name: &str, answer: &Result<Verified, TokenError>) -> Value {
    match answer {
        Ok(Verified { subject, .. }) => json!({
            "check": name,
            "valid": true,
            "subject": subject.identity,
            "issuer": subject.issuer,
            "expires_at": moment::civil(subject.expires_at),
            "permissions": permissions(&subject.permissions),
        }),
        Err(error) => json!({
            "check": name, "valid": false, "error": error.code(), "detail": error.to_string(),
        }),
    }
}

fn write_text(
    out: &mut dyn Write,
    name: &str,
    answer: &Result<Verified, TokenError>,
    now: Timestamp,
) -> std::io::Result<()> {
    match answer {
        Ok(Verified { subject, .. }) => {
            let expires = subject.expires_at;
            writeln!(out, "{name}: valid")?;
            writeln!(out, "  subject      {}", subject.identity)?;
            if !subject.issuer.is_empty() {
                writeln!(out, "  issuer       {}", subject.issuer)?;
            }
            let distance = moment::distance(expires, now);
            writeln!(out, "  expires      {}, {distance}", moment::civil(expires))?;
            let permissions = permissions(&subject.permissions);
            if !permissions.is_empty() {
                writeln!(out, "  permissions  {}", permissions.join(" "))?;
            }
            Ok(())
        }
        Err(error) => writeln!(out, "{name}: refused: {error}"),
    }
}

fn permissions(permissions: &Permissions) -> Vec<String> {
    match permissions {
        Permissions::None => Vec::new(),
        Permissions::Names(names) => names.clone(),
        Permissions::Verbs(map) => {
            let name = |resource: &str, verb: &String| format!("{resource}:{verb}");
            let all = map
                .iter()
                .flat_map(|(resource, verbs)| verbs.iter().map(move |verb| name(resource, verb)));
            all.collect()
        }
    }
}
