internal import CWolfSSL
internal import Secrets
package import Timing

/// The stateless cookie: what stands between a ClientHello and the first byte of memory for its sender (RFC 6347,
/// section 4.2.1).
///
/// It answers a first hello with a HelloVerifyRequest and lets a second one with the right cookie through. The cookie
/// is a keyed hash over the sender's address and the hello, in the form that wolfSSL computes too, which checks it once
/// more. The key is replaced every ``lifetime``; a cookie is good until its key has been replaced twice.
///
/// Each event loop has its own gate: a cookie made by one is not known to another.
package struct CookieGate: Sendable {
    /// What becomes of a datagram.
    package enum Verdict: Hashable, Sendable {
        /// No answer, whatever it is; count it by reason.
        case drop(DTLSDropReason)
        /// Send the 60 bytes of `reply` back.
        case reply
        /// A hello with a good cookie: make a ``DTLSSession`` of it at once, with this gate.
        case accept
    }

    /// The length of a HelloVerifyRequest; less than any hello, so that nothing is amplified.
    package static let replyLength = 60
    static let cookieLength = 32

    private let lifetime: Duration
    private var current: Secret
    private var previous: Secret?
    private var currentSince: Instant
    /// The hello that was accepted last, its sender, and the key behind its cookie: the session that is made of it at once
    /// needs not find that key again. The room is kept.
    private var accepted: [UInt8] = []
    private var acceptedPeer: DTLSPeer?
    private var acceptedSecret: Secret?

    /// - Parameters:
    ///   - lifetime: How long new cookies are made with one key; their key is good for as long again.
    package init(now: Instant, lifetime: Duration = .seconds(60)) {
        self.lifetime = lifetime
        self.current = .random(count: 32)
        self.currentSince = now
    }

    /// Judges a datagram from a peer that has no session, or a ClientHello from one that has. Allocates nothing, apart
    /// from a new key once in a ``lifetime`` and room for the longest hello.
    ///
    /// - Parameters:
    ///   - reply: Overwritten when the verdict is `reply`; keep one array for all calls.
    package mutating func examine(
        _ datagram: UnsafeRawBufferPointer,
        from peer: DTLSPeer,
        now: Instant,
        reply: inout [UInt8]
    ) -> Verdict {
        let hello: ClientHello
        do throws(DTLSDropReason) {
            hello = try ClientHello.parse(datagram)
        } catch {
            return .drop(error)
        }
        self.replaceKey(now: now)
        var computed = Cookie()
        guard computed.compute(for: hello, from: peer, secret: self.current) else { return .drop(.internal) }
        if computed.matches(hello.cookie) {
            self.remember(datagram, from: peer, self.current)
            return .accept
        }
        if hello.cookie.count == Self.cookieLength, let previous = self.previous {
            var earlier = Cookie()
            guard earlier.compute(for: hello, from: peer, secret: previous) else { return .drop(.internal) }
            if earlier.matches(hello.cookie) {
                self.remember(datagram, from: peer, previous)
                return .accept
            }
        }
        Self.write(&reply, answering: hello, cookie: computed)
        return .reply
    }

    private mutating func remember(_ datagram: UnsafeRawBufferPointer, from peer: DTLSPeer, _ secret: Secret) {
        self.accepted.removeAll(keepingCapacity: true)
        self.accepted.append(contentsOf: datagram)
        self.acceptedPeer = peer
        self.acceptedSecret = secret
    }

    /// The key that made the cookie in `hello`, which `datagram` consists of; nil when none of the two did.
    func secret(behind hello: ClientHello, in datagram: UnsafeRawBufferPointer, from peer: DTLSPeer) -> Secret? {
        if let secret = self.acceptedSecret, self.acceptedPeer == peer, datagram.elementsEqual(self.accepted) {
            return secret
        }
        var cookie = Cookie()
        if cookie.compute(for: hello, from: peer, secret: self.current), cookie.matches(hello.cookie) {
            return self.current
        }
        if let previous = self.previous, cookie.compute(for: hello, from: peer, secret: previous),
            cookie.matches(hello.cookie)
        {
            return previous
        }
        return nil
    }

    private mutating func replaceKey(now: Instant) {
        let age = self.currentSince.duration(to: now)
        guard age >= self.lifetime else { return }
        self.acceptedSecret = nil
        self.previous = age < self.lifetime * 2 ? self.current : nil
        self.current = .random(count: 32)
        self.currentSince = now
    }

    /// RFC 6347, section 4.2.1: the answer repeats both sequence numbers of the hello, since nothing is remembered.
    private static func write(_ reply: inout [UInt8], answering hello: ClientHello, cookie: Cookie) {
        if reply.count != Self.replyLength { reply = Array(repeating: 0, count: Self.replyLength) }
        reply.withUnsafeMutableBytes { bytes in
            for index in 0..<27 { bytes[index] = 0 }
            // The record: type, version, epoch 0, sequence number, length 47.
            bytes[0] = ContentType.handshake
            bytes[1] = 0xFE
            bytes[2] = 0xFD
            for (index, byte) in hello.recordSequence.prefix(6).enumerated() { bytes[5 + index] = byte }
            bytes[12] = 47
            // The message: type, length 35, its sequence number, offset 0, length 35.
            bytes[13] = HandshakeType.helloVerifyRequest
            bytes[16] = 35
            bytes[17] = UInt8(truncatingIfNeeded: hello.messageSequence >> 8)
            bytes[18] = UInt8(truncatingIfNeeded: hello.messageSequence)
            bytes[24] = 35
            // The body: DTLS 1.0, which every client takes here, and the cookie.
            bytes[25] = 0xFE
            bytes[26] = 0xFF
            bytes[27] = UInt8(Self.cookieLength)
            cookie.copy(to: UnsafeMutableRawBufferPointer(rebasing: bytes[28...]))
        }
    }
}

extension CookieGate: CustomStringConvertible, CustomReflectable {
    package var description: String { "CookieGate" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// The 32 bytes of a cookie, held without an allocation.
private struct Cookie {
    private var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

    /// HMAC-SHA-256 over the address, and over version, random, session ID, suites and compression methods of the
    /// hello, in wolfSSL's order. False when the library fails.
    mutating func compute(for hello: ClientHello, from peer: DTLSPeer, secret: Secret) -> Bool {
        withUnsafeMutableBytes(of: &self.words) { target in
            guard let base = target.bindMemory(to: UInt8.self).baseAddress else { return false }
            return peer.withBytes { address in
                secret.withUnsafeBytes { key in
                    let pieces = (
                        Self.piece(address), Self.piece(hello.versionAndRandom), Self.piece(hello.sessionID),
                        Self.piece(hello.suites), Self.piece(hello.compressionMethods)
                    )
                    return withUnsafeBytes(of: pieces) { pieces in
                        let pieces = pieces.bindMemory(to: bootgate_bytes.self)
                        let count = UInt32(pieces.count)
                        return bootgate_cookie(key.baseAddress, UInt32(key.count), pieces.baseAddress, count, base) == 0
                    }
                }
            }
        }
    }

    /// Whether `cookie` is the same, found out in a time that does not depend on where they differ.
    func matches(_ cookie: UnsafeRawBufferPointer) -> Bool {
        guard cookie.count == CookieGate.cookieLength else { return false }
        func word(_ index: Int) -> UInt64 { cookie.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self) }
        let difference =
            (self.words.0 ^ word(0)) | (self.words.1 ^ word(1)) | (self.words.2 ^ word(2)) | (self.words.3 ^ word(3))
        return difference == 0
    }

    func copy(to target: UnsafeMutableRawBufferPointer) {
        withUnsafeBytes(of: self.words) { target.copyMemory(from: $0) }
    }

    private static func piece(_ bytes: UnsafeRawBufferPointer) -> bootgate_bytes {
        bootgate_bytes(start: bytes.baseAddress, count: UInt32(bytes.count))
    }
}
