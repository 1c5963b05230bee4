//! Users in a store beside a gateway, made as the command line makes them, and their one-time codes.

use std::time::Instant;

use aws_lc_rs::hmac;
use portcullis::account::{MasterKey, PasswordCost, Purpose, hash_password};
use portcullis::clock::Timestamp;
use portcullis::id::UserId;
use portcullis::secret::Secret;
use portcullis::store::{Login, NewUser, Store, StoreAddress, StoreError, UserState};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::DEADLINE;
use super::Setup;
use super::keys::NOW;

const MASTER: &str = "5d1f0c7a92e84b36a0f3c2d9e8b7164f3a2c5d8e7f901b2c4d6e8fa0b1c3d5e7";

/// A store with users, and the key that seals what it keeps.
pub struct People {
    folder: TempDir,
    runtime: Runtime,
    store: Store,
}

impl People {
    /// A store with nobody in it.
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("master.key"), MASTER).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let path = format!("sqlite:{}", folder.path().join("people.db").display());
        let address = StoreAddress::parse(&path).unwrap();
        let store = runtime.block_on(Store::open(&address)).unwrap();
        Self { folder, runtime, store }
    }

    /// A gateway over them that tells the upstream who calls.
    pub fn setup(&self, checks: &str, routes: &str, login: &str) -> Setup {
        Setup::new()
            .checks(checks)
            .routes(routes)
            .defaults("{ forward: { X-Auth-User: user.id, X-App-Id: app.id } }")
            .extra(&self.lines())
            .extra(&format!("login: [ {{ dialect: {login} }} ]"))
    }

    /// What a configuration says to use them.
    pub fn lines(&self) -> String {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let (store, key) = (at("people.db"), at("master.key"));
        format!("store: \"sqlite:{store}\"\nsecrets: {{ master: \"file:{key}\" }}")
    }

    /// An active user.
    pub fn add(&self, login: &str, password: &str, attributes: &Value, may: &Value) -> UserId {
        let mut random = [0; 10];
        aws_lc_rs::rand::fill(&mut random).unwrap();
        let hash = hash_password(Secret::new(password), PasswordCost::DEFAULT, &[]).unwrap();
        let user = NewUser {
            id: UserId::generate(random),
            login: Login::parse(login).unwrap(),
            state: UserState::Active,
            attributes: attributes.as_object().cloned().unwrap_or_default(),
            unique: Vec::new(),
            permissions: may.clone(),
            password: Some(hash),
        };
        self.alter(&async |store| store.create_user(&user, now()).await);
        user.id
    }

    /// Gives a user a second factor that is in force.
    pub fn enrol(&self, user: &UserId, seed: [u8; 20]) {
        let master = MasterKey::parse(MASTER.as_bytes()).unwrap();
        let sealed = master.seal(Purpose::TotpSeed, user.as_str(), &seed).unwrap();
        self.alter(&async |store| store.set_totp(user, &sealed, true, now()).await);
    }

    /// Alters something in the store, however long a busy gateway keeps it from writing: an act that
    /// failed has altered nothing, and is done again.
    pub fn alter<T>(&self, act: &impl AsyncFn(&Store) -> Result<T, StoreError>) -> T {
        let until = Instant::now() + DEADLINE;
        loop {
            match self.act(act) {
                Ok(done) => return done,
                Err(error) if error.is_transient() && Instant::now() < until => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Does something to the store, beside the gateway.
    pub fn act<T>(&self, act: impl AsyncFnOnce(&Store) -> T) -> T {
        self.runtime.block_on(act(&self.store))
    }
}

/// The instant at which people are made.
pub fn now() -> Timestamp {
    Timestamp::from_seconds(NOW)
}

/// The code that an app shows at this second (RFC 6238 with SHA-1, six digits, 30 seconds).
pub fn code(seed: [u8; 20], at: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &seed);
    let mark = hmac::sign(&key, &(at / 30).to_be_bytes());
    let mark = mark.as_ref();
    let offset = usize::from(mark[19] & 15);
    let four: [u8; 4] = mark[offset..offset + 4].try_into().unwrap();
    format!("{:06}", (u32::from_be_bytes(four) & 0x7fff_ffff) % 1_000_000)
}
