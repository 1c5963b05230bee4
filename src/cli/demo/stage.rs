//! What the demonstration needs before it can begin: a folder with a configuration, a store with an
//! application, and a key that signs tokens.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use zeroize::Zeroizing;

use crate::account::{MasterKey, PasswordCost, Purpose, Totp, hash_password};
use crate::clock::Timestamp;
use crate::credentials::AppKey;
use crate::id::{AppId, UserId};
use crate::jwt::Algorithm;
use crate::jwt::TokenSigner;
use crate::secret::Secret;
use crate::store::AppName;
use crate::store::{Login, NewApp, NewSecret, NewUser, Store, StoreAddress, UserState};

/// The stage, set; the folder goes with it.
#[derive(Debug)]
pub(super) struct Stage {
    folder: Folder,
    /// The application that calls.
    pub(super) app: AppId,
    /// Its key.
    pub(super) key: Secret<String>,
    /// A key in the right form that nobody was given.
    pub(super) wrong_key: Secret<String>,
    /// A good token.
    pub(super) token: Secret<String>,
    /// The same, an hour ago.
    pub(super) expired: Secret<String>,
    /// The same, signed by somebody else under the name of our key.
    pub(super) forged: Secret<String>,
    /// The second factor of the user who has one.
    pub(super) totp: Totp,
    /// The key that seals what the gateway signs with.
    pub(super) master: MasterKey,
}

/// Who signs in.
pub(super) const LOGIN: &str = "anna@example.com";
/// Who signs in with a second factor.
pub(super) const LOGIN_WITH_FACTOR: &str = "berta@example.com";
/// The password of both.
pub(super) const PASSWORD: &str = "correct horse";
/// The customer that both belong to.
pub(super) const CUSTOMER: &str = "CustomerId_1";

/// On whose behalf requests are made.
pub(super) const USER: &str = "anna";

impl Stage {
    /// Writes everything into a new temporary folder.
    pub(super) async fn set(port: u16, echo: SocketAddr, now: Timestamp) -> anyhow::Result<Self> {
        let folder = Folder::create().context("no temporary folder can be made")?;
        let signer = TokenSigner::generate(Algorithm::EdDsa, Some(KID.to_owned()))?;
        let stranger = TokenSigner::generate(Algorithm::EdDsa, Some(KID.to_owned()))?;
        folder.write("keys.json", &json!({ "keys": [signer.public_jwk()] }).to_string())?;
        let configuration =
            CONFIGURATION.replace("PORT", &port.to_string()).replace("ECHO", &echo.to_string());
        folder.write(FILE, &configuration)?;
        let master = Zeroizing::new(random::<32>()?.map(|byte| format!("{byte:02x}")).concat());
        folder.write("master.key", &master)?;
        let address = folder.store()?;
        let store = Store::open(&address).await?;
        let set = async {
            let (app, key) = create_app(&store, now).await?;
            let totp = create_users(&store, &MasterKey::parse(master.as_bytes())?, now).await?;
            anyhow::Ok((app, key, totp))
        };
        let set = set.await;
        store.close().await;
        let (app, key, totp) = set?;
        let wrong_key = AppKey::new(&app, &random()?);
        let token = |signer: &TokenSigner, issued: i64| {
            signer.sign(&Map::new(), &claims(issued)).map(Secret::new)
        };
        Ok(Self {
            app,
            key,
            wrong_key: Secret::new((*wrong_key.text().expose()).to_owned()),
            token: token(&signer, now.seconds())?,
            expired: token(&signer, now.seconds().saturating_sub(2 * HOUR))?,
            forged: token(&stranger, now.seconds())?,
            totp,
            master: MasterKey::parse(master.as_bytes())?,
            folder,
        })
    }

    /// The configuration file.
    pub(super) fn configuration(&self) -> PathBuf {
        self.folder.0.join(FILE)
    }

    /// Where applications, users and keys are kept.
    pub(super) fn store(&self) -> anyhow::Result<StoreAddress> {
        self.folder.store()
    }

    /// Removes the folder, and says so when that fails.
    pub(super) fn strike(self) -> anyhow::Result<()> {
        let path = self.folder.0.clone();
        self.folder.remove().with_context(|| format!("cannot remove {}", path.display()))
    }
}

async fn create_app(store: &Store, now: Timestamp) -> anyhow::Result<(AppId, Secret<String>)> {
    let id = AppKey::new_id(random()?);
    let key = AppKey::new(&id, &random()?);
    let name = AppName::parse("demo").context("the name of the application")?;
    let secret = NewSecret { digest: key.digest(), expires_at: None };
    let app = NewApp { id: id.clone(), name, scopes: Vec::new(), secret };
    store.create_app(&app, now).await?;
    Ok((id, Secret::new((*key.text().expose()).to_owned())))
}

/// Two users with one password; the second has a second factor, which is returned.
async fn create_users(store: &Store, master: &MasterKey, now: Timestamp) -> anyhow::Result<Totp> {
    for login in [LOGIN, LOGIN_WITH_FACTOR] {
        let hash = hash_password(Secret::new(PASSWORD), PasswordCost::DEFAULT, &[])?;
        let attributes = json!({"CustomerId": CUSTOMER, "username": "anna", "name": "Anna"});
        let user = NewUser {
            id: UserId::generate(random()?),
            login: Login::parse(login).context("the name of a user")?,
            state: UserState::Active,
            attributes: attributes.as_object().cloned().unwrap_or_default(),
            unique: Vec::new(),
            permissions: json!({"Things": ["view"]}),
            password: Some(hash),
        };
        store.create_user(&user, now).await?;
        if login == LOGIN_WITH_FACTOR {
            let totp = Totp::new(random()?);
            let sealed = master.seal(Purpose::TotpSeed, user.id.as_str(), totp.seed().expose())?;
            store.set_totp(&user.id, &sealed, true, now).await?;
            return Ok(totp);
        }
    }
    bail!("no user has a second factor")
}

fn claims(issued: i64) -> Value {
    json!({
        "iss": "https://login.demo.test",
        "aud": "demo",
        "sub": USER,
        "permissions": ["orders:view", "orders:edit"],
        "iat": issued,
        "exp": issued.saturating_add(HOUR),
    })
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).context("no random bytes from the system")?;
    Ok(bytes)
}

/// A temporary folder that is removed with its handle, also when something fails before the end.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn create() -> anyhow::Result<Self> {
        let name = u64::from_be_bytes(random()?);
        let path = std::env::temp_dir().join(format!("portcullis-demo-{name:016x}"));
        // For nobody else: it holds a store of keys. One that is already there is refused.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let path = self.0.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn store(&self) -> anyhow::Result<StoreAddress> {
        Ok(StoreAddress::parse(&format!("sqlite:{}", self.0.join("demo.db").display()))?)
    }

    fn remove(&self) -> io::Result<()> {
        std::fs::remove_dir_all(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Removed already when all went well.
        drop(self.remove());
    }
}

const HOUR: i64 = 3600;
const KID: &str = "demo-key";
const FILE: &str = "portcullis.yaml";
const CONFIGURATION: &str = include_str!("demo.yaml");
