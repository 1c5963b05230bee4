//! HTTP Basic on ordinary routes (RFC 7617), judged by the users in the store.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Map, json};

use super::checks::{Established, Presented};
use super::denial::{Denial, Kind};
use super::lease::UserProof;
use crate::clock::Timestamp;
use crate::credentials::CarryError;
use crate::credentials::KnownUsers;
use crate::credentials::Locations;
use crate::credentials::Proven;
use crate::credentials::VouchError;
use crate::credentials::Vouching;
use crate::credentials::read_basic;
use crate::jwt::Ended;
use crate::principal::Facts;
use crate::principal::Subject;
use crate::secret::Secret;

/// A name and a password in `Authorization`.
#[derive(Debug)]
pub(super) struct BasicGate {
    pub(super) locations: Locations,
    /// None where nothing is served.
    pub(super) users: Option<(Arc<KnownUsers>, Arc<Vouching>)>,
    /// Tells when the store was silent for too long.
    pub(super) ended: Arc<Ended>,
}

impl BasicGate {
    /// Whether name and password are there; good when they are. `OtherScheme` is left to the caller.
    pub(super) async fn run(
        &self,
        value: &str,
        number: usize,
        presented: &Presented<'_>,
        established: &mut Established,
    ) -> Result<bool, Denial> {
        let asking = presented.asking;
        let (login, password) =
            read_basic(value).ok_or(Denial::Carried(Kind::Basic, CarryError::Malformed))?;
        let password = Secret::new(password.expose().as_str());
        let unavailable = Denial::Vouch(VouchError::Unavailable);
        let Some((users, vouching)) = &self.users else { return Err(unavailable) };
        if self.ended.is_silent(asking.now) {
            return Err(unavailable);
        }
        let address = established.address().unwrap_or(asking.peer.client);
        let facts = vouched((&**users, &**vouching), &login, password, address).await?;
        let proof = UserProof::Password { revision: facts.revision, asked: None };
        // A browser repeats what its user once typed in.
        established.is_ambient = true;
        established.prove_user(number, Arc::new(subject(&facts)), proof);
        established.lease.principal.facts = Some(Arc::clone(&facts));
        established.facts = Some(facts);
        Ok(true)
    }
}

/// What was good once is good until something about the user changes.
async fn vouched(
    (users, vouching): (&KnownUsers, &Vouching),
    login: &str,
    password: Secret<&str>,
    address: IpAddr,
) -> Result<Arc<Facts>, Denial> {
    if let Some(proven) = vouching.remembered(login, password) {
        if let Some(facts) = facts(users, &proven).await? {
            return Ok(facts);
        }
        vouching.forget(login, password);
    }
    let proven = vouching.password(login, password, address).await.map_err(Denial::Vouch)?;
    // Changed between the two looks: neither is believed.
    facts(users, &proven).await?.ok_or(Denial::Vouch(VouchError::Wrong))
}

async fn facts(users: &KnownUsers, proven: &Proven) -> Result<Option<Arc<Facts>>, Denial> {
    let facts = users.facts(&proven.user).await;
    let facts = facts.map_err(|_silent| Denial::Vouch(VouchError::Unavailable))?;
    Ok(facts.filter(|facts| facts.revision == proven.revision))
}

/// The user as a token with that number would tell of it.
fn subject(facts: &Facts) -> Subject {
    let mut claims = Map::new();
    claims.insert("sub".to_owned(), json!(facts.number.to_string()));
    claims.insert("login".to_owned(), json!(facts.login));
    Subject {
        identity: facts.number.to_string(),
        issuer: String::new(),
        claims,
        permissions: facts.permissions.clone(),
        expires_at: Timestamp::from_millis(i64::MAX),
        bound_to: None,
        own: None,
    }
}
