internal import GRDB
internal import Glibc

/// Whole copies of a store, made while others read and write it.
extension StoreFile {
    /// A store that is about to be migrated is copied first, as `sims.db.form-3` after the three migrations that it has had:
    /// the older program takes that copy, should it have to come back. A store that is new, or of today's form, is not.
    func copyBefore(migrator: DatabaseMigrator, _ pool: DatabasePool) throws {
        let (applied, isComplete) = try pool.read { db in
            (try migrator.appliedIdentifiers(db).count, try migrator.hasCompletedMigrations(db))
        }
        guard applied > 0, !isComplete else { return }
        try pool.writeWithoutTransaction { db in
            try self.copy(db, to: "\(self.path).form-\(applied)")
        }
    }

    /// Copies the store as it is at one moment to `path`, for its owner alone, and returns when the copy is on disk.
    func copy(to path: String) throws(RecordsError) {
        try self.translating {
            let queue = try self.reader(label: "copy.\(self.name)")
            defer { try? queue.close() }
            try queue.inDatabase { try self.copy($0, to: path) }
        }
    }

    /// What is not whole has another name.
    private func copy(_ db: Database, to path: String) throws {
        let part = "\(path).part-\(getpid())"
        let descriptor = Glibc.open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Self.cannotWrite(part) }
        defer {
            close(descriptor)
            unlink(part)
        }
        try db.execute(sql: "VACUUM INTO ?", arguments: [part])
        guard fsync(descriptor) == 0, rename(part, path) == 0 else { throw Self.cannotWrite(path) }
        synchronizeDirectory(of: path)
    }

    private static func cannotWrite(_ path: String) -> RecordsError {
        RecordsError(
            .cannotWrite, "cannot write \(path): \(errorText(errno))",
            remedy: "give the folder to the gateway's user, and see that there is space"
        )
    }
}
