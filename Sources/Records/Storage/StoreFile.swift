internal import Foundation
internal import GRDB
internal import Gateway
internal import Glibc

/// One SQLite file of the state folder: how it is opened, brought to the newest form, and how its errors read.
struct StoreFile: Sendable {
    let path: String
    let busyTimeout: Duration

    /// The file's own name, for messages.
    var name: String { self.path.split(separator: "/").last.map(String.init) ?? self.path }

    /// Whether there is a store with something in it.
    var exists: Bool {
        var status = stat()
        return stat(self.path, &status) == 0 && status.st_size > 0
    }

    /// Throws if a newer version of the program has written the file. Changes nothing.
    func refuseNewer(than migrator: DatabaseMigrator) throws(RecordsError) {
        guard self.exists else { return }
        let isNewer = try self.translating {
            let queue = try self.reader(label: "schema.\(self.name)")
            defer { try? queue.close() }
            return try queue.read { try migrator.hasBeenSuperseded($0) }
        }
        guard isNewer else { return }
        throw RecordsError(
            .newerSchema,
            "\(self.path) was written by a newer version of the program; nothing was changed",
            remedy:
                "run that version, or put back the copy that it made beside the file before it changed it, \(self.name).form-N"
        )
    }

    /// Opens the file for writing, makes it if it does not exist (mode 0600), and migrates it, after a copy of the form that
    /// it had: see ``copyBefore(migrator:_:)``.
    ///
    /// Every commit is on disk when it returns: WAL with `synchronous = FULL`.
    func open(migrator: DatabaseMigrator, key: RecordsKey) throws(RecordsError) -> DatabasePool {
        try self.create()
        return try self.translating { () throws -> DatabasePool in
            var configuration = self.configuration(label: "records.\(self.name)")
            configuration.maximumReaderCount = 2
            let pool = try DatabasePool(path: self.path, configuration: configuration)
            try self.copyBefore(migrator: migrator, pool)
            try migrator.migrate(pool)
            try pool.writeWithoutTransaction { db in
                // The pool sets NORMAL, under which a power cut may take the last commits away.
                try db.execute(sql: "PRAGMA synchronous = FULL")
                // The pages that a day's bootstraps change: reading one back costs as much as writing it.
                try db.execute(sql: "PRAGMA cache_size = -16384")
                // Read where that will do: an import keeps the lock for a minute, and whoever only looks can go on.
                if try key.isChecked(in: db, file: self.name) { return }
                try db.inTransaction(.immediate) {
                    try key.check(in: db, file: self.name)
                    return .commit
                }
            }
            return pool
        }
    }

    /// A connection of its own that only reads. `attached` is read beside it, under that schema name.
    func reader(label: String, attaching attached: (file: StoreFile, schema: String)? = nil) throws(RecordsError)
        -> DatabaseQueue
    {
        try self.translating { () throws -> DatabaseQueue in
            var configuration = self.configuration(label: label)
            configuration.readonly = true
            // The upper levels of the indices of a few hundred thousand records; the rest is the system's to cache.
            configuration.prepareDatabase { db in try db.execute(sql: "PRAGMA cache_size = -16384") }
            if let attached {
                configuration.prepareDatabase { db in
                    try db.execute(
                        sql: "ATTACH DATABASE ? AS \(attached.schema)",
                        arguments: [attached.file.path]
                    )
                }
            }
            return try DatabaseQueue(path: self.path, configuration: configuration)
        }
    }

    /// Runs `body` and says what its errors mean for this file.
    func translating<T>(_ body: () throws -> T) throws(RecordsError) -> T {
        do { return try body() } catch { throw self.explain(error) }
    }

    /// Whether `error` tells of the file, its disk or its locks, and not of what was asked of it.
    static func isAtFault(_ error: any Error) -> Bool {
        guard let error = error as? DatabaseError else { return false }
        switch error.resultCode {
        case .SQLITE_BUSY, .SQLITE_LOCKED, .SQLITE_PROTOCOL, .SQLITE_FULL, .SQLITE_IOERR, .SQLITE_READONLY,
            .SQLITE_CANTOPEN, .SQLITE_PERM, .SQLITE_CORRUPT, .SQLITE_NOTADB:
            return true
        default: return false
        }
    }

    /// What `error` means for this file. Statement arguments are never part of it.
    func explain(_ error: any Error) -> RecordsError {
        if let error = error as? RecordsError { return error }
        if error is RowDecodingError {
            return RecordsError(
                .damaged, "a row of \(self.path) does not hold what it should",
                remedy: "restore it from a backup; `sqlite3 \(self.path) .recover` may save what is left"
            )
        }
        guard let error = error as? DatabaseError else {
            return RecordsError(.internal, source: .gateway, "\(self.name): \(type(of: error))", remedy: "report this")
        }
        switch error.resultCode {
        case .SQLITE_NOTADB, .SQLITE_CORRUPT:
            return RecordsError(
                .damaged,
                "\(self.path) is damaged or not a database",
                remedy: "restore it from a backup; `sqlite3 \(self.path) .recover` may save what is left"
            )
        case .SQLITE_CANTOPEN, .SQLITE_READONLY, .SQLITE_PERM, .SQLITE_AUTH:
            return RecordsError(
                .cannotWrite,
                "cannot open \(self.path) for writing",
                remedy: "give the folder and the files in it to the gateway's user"
            )
        case .SQLITE_BUSY, .SQLITE_LOCKED, .SQLITE_PROTOCOL:
            return RecordsError(
                .unavailable,
                "another process is writing \(self.path)",
                remedy: "try again when it has ended; an import can take a minute"
            )
        case .SQLITE_FULL:
            return RecordsError(.unavailable, "no space left for \(self.path)", remedy: "free some space")
        case .SQLITE_IOERR, .SQLITE_NOMEM:
            return RecordsError(
                .unavailable,
                source: .gateway,
                "reading or writing \(self.path) failed (\(error.extendedResultCode))",
                remedy: "free some space if the disk is full, else check the disk"
            )
        default:
            return RecordsError(
                .internal,
                source: .gateway,
                "\(self.name): \(error.message ?? "error") (\(error.extendedResultCode.rawValue))",
                remedy: "report this"
            )
        }
    }

    private func configuration(label: String) -> Configuration {
        var configuration = Configuration()
        configuration.label = label
        configuration.busyMode = .timeout(
            Double(self.busyTimeout.components.seconds) + Double(self.busyTimeout.components.attoseconds) / 1e18
        )
        // Keys that lie sealed in the file must not lie open in its errors; the names of devices neither.
        configuration.publicStatementArguments = false
        // Page memory that held names is not handed to others as it was.
        configuration.prepareDatabase { db in try db.execute(sql: "PRAGMA secure_delete = FAST") }
        return configuration
    }

    /// SQLite makes files with the mode of the process; a store is for its owner alone. The write-ahead log takes
    /// after the file.
    private func create() throws(RecordsError) {
        let descriptor = Glibc.open(self.path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw RecordsError(
                .cannotWrite,
                "cannot open \(self.path) for writing: \(errorText(errno))",
                remedy: "give the folder and the files in it to the gateway's user"
            )
        }
        close(descriptor)
    }
}
