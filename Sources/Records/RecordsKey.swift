internal import Crypto
internal import Foundation
internal import GRDB
internal import Glibc
internal import Secrets

/// The key that encrypts keys at rest: ChaCha20-Poly1305, a random nonce per value, and the row that the value belongs
/// to as associated data, so that a sealed key cannot be moved to another row.
///
/// A value may be used on any thread.
struct RecordsKey: Sendable {
    /// Bytes of a records key.
    static let byteCount = 32

    /// What a sealed value belongs to.
    enum Row {
        case sim(iccid: String)
        case credential(PSKIdentity)
        /// What upstream wrote, beside the one-time credential of this identity.
        case upstream(PSKIdentity)
        /// The same beside the plain grant of this number.
        case upstreamOfGrant(Int64)
        /// The value that tells a right records key from a wrong one.
        case check

        var associatedData: [UInt8] {
            switch self {
            case .sim(let iccid): Array("bootgate.sim\0".utf8) + iccid.utf8
            case .credential(let identity): Array("bootgate.credential\0".utf8) + identity.bytes
            case .upstream(let identity): Array("bootgate.upstream\0".utf8) + identity.bytes
            case .upstreamOfGrant(let id): Array("bootgate.upstream-of-grant\0\(id)".utf8)
            case .check: Array("bootgate.check".utf8)
            }
        }
    }

    private let key: SymmetricKey

    init(_ secret: Secret) { self.key = secret.withUnsafeBytes { SymmetricKey(data: $0) } }

    /// A key of its own for saved sessions, from which this one cannot be found.
    static func vaultKey(from secret: Secret) -> SymmetricKey {
        secret.withUnsafeBytes { bytes in
            HKDF<SHA256>.deriveKey(
                inputKeyMaterial: SymmetricKey(data: bytes), info: Array("bootgate.session-vault".utf8),
                outputByteCount: 32
            )
        }
    }

    /// Nonce, ciphertext and tag in one.
    ///
    /// - Parameter nonce: 12 random bytes that are used this once; nil: fresh ones.
    func seal(_ secret: Secret, for row: Row, nonce: ChaChaPoly.Nonce? = nil) throws -> Data {
        try secret.withUnsafeBytes { bytes in
            try ChaChaPoly.seal(bytes, using: self.key, nonce: nonce, authenticating: row.associatedData).combined
        }
    }

    /// Nil when the value was sealed with another key or for another row, or was changed.
    func open(_ sealed: UnsafeRawBufferPointer, for row: Row) -> Secret? {
        guard let box = try? ChaChaPoly.SealedBox(combined: sealed),
            var plain = try? ChaChaPoly.open(box, using: self.key, authenticating: row.associatedData)
        else { return nil }
        return plain.withUnsafeMutableBytes { bytes in
            defer { if let base = bytes.baseAddress { explicit_bzero(base, bytes.count) } }
            return Secret(copying: UnsafeRawBufferPointer(bytes))
        }
    }

    func open(_ sealed: Data, for row: Row) -> Secret? { sealed.withUnsafeBytes { self.open($0, for: row) } }

    private static let checkName = "records-key-check"

    /// Compares with the check value of the store; false where a new store has none yet.
    func isChecked(in db: Database, file: String) throws -> Bool {
        let sql = "SELECT value FROM meta WHERE name = ?"
        guard let sealed = try Data.fetchOne(db, sql: sql, arguments: [Self.checkName]) else { return false }
        guard self.open(sealed, for: .check) != nil else {
            throw RecordsError(
                .wrongKey,
                "the records key is not the one that \(file) was made with",
                remedy: "restore the right key file; without it the keys in \(file) cannot be read"
            )
        }
        return true
    }

    /// The same, and leaves one in a new store. Called at open, inside a write.
    func check(in db: Database, file: String) throws {
        if try self.isChecked(in: db, file: file) { return }
        let sealed = try self.seal(Secret("bootgate".utf8), for: .check)
        try db.execute(sql: "INSERT INTO meta (name, value) VALUES (?, ?)", arguments: [Self.checkName, sealed])
    }
}

/// Random nonces of which many come with one call of the operating system's generator. Belongs to one thread.
final class Nonces {
    private static let byteCount = 12
    private static let batch = 20

    private var bytes = Secret(EmptyCollection<UInt8>())
    private var used = 0

    func next() throws -> ChaChaPoly.Nonce {
        if self.used == self.bytes.count {
            self.bytes = Secret.random(count: Self.batch * Self.byteCount)
            self.used = 0
        }
        defer { self.used += Self.byteCount }
        return try self.bytes.withUnsafeBytes {
            try ChaChaPoly.Nonce(data: $0[self.used..<(self.used + Self.byteCount)])
        }
    }
}
