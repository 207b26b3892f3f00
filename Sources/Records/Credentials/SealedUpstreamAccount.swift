internal import Foundation
internal import Gateway
internal import Glibc
internal import Secrets

/// An ``UpstreamAccount`` as one sealed value beside the one-time key or the plain grant: the length of the URI in two bytes, the URI, the
/// length of the identity in one byte, the identity, the key.
enum SealedUpstreamAccount {
    static func seal(_ account: UpstreamAccount, for row: RecordsKey.Row, with key: RecordsKey) throws -> Data {
        let uri = Array(account.uri.utf8.prefix(Int(UInt16.max)))
        let upstream = account.credentials
        var bytes = [UInt8(uri.count >> 8), UInt8(uri.count & 0xFF)] + uri
        bytes.append(UInt8(clamping: upstream.identity.bytes.count))
        bytes += upstream.identity.bytes
        // No second copy of the key may stay behind where the array had to grow.
        bytes.reserveCapacity(bytes.count + upstream.key.count)
        upstream.key.withUnsafeBytes { bytes.append(contentsOf: $0) }
        defer { explicit_bzero(&bytes, bytes.count) }
        return try key.seal(Secret(bytes), for: row)
    }

    /// Nil for a value that was sealed with another key or for another row, or is damaged.
    static func open(_ sealed: UnsafeRawBufferPointer, for row: RecordsKey.Row, with key: RecordsKey)
        -> UpstreamAccount?
    {
        key.open(sealed, for: row)?.withUnsafeBytes { bytes in
            guard bytes.count > 2 else { return nil }
            let uriEnd = 2 + (Int(bytes[0]) << 8 | Int(bytes[1]))
            guard bytes.count > uriEnd else { return nil }
            let identityEnd = uriEnd + 1 + Int(bytes[uriEnd])
            guard bytes.count > identityEnd, let upstream = PSKIdentity(bytes[(uriEnd + 1)..<identityEnd]) else {
                return nil
            }
            let secret = Secret(copying: UnsafeRawBufferPointer(rebasing: bytes[identityEnd...]))
            return UpstreamAccount(
                uri: String(decoding: bytes[2..<uriEnd], as: UTF8.self),
                credentials: PreSharedKey(identity: upstream, key: secret)
            )
        }
    }
}
