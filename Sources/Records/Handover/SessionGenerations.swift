internal import Foundation
internal import GRDB
internal import Secrets

/// Which sealed file of sessions is valid: the one that was written under this number and this token. Both change with
/// every start of the gateway, so a file is worth nothing once a gateway has started after it was written.
struct SessionGeneration: Sendable, Equatable {
    static let tokenLength = 16

    /// Counts the starts.
    let number: Int64
    /// Random: a store that a backup has brought back counts on from an older number, and must not take a file that an
    /// earlier life of the store wrote under the same one.
    let token: [UInt8]
}

/// The place where the valid generation is written down: a row of `credentials.db`. As functions, so that a test can be
/// the process that ends in the middle.
struct SessionGenerations: Sendable {
    /// The generation since the last ``advance``; nil when there was none yet.
    let current: @Sendable () throws -> SessionGeneration?
    /// Replaces the generation by the next one, on disk when it returns, and gives back the one that was valid until then.
    let advance: @Sendable () throws -> SessionGeneration?

    init(
        current: @escaping @Sendable () throws -> SessionGeneration?,
        advance: @escaping @Sendable () throws -> SessionGeneration?
    ) {
        self.current = current
        self.advance = advance
    }

    init(file: StoreFile, pool: DatabasePool) {
        self.init(
            current: { try file.translating { try pool.read { try Self.read($0) } } },
            advance: {
                try file.translating {
                    try pool.writeWithoutTransaction { db in
                        var former: SessionGeneration?
                        try db.inTransaction(.immediate) {
                            former = try Self.read(db)
                            let token = Secret.random(count: SessionGeneration.tokenLength).withUnsafeBytes {
                                Array($0)
                            }
                            try Self.write(SessionGeneration(number: (former?.number ?? 0) &+ 1, token: token), db)
                            return .commit
                        }
                        return former
                    }
                }
            }
        )
    }

    private static func read(_ db: Database) throws -> SessionGeneration? {
        guard let row = try Row.fetchOne(db, sql: "SELECT number, token FROM session_generation WHERE id = 1") else {
            return nil
        }
        let token: [UInt8] = try row.decode(Data?.self, atIndex: 1).map { Array($0) } ?? []
        return SessionGeneration(number: try row.decode(atIndex: 0), token: token)
    }

    private static func write(_ generation: SessionGeneration, _ db: Database) throws {
        try db.execute(
            sql: """
                INSERT INTO session_generation (id, number, token) VALUES (1, ?1, ?2) \
                ON CONFLICT (id) DO UPDATE SET number = excluded.number, token = excluded.token
                """,
            arguments: [generation.number, Data(generation.token)]
        )
    }
}
