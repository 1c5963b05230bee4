-- Applications and the digests of their keys. Instants are milliseconds since the epoch.

CREATE TABLE apps (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT, -- order of creation, for paging
    id         TEXT    NOT NULL UNIQUE,
    name       TEXT    NOT NULL,
    scopes     TEXT    NOT NULL,                  -- words separated by one space
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

-- A revoked application gives its name back.
CREATE UNIQUE INDEX apps_live_name ON apps (name) WHERE revoked_at IS NULL;

CREATE TABLE app_secrets (
    app          TEXT    NOT NULL REFERENCES apps (id),
    number       INTEGER NOT NULL,                -- 1 for the first of the application
    digest       BLOB    NOT NULL UNIQUE CHECK (length(digest) = 32),
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER,
    PRIMARY KEY (app, number)
) STRICT, WITHOUT ROWID;

-- What running gateways read to learn what they must forget.
CREATE TABLE changes (
    seq  INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT    NOT NULL,
    id   TEXT    NOT NULL,
    at   INTEGER NOT NULL
) STRICT;
