-- Users, their passwords and second factors, sessions, revoked tokens, signing keys.

CREATE TABLE users (
    seq                 INTEGER PRIMARY KEY AUTOINCREMENT, -- the number that some dialects show; never given twice
    id                  TEXT    NOT NULL UNIQUE,
    login               TEXT    NOT NULL UNIQUE,           -- in its one canonical spelling
    state               TEXT    NOT NULL,
    attributes          TEXT    NOT NULL,                  -- a JSON object
    permissions         TEXT    NOT NULL,                  -- JSON
    created_at          INTEGER NOT NULL,
    password_changed_at INTEGER,
    passwords_made      INTEGER NOT NULL DEFAULT 0,        -- numbers of passwords are not given twice either
    revision            INTEGER NOT NULL DEFAULT 0         -- counts changes of state, passwords and second factor
) STRICT;

CREATE TABLE passwords (
    user       TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    number     INTEGER NOT NULL,                           -- 1 for the first of the user
    phc        TEXT    NOT NULL,                           -- the hash with its parameters and salt
    created_at INTEGER NOT NULL,
    PRIMARY KEY (user, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE totps (
    user         TEXT PRIMARY KEY NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    sealed       BLOB NOT NULL,                            -- the seed, encrypted
    created_at   INTEGER NOT NULL,
    confirmed_at INTEGER,                                  -- before that it is an enrolment under way
    last_step    INTEGER                                   -- the latest step whose code was spent
) STRICT, WITHOUT ROWID;

CREATE TABLE recovery_codes (
    user    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    digest  BLOB NOT NULL CHECK (length(digest) = 32),
    used_at INTEGER,
    PRIMARY KEY (user, digest)
) STRICT, WITHOUT ROWID;

-- A session outlives its user: until its last token has expired, its end has to be known.
CREATE TABLE sessions (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT    NOT NULL UNIQUE,
    user             TEXT    NOT NULL,
    app              TEXT,
    dialect          TEXT    NOT NULL,
    address          TEXT    NOT NULL,
    agent            TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    tokens_until     INTEGER NOT NULL,                     -- the end of its latest token
    refresh_counter  INTEGER NOT NULL DEFAULT 0,           -- the generation of the refresh token in force
    refreshed_at     INTEGER,
    refresh_idle_ms  INTEGER,                              -- null: it cannot be refreshed
    refresh_until    INTEGER,                              -- when idleness ends it
    refresh_last     INTEGER,                              -- when it ends whatever happens
    ended_at         INTEGER,
    end_reason       TEXT,
    -- From here on nothing of it is good any more, ended or not.
    over_at          INTEGER AS (max(tokens_until, iif(ended_at IS NULL, coalesce(refresh_until, 0), 0)))
) STRICT;

CREATE INDEX sessions_user ON sessions (user, seq);
CREATE INDEX sessions_app ON sessions (app) WHERE app IS NOT NULL;
CREATE INDEX sessions_over ON sessions (over_at);
CREATE INDEX sessions_ended ON sessions (seq) WHERE ended_at IS NOT NULL;

CREATE TABLE revoked_tokens (
    jti        TEXT PRIMARY KEY NOT NULL,
    until      INTEGER NOT NULL,                           -- when the token expires by itself
    revoked_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX revoked_tokens_until ON revoked_tokens (until);

CREATE TABLE signing_keys (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    kid            TEXT    NOT NULL UNIQUE,
    family         TEXT    NOT NULL,
    algorithm      TEXT    NOT NULL,
    sealed         BLOB    NOT NULL,                       -- the private or shared key, encrypted
    public         TEXT,                                   -- the public key as a JWK
    created_at     INTEGER NOT NULL,
    signs_from     INTEGER NOT NULL,
    retired_at     INTEGER,
    verifies_until INTEGER                                 -- set when it is retired
) STRICT;
