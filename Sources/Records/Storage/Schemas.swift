internal import GRDB

/// The forms of the two files, oldest first. A form that was released is never edited: the next one is added.
enum Schemas {
    /// `sims.db`: written by people through commands and the admin interface.
    static var sims: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1") { db in
            try db.execute(
                sql: """
                    CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;

                    CREATE TABLE sims (
                        id INTEGER PRIMARY KEY,
                        iccid TEXT NOT NULL UNIQUE,
                        imsi TEXT, imei TEXT, msisdn TEXT, device_id TEXT,
                        endpoint TEXT NOT NULL,
                        endpoint_policy TEXT NOT NULL,
                        identity BLOB NOT NULL UNIQUE,
                        sealed_key BLOB,
                        addresses TEXT,
                        status TEXT NOT NULL,
                        profile TEXT NOT NULL,
                        sim_group TEXT,
                        note TEXT
                    );
                    CREATE INDEX sims_by_group ON sims (sim_group, iccid) WHERE sim_group IS NOT NULL;
                    CREATE INDEX sims_by_status ON sims (status, iccid) WHERE status <> 'active';

                    -- The prefixes of `sims.addresses` once more, as look-ups by source address need them. An IPv4
                    -- prefix is here in its mapped form, so `length` runs from 0 to 128.
                    CREATE TABLE addresses (
                        length INTEGER NOT NULL,
                        base BLOB NOT NULL,
                        iccid TEXT NOT NULL,
                        PRIMARY KEY (length, base)
                    ) WITHOUT ROWID;
                    CREATE INDEX addresses_by_iccid ON addresses (iccid);

                    -- What a running gateway has to look at again; no iccid: everything.
                    CREATE TABLE changes (seq INTEGER PRIMARY KEY AUTOINCREMENT, iccid TEXT);

                    -- What the audit journal still has to be told. `uid` survives into the journal, where it shows
                    -- after a crash that a row was told already.
                    CREATE TABLE outbox (
                        id INTEGER PRIMARY KEY AUTOINCREMENT,
                        uid INTEGER NOT NULL,
                        at INTEGER NOT NULL,
                        event TEXT NOT NULL,
                        iccid TEXT,
                        detail TEXT NOT NULL
                    );

                    -- Credentials of this SIM that were minted up to `at` no longer count. Rows go some time after the
                    -- gateway has written it down in the other file.
                    CREATE TABLE revocations (
                        iccid TEXT PRIMARY KEY NOT NULL,
                        at INTEGER NOT NULL,
                        applied INTEGER NOT NULL DEFAULT 0
                    ) WITHOUT ROWID;
                    """
            )
        }
        migrator.registerMigration("narrow revocations") { db in
            try db.execute(
                sql: """
                    -- Why; one of the causes of the audit journal.
                    ALTER TABLE revocations ADD COLUMN cause TEXT;

                    -- The same for the credentials of one server, or for a single one. An empty server or identity is
                    -- any.
                    CREATE TABLE narrow_revocations (
                        iccid TEXT NOT NULL,
                        server TEXT NOT NULL,
                        identity BLOB NOT NULL,
                        at INTEGER NOT NULL,
                        applied INTEGER NOT NULL DEFAULT 0,
                        PRIMARY KEY (iccid, server, identity)
                    ) WITHOUT ROWID;
                    """
            )
        }
        migrator.registerMigration("rebootstraps") { db in
            try db.execute(
                sql: """
                    -- Devices that are to bootstrap again. `uid` tells a newer order from the one that it replaced.
                    CREATE TABLE rebootstraps (
                        iccid TEXT PRIMARY KEY NOT NULL,
                        uid INTEGER NOT NULL,
                        at INTEGER NOT NULL
                    ) WITHOUT ROWID;
                    """
            )
        }
        migrator.registerMigration("traces") { db in
            try db.execute(
                sql: """
                    -- SIMs whose messages a running gateway logs until then.
                    CREATE TABLE traces (
                        iccid TEXT PRIMARY KEY NOT NULL,
                        until INTEGER NOT NULL
                    ) WITHOUT ROWID;
                    """
            )
        }
        return migrator
    }

    /// `credentials.db`: written by the data path.
    static var credentials: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("1") { db in
            try db.execute(
                sql: """
                    CREATE TABLE meta (name TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;

                    -- The credentials of one SIM lie side by side, oldest first, so that minting one, ending another
                    -- and forgetting a third changes one page. `id` grows with the order of minting. What else one
                    -- would like to find quickly has no index: it would cost every bootstrap a page or two.
                    CREATE TABLE credentials (
                        iccid TEXT NOT NULL,
                        server TEXT NOT NULL,
                        id INTEGER NOT NULL,
                        identity BLOB NOT NULL,
                        sealed_key BLOB NOT NULL,
                        fingerprint TEXT NOT NULL,
                        endpoint TEXT NOT NULL,
                        short_server_id INTEGER NOT NULL,
                        state TEXT NOT NULL,
                        minted_at INTEGER NOT NULL,
                        proven_at INTEGER,
                        succeeded_at INTEGER,
                        ended_at INTEGER,
                        PRIMARY KEY (iccid, server, id)
                    ) WITHOUT ROWID;
                    CREATE UNIQUE INDEX credentials_by_identity ON credentials (identity);
                    """
            )
        }
        // What upstream wrote for the registration leg, where the relay shows it to the server.
        migrator.registerMigration("2") { db in
            try db.execute(sql: "ALTER TABLE credentials ADD COLUMN sealed_upstream BLOB")
        }
        migrator.registerMigration("plain grants") { db in
            try db.execute(
                sql: """
                    CREATE TABLE grants (
                        id INTEGER PRIMARY KEY AUTOINCREMENT,
                        uid INTEGER NOT NULL UNIQUE,
                        iccid TEXT NOT NULL,
                        endpoint TEXT NOT NULL,
                        server TEXT NOT NULL,
                        short_server_id INTEGER NOT NULL,
                        state TEXT NOT NULL,
                        minted_at INTEGER NOT NULL,
                        proven_at INTEGER,
                        succeeded_at INTEGER,
                        ended_at INTEGER
                    );
                    CREATE INDEX grants_by_sim ON grants (iccid, server, id);
                    CREATE INDEX grants_pending ON grants (minted_at) WHERE state = 'pending';
                    CREATE INDEX grants_succeeded ON grants (succeeded_at)
                        WHERE state = 'active' AND succeeded_at IS NOT NULL;
                    CREATE INDEX grants_ended ON grants (ended_at) WHERE ended_at IS NOT NULL;
                    """
            )
        }
        migrator.registerMigration("publications") { db in
            try db.execute(
                sql: """
                    -- What servers that terminate DTLS themselves hold. An empty identity: one key for each endpoint.
                    -- `held` is what the server is known to hold, `due_at` when it has to be looked at.
                    CREATE TABLE publications (
                        id INTEGER PRIMARY KEY AUTOINCREMENT,
                        server TEXT NOT NULL,
                        iccid TEXT NOT NULL,
                        endpoint TEXT NOT NULL,
                        identity BLOB NOT NULL,
                        held BLOB,
                        due_at INTEGER,
                        attempts INTEGER NOT NULL DEFAULT 0,
                        version INTEGER NOT NULL DEFAULT 0,
                        UNIQUE (server, endpoint, identity)
                    );
                    CREATE INDEX publications_by_sim ON publications (iccid, server);
                    CREATE INDEX publications_due ON publications (due_at) WHERE due_at IS NOT NULL;
                    """
            )
        }
        // As for credentials: what the relay shows to the server of a device that came plain.
        migrator.registerMigration("upstream of grants") { db in
            try db.execute(sql: "ALTER TABLE grants ADD COLUMN sealed_upstream BLOB")
        }
        migrator.registerMigration("bootstrap places") { db in
            try db.execute(
                sql: """
                    -- The instance of object 0 that is the bootstrap account of the SIM's device; null: it does not tell.
                    CREATE TABLE bootstrap_places (iccid TEXT PRIMARY KEY NOT NULL, instance INTEGER) WITHOUT ROWID;
                    """
            )
        }
        migrator.registerMigration("session generation") { db in
            try db.execute(
                sql: """
                    -- Which file of saved sessions is valid; one row. It changes with every start of the gateway.
                    CREATE TABLE session_generation (
                        id INTEGER PRIMARY KEY CHECK (id = 1),
                        number INTEGER NOT NULL,
                        token BLOB NOT NULL
                    );
                    """
            )
        }
        return migrator
    }
}
