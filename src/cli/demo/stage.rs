//! What the demonstration needs before it can begin: a folder with a configuration, a store with an
//! application, and a key that signs tokens.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Context;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::clock::Timestamp;
use crate::credentials::AppKey;
use crate::id::AppId;
use crate::jwt::Algorithm;
use crate::jwt::TokenSigner;
use crate::secret::Secret;
use crate::store::AppName;
use crate::store::NewApp;
use crate::store::NewSecret;
use crate::store::Store;
use crate::store::StoreAddress;

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
}

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
        let (app, key) = create_app(&folder.0, now).await?;
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
            folder,
        })
    }

    /// The configuration file.
    pub(super) fn configuration(&self) -> PathBuf {
        self.folder.0.join(FILE)
    }

    /// Removes the folder, and says so when that fails.
    pub(super) fn strike(self) -> anyhow::Result<()> {
        let path = self.folder.0.clone();
        self.folder.remove().with_context(|| format!("cannot remove {}", path.display()))
    }
}

async fn create_app(folder: &Path, now: Timestamp) -> anyhow::Result<(AppId, Secret<String>)> {
    let id = AppKey::new_id(random()?);
    let key = AppKey::new(&id, &random()?);
    let name = AppName::parse("demo").context("the name of the application")?;
    let secret = NewSecret { digest: key.digest(), expires_at: None };
    let app = NewApp { id: id.clone(), name, scopes: Vec::new(), secret };
    let address = StoreAddress::parse(&format!("sqlite:{}", folder.join("demo.db").display()))?;
    let store = Store::open(&address).await?;
    let created = store.create_app(&app, now).await;
    store.close().await;
    created?;
    Ok((id, Secret::new((*key.text().expose()).to_owned())))
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
