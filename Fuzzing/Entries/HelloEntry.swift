internal import DTLS
internal import Secrets
internal import Timing

/// What comes before a key: hellos and their cookies, and the messages in clear from which the identity is read ahead.
///
/// The library itself takes part, with what it draws at random, so that one input may take two ways. The rules hold on both.
enum HelloEntry {
    static func run(_ input: UnsafeRawBufferPointer) throws(Finding) {
        var cursor = InputCursor(input)
        let configuration = cursor.byte()
        if configuration & 3 == 0 {
            try Self.examine(cursor.takeRest())
        } else {
            try Self.readAhead(configuration, &cursor)
        }
    }

    private static let peer = DTLSPeer(high: 0, low: 1, port: 5684)
    private static let now = Instant(nanoseconds: 1_000_000_000)

    /// The gate by itself: no answer is longer than its hello, and none but one is in the form that it has.
    private static func examine(_ datagram: [UInt8]) throws(Finding) {
        var gate = CookieGate(now: Self.now)
        var reply: [UInt8] = []
        let verdict = datagram.withUnsafeBytes { bytes in
            _ = DTLSSession.isClientHello(bytes)
            return gate.examine(bytes, from: Self.peer, now: Self.now, reply: &reply)
        }
        switch verdict {
        case .accept: throw Finding("a hello was accepted without a cookie")
        case .drop: break
        case .reply:
            try Finding.check(
                reply.count == CookieGate.replyLength && reply.count <= datagram.count,
                "an answer of \(reply.count) bytes to \(datagram.count)"
            )
        }
    }

    /// A hello that is in order, and then whatever the input says, in place of ClientKeyExchange and what follows it.
    private static func readAhead(_ configuration: UInt8, _ cursor: inout InputCursor) throws(Finding) {
        let suites: [UInt8] = configuration & 2 == 0 ? [0xC0, 0xA8] : [0x00, 0xA8, 0xC0, 0xA8]
        var gate = CookieGate(now: Self.now)
        var reply: [UInt8] = []
        let first = Self.hello(cookie: [], suites: suites, number: 0)
        let verdict = first.withUnsafeBytes { gate.examine($0, from: Self.peer, now: Self.now, reply: &reply) }
        try Finding.check(verdict == .reply, "a good hello is not answered")
        let hello = Self.hello(cookie: Array(reply.dropFirst(28)), suites: suites, number: 1)
        let session: DTLSSession
        do {
            session = try hello.withUnsafeBytes { bytes throws(DTLSError) in
                try DTLSSession(
                    accepting: bytes, from: Self.peer, cookies: gate, context: try Self.context(), now: Self.now
                )
            }
        } catch { throw Finding("a good hello makes no session: \(error)") }
        session.drainOutput { _ in }

        var now = Self.now
        var steps = 0
        while !cursor.isAtEnd, steps < 64 {
            steps += 1
            switch cursor.byte() & 7 {
            case 0: now += .milliseconds(cursor.number())
            case 1: _ = session.handleDeadline(now: now)
            case 2: try Self.check(session.provide(key: nil, now: now), session, isFromPeer: false)
            case 3:
                try Self.check(
                    session.provide(key: Secret([UInt8](repeating: 7, count: 16)), now: now), session, isFromPeer: false
                )
            case 4:
                let datagram = Self.keyExchange(&cursor)
                try Self.check(datagram.withUnsafeBytes { session.receive($0, now: now) }, session, isFromPeer: true)
            default:
                let datagram = cursor.bytes()
                _ = session.isOwnHello(datagram)
                try Self.check(session.receive(datagram, now: now), session, isFromPeer: true)
            }
            var sent = 0
            session.drainOutput { sent += $0.count }
            try Finding.check(sent <= 2048, "one datagram is answered by \(sent) bytes")
        }
        session.close()
    }

    private static func check(_ outcome: DTLSOutcome, _ session: DTLSSession, isFromPeer: Bool) throws(Finding) {
        if case .established = session.phase { throw Finding("a session without the key is established") }
        guard case .keyNeeded(let identity) = outcome else { return }
        try Finding.check(isFromPeer, "a key is asked for twice")
        try Finding.check(
            (1...PSKIdentity.maximumLength).contains(identity.bytes.count) && !identity.bytes.contains(0),
            "the key is asked for by an identity that cannot be"
        )
        try Finding.check(session.identity == identity, "the session has another identity than the key is asked for by")
    }

    /// Records around handshake messages, with lengths that fit or do not.
    private static func keyExchange(_ cursor: inout InputCursor) -> [UInt8] {
        let shape = cursor.byte()
        let offset = shape & 1 == 0 ? 0 : cursor.number()
        let body = Array(cursor.bytes())
        var message = body
        if shape & 2 == 0 { message = [UInt8(body.count >> 8), UInt8(body.count & 0xff)] + body }
        let whole = shape & 4 == 0 ? offset + message.count : cursor.number()
        func bytes(_ value: Int, _ count: Int) -> [UInt8] {
            (0..<count).reversed().map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
        }
        let number = shape & 8 == 0 ? 2 : Int(cursor.byte())
        let type: UInt8 = shape & 16 == 0 ? 16 : cursor.byte()
        let fragment =
            [type] + bytes(whole, 3) + bytes(number, 2) + bytes(offset, 3) + bytes(message.count, 3) + message
        let epoch = shape & 32 == 0 ? 0 : 1
        return [22, 0xFE, 0xFD] + bytes(epoch, 2) + bytes(Int(cursor.byte()), 6) + bytes(fragment.count, 2) + fragment
            + Array(cursor.bytes())
    }

    private static func hello(cookie: [UInt8], suites: [UInt8], number: UInt8) -> [UInt8] {
        var body: [UInt8] = [0xFE, 0xFD] + [UInt8](repeating: 7, count: 32)
        body += [0, UInt8(cookie.count)] + cookie + [0, UInt8(suites.count)] + suites + [1, 0]
        let length: [UInt8] = [0, UInt8(body.count >> 8), UInt8(body.count & 0xff)]
        let message = [1] + length + [0, number, 0, 0, 0] + length + body
        return [22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, number]
            + [UInt8(message.count >> 8), UInt8(message.count & 0xff)] + message
    }

    private static func context() throws(DTLSError) -> DTLSContext {
        try DTLSContext(role: .server, configuration: DTLSConfiguration())
    }
}
