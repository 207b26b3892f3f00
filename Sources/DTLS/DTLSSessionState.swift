internal import CWolfSSL
internal import Glibc
package import Secrets

/// What is needed to go on with an established session of a server, in this process or in the next one.
///
/// It holds the live keys of the session, in memory that is overwritten when the last copy goes away. Whoever restores it
/// twice, or restores it while the session that it came from goes on, uses nonces twice, which gives the keys away:
/// ``DTLSSession/exportState()`` therefore ends the session, and who stores the state has to see to the rest.
///
/// Where the peer is, is not part of it: with a connection ID the peer may have moved since, and only the owner of the
/// session knows. A value may be used on any thread.
package struct DTLSSessionState: Sendable {
    /// Proved by the peer in the handshake.
    package let identity: PSKIdentity
    package let suite: CipherSuite
    /// What the peer's records name the session by; nil when they name it by its address alone.
    package let connectionID: ConnectionID?

    /// What the client wants in our records, at most ``longestClientID`` bytes; empty: nothing.
    let clientID: [UInt8]
    /// The highest number of a record that was opened.
    let newestNumber: UInt64
    /// wolfSSL's own form: keys, sequence numbers, replay window. See ``LibraryExport``.
    let export: Secret
    /// The library that wrote `export`; no other one reads it.
    let library: UInt32

    /// The most that one encoded state can have, in bytes. About 430 are usual.
    package static let maximumEncodedLength =
        Self.headerLength + ConnectionID.byteCount + PSKIdentity.maximumLength + Self.longestClientID
        + Self.longestExport + Self.checksumLength

    static let longestClientID = 16
    /// wolfSSL 5.9.2 needs at most 514.
    static let longestExport = 768

    private static let formatVersion: UInt8 = 1
    /// Version, flags, library, suite, newest number, and the lengths of identity, client's ID and export.
    private static let headerLength = 1 + 1 + 4 + 2 + 8 + 1 + 1 + 2
    private static let checksumLength = 16
    private static let hasConnectionID: UInt8 = 1

    init(
        identity: PSKIdentity, suite: CipherSuite, connectionID: ConnectionID?, clientID: [UInt8], newestNumber: UInt64,
        export: Secret
    ) {
        self.identity = identity
        self.suite = suite
        self.connectionID = connectionID
        self.clientID = clientID
        self.newestNumber = newestNumber
        self.export = export
        self.library = wolfSSL_lib_version_hex()
    }

    /// Appends the state in clear: what `bytes` hold afterwards is as secret as a key. Room for
    /// ``maximumEncodedLength`` should be reserved, because an array that grows leaves a copy behind.
    package func encode(into bytes: inout [UInt8]) {
        let start = bytes.count
        bytes.append(Self.formatVersion)
        bytes.append(self.connectionID == nil ? 0 : Self.hasConnectionID)
        Self.append(self.library, to: &bytes)
        Self.append(self.suite.rawValue, to: &bytes)
        Self.append(self.newestNumber, to: &bytes)
        bytes.append(UInt8(truncatingIfNeeded: self.identity.bytes.count))
        bytes.append(UInt8(truncatingIfNeeded: self.clientID.count))
        Self.append(UInt16(truncatingIfNeeded: self.export.count), to: &bytes)
        self.connectionID?.withBytes { bytes.append(contentsOf: $0) }
        bytes.append(contentsOf: self.identity.bytes)
        bytes.append(contentsOf: self.clientID)
        self.export.withUnsafeBytes { bytes.append(contentsOf: $0) }
        let checksum = bytes.withUnsafeBytes { Self.checksum(UnsafeRawBufferPointer(rebasing: $0[start...])) }
        // Without one the state would not be read again, which is what a library that cannot compute it deserves.
        if let checksum { bytes.append(contentsOf: checksum) }
    }

    /// Reads what ``encode(into:)`` wrote: one state, and nothing after it. The checksum finds damage, not intent: who
    /// can write a state can make a session, so keep the bytes sealed.
    ///
    /// - Throws: `savedState`.
    package init(decoding bytes: UnsafeRawBufferPointer) throws(DTLSError) {
        guard bytes.count > Self.checksumLength, bytes.count <= Self.maximumEncodedLength else { throw Self.damaged }
        let content = UnsafeRawBufferPointer(rebasing: bytes.dropLast(Self.checksumLength))
        let sum = bytes.suffix(Self.checksumLength)
        guard let checksum = Self.checksum(content), checksum.elementsEqual(sum) else { throw Self.damaged }

        var cursor = ByteCursor(content)
        guard cursor.takeNumber(bytes: 1) == Int(Self.formatVersion) else {
            throw .savedState("it was written by another version of the program")
        }
        guard
            let flags = cursor.takeNumber(bytes: 1), flags <= Int(Self.hasConnectionID),
            let library = cursor.takeNumber(bytes: 4),
            let suite = cursor.takeNumber(bytes: 2),
            let high = cursor.takeNumber(bytes: 4), let low = cursor.takeNumber(bytes: 4),
            let identityLength = cursor.takeNumber(bytes: 1),
            let clientLength = cursor.takeNumber(bytes: 1), clientLength <= Self.longestClientID,
            let exportLength = cursor.takeNumber(bytes: 2), exportLength <= Self.longestExport
        else { throw Self.damaged }
        var connectionID: ConnectionID?
        if flags == Int(Self.hasConnectionID) {
            guard let id = cursor.take(ConnectionID.byteCount).flatMap({ ConnectionID(bytes: $0) }) else {
                throw Self.damaged
            }
            connectionID = id
        }
        guard
            let identity = cursor.take(identityLength).flatMap({ PSKIdentity($0) }),
            let clientID = cursor.take(clientLength), clientID.isEmpty || connectionID != nil,
            let export = cursor.take(exportLength), cursor.isAtEnd
        else { throw Self.damaged }
        guard UInt32(truncatingIfNeeded: library) == wolfSSL_lib_version_hex() else {
            throw .savedState("it was written with another version of wolfSSL")
        }
        guard let suite = CipherSuite(rawValue: UInt16(truncatingIfNeeded: suite)), LibraryExport.isWhole(export) else {
            throw Self.damaged
        }
        self.identity = identity
        self.suite = suite
        self.connectionID = connectionID
        self.clientID = Array(clientID)
        self.newestNumber = UInt64(truncatingIfNeeded: high) << 32 | UInt64(truncatingIfNeeded: low)
        self.export = Secret(copying: export)
        self.library = UInt32(truncatingIfNeeded: library)
    }

    private static var damaged: DTLSError { .savedState("it is damaged") }

    private static func append(_ value: some FixedWidthInteger, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }

    /// Half of a SHA-256 with a prefix of its own.
    private static func checksum(_ bytes: UnsafeRawBufferPointer) -> ArraySlice<UInt8>? {
        let label: StaticString = "bootgate session"
        var piece = bootgate_bytes(start: bytes.baseAddress, count: UInt32(truncatingIfNeeded: bytes.count))
        var sum = [UInt8](repeating: 0, count: 32)
        let result = bootgate_cookie(label.utf8Start, UInt32(label.utf8CodeUnitCount), &piece, 1, &sum)
        return result == 0 ? sum.prefix(Self.checksumLength) : nil
    }
}

extension DTLSSessionState: CustomStringConvertible, CustomReflectable {
    package var description: String { "DTLSSessionState(\(self.identity), \(self.suite))" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
