internal import Crypto
internal import Foundation
internal import Glibc
internal import Secrets

/// The form of the sealed file: a header, its keyed hash, and the body in parts that are sealed one by one with
/// AES-256-GCM. The key is made for each file from the vault's key and a random salt, so the number of a part can be its
/// nonce. A part is bound to its number and, through the hash, to everything in the header.
struct SealedSessions {
    /// What a file says about itself.
    struct Header: Equatable {
        /// Microseconds since 1970.
        var savedAt: Int64
        var generation: SessionGeneration
        var node: String
        /// The version of wolfSSL.
        var library: String
        var bodyLength: Int
        var salt: [UInt8]
    }

    /// More than 100,000 sessions have.
    static let maximumBodyLength = 64 << 20
    /// Of a whole file.
    static let maximumLength =
        Self.maximumBodyLength + Self.tagLength * (Self.maximumBodyLength / Self.partLength + 1)
        + Self.maximumHeaderLength + 2 + Self.hashLength

    private static let magic = Array("BGSESSION".utf8)
    private static let formatVersion: UInt8 = 1
    private static let saltLength = 32
    private static let hashLength = 32
    private static let tagLength = 16
    private static let partLength = 64 << 10
    private static let maximumNameLength = 1024
    private static let maximumHeaderLength = 4096

    let header: Header
    private let encodedHeader: [UInt8]
    private let hash: [UInt8]
    private let key: SymmetricKey

    /// A new file.
    init(
        savedAt: Int64, generation: SessionGeneration, node: String, library: String, bodyLength: Int, key: SymmetricKey
    ) {
        let salt = Secret.random(count: Self.saltLength).withUnsafeBytes { Array($0) }
        self.header = Header(
            savedAt: savedAt, generation: generation, node: node, library: library, bodyLength: bodyLength, salt: salt
        )
        var bytes = Self.magic + [Self.formatVersion]
        Self.append(UInt64(bitPattern: savedAt), bytes: 8, to: &bytes)
        Self.append(UInt64(bitPattern: generation.number), bytes: 8, to: &bytes)
        bytes += generation.token
        bytes += salt
        Self.append(UInt64(bodyLength), bytes: 8, to: &bytes)
        for name in [Self.name(node), Self.name(library)] {
            Self.append(UInt64(name.count), bytes: 2, to: &bytes)
            bytes += name
        }
        self.encodedHeader = bytes
        (self.key, self.hash) = Self.keys(salt: salt, header: bytes[...], key: key)
    }

    /// The file `bytes` up to its body, authenticated.
    ///
    /// - Throws: `otherFormat` or `damaged`.
    init(reading bytes: [UInt8], key: SymmetricKey) throws(SessionVaultError) {
        var reader = Reader(bytes: bytes)
        guard let length = reader.number(bytes: 2), length <= Self.maximumHeaderLength,
            let header = reader.take(length), let hash = reader.take(Self.hashLength)
        else { throw Self.damaged }
        var fields = Reader(bytes: Array(header))
        guard let magic = fields.take(Self.magic.count), magic.elementsEqual(Self.magic),
            let version = fields.number(bytes: 1)
        else { throw Self.damaged }
        guard version == Int(Self.formatVersion) else {
            throw SessionVaultError(.otherFormat, "another version of the program has written the saved sessions")
        }
        guard
            let savedAt = fields.number64(), let number = fields.number64(),
            let token = fields.take(SessionGeneration.tokenLength), let salt = fields.take(Self.saltLength),
            let bodyLength = fields.number64(), (0...Int64(Self.maximumBodyLength)).contains(bodyLength),
            let node = fields.name(limit: Self.maximumNameLength),
            let library = fields.name(limit: Self.maximumNameLength), fields.isAtEnd
        else { throw Self.damaged }
        self.header = Header(
            savedAt: savedAt, generation: SessionGeneration(number: number, token: Array(token)), node: node,
            library: library, bodyLength: Int(bodyLength), salt: Array(salt)
        )
        self.encodedHeader = Array(header)
        (self.key, self.hash) = Self.keys(salt: Array(salt), header: header, key: key)
        guard Self.isEqual(self.hash[...], hash), bytes.count == self.bodyOffset + self.sealedBodyLength else {
            throw Self.damaged
        }
    }

    /// Gives the bytes of the file to `write`, one part after the other.
    func seal(_ body: UnsafeRawBufferPointer, write: (UnsafeRawBufferPointer) throws -> Void) throws {
        var head: [UInt8] = []
        Self.append(UInt64(self.encodedHeader.count), bytes: 2, to: &head)
        head += self.encodedHeader + self.hash
        try head.withUnsafeBytes(write)
        for index in 0..<self.parts {
            let range = index * Self.partLength..<min((index + 1) * Self.partLength, body.count)
            let box = try AES.GCM.seal(
                UnsafeRawBufferPointer(rebasing: body[range]), using: self.key, nonce: Self.nonce(index),
                authenticating: self.hash
            )
            try box.ciphertext.withUnsafeBytes(write)
            try box.tag.withUnsafeBytes(write)
        }
    }

    /// The body of the file that this was read from. To be wiped by the caller.
    ///
    /// - Throws: `damaged`.
    func open(_ bytes: [UInt8]) throws(SessionVaultError) -> [UInt8] {
        var body: [UInt8] = []
        body.reserveCapacity(self.header.bodyLength)
        do {
            try bytes.withUnsafeBytes { bytes in
                var offset = self.bodyOffset
                for index in 0..<self.parts {
                    let count = min(Self.partLength, self.header.bodyLength - index * Self.partLength)
                    let tag = offset + count
                    let box = try AES.GCM.SealedBox(
                        nonce: Self.nonce(index), ciphertext: bytes[offset..<tag],
                        tag: bytes[tag..<(tag + Self.tagLength)]
                    )
                    var part = try AES.GCM.open(box, using: self.key, authenticating: self.hash)
                    part.withUnsafeMutableBytes { part in
                        body.append(contentsOf: part)
                        if let base = part.baseAddress { explicit_bzero(base, part.count) }
                    }
                    offset = tag + Self.tagLength
                }
            }
        } catch {
            body.wipe()
            throw Self.damaged
        }
        return body
    }

    private static var damaged: SessionVaultError {
        SessionVaultError(.damaged, "the saved sessions were changed, or sealed with another records key")
    }

    /// At least one: an empty body is authenticated as well.
    private var parts: Int { max(1, (self.header.bodyLength + Self.partLength - 1) / Self.partLength) }
    private var bodyOffset: Int { 2 + self.encodedHeader.count + Self.hashLength }
    private var sealedBodyLength: Int { self.header.bodyLength + self.parts * Self.tagLength }

    private static func keys(
        salt: [UInt8], header: ArraySlice<UInt8>, key: SymmetricKey
    ) -> (seal: SymmetricKey, hash: [UInt8]) {
        func derived(_ purpose: String) -> SymmetricKey {
            HKDF<SHA256>.deriveKey(
                inputKeyMaterial: key, salt: salt, info: Array("bootgate.sessions.\(purpose)".utf8), outputByteCount: 32
            )
        }
        return (derived("seal"), Array(HMAC<SHA256>.authenticationCode(for: header, using: derived("header"))))
    }

    private static func nonce(_ index: Int) throws -> AES.GCM.Nonce {
        var bytes: [UInt8] = [0, 0, 0, 0]
        Self.append(UInt64(index), bytes: 8, to: &bytes)
        return try AES.GCM.Nonce(data: bytes)
    }

    /// In a time that depends on the length alone.
    private static func isEqual(_ left: ArraySlice<UInt8>, _ right: ArraySlice<UInt8>) -> Bool {
        left.count == right.count && zip(left, right).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
    }

    private static func name(_ text: String) -> [UInt8] { Array(text.utf8.prefix(Self.maximumNameLength)) }

    private static func append(_ value: UInt64, bytes count: Int, to bytes: inout [UInt8]) {
        for index in (0..<count).reversed() { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(index * 8))) }
    }

    /// Reads from front to back, and never past the end.
    private struct Reader {
        private var rest: ArraySlice<UInt8>

        init(bytes: [UInt8]) { self.rest = bytes[...] }

        var isAtEnd: Bool { self.rest.isEmpty }

        mutating func take(_ count: Int) -> ArraySlice<UInt8>? {
            guard count >= 0, count <= self.rest.count else { return nil }
            defer { self.rest = self.rest.dropFirst(count) }
            return self.rest.prefix(count)
        }

        mutating func number64() -> Int64? {
            self.take(8).map { Int64(bitPattern: $0.reduce(0) { $0 << 8 | UInt64($1) }) }
        }

        mutating func number(bytes count: Int) -> Int? { self.take(count).map { $0.reduce(0) { $0 << 8 | Int($1) } } }

        mutating func name(limit: Int) -> String? {
            guard let count = self.number(bytes: 2), count <= limit, let bytes = self.take(count) else { return nil }
            return String(decoding: bytes, as: UTF8.self)
        }
    }
}
