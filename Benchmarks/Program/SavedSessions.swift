internal import CAllocations
internal import DTLS
internal import Glibc
internal import Secrets
internal import Timing

/// What a restart costs for each of 4,000 live sessions: taken out and encoded, then decoded and restored. The time is
/// that of the processor, the least of ten restarts.
enum SavedSessions {
    private static let count = 4_000
    private static let peer = DTLSPeer(high: 0, low: 0xFFFF_0A01_0203, port: 40_000)
    private static let key = Secret((0..<16).map { UInt8($0) })

    static func measure(_ harness: Harness) throws {
        for suite in [CipherSuite.pskAES128CCM8, .pskAES128GCM, .pskAES128CBC, .ecdhePSKChaCha20] {
            let (away, back) = ("Save a session: \(suite.wolfSSLName)", "Restore it: \(suite.wolfSSLName)")
            guard harness.filter.isEmpty || away.contains(harness.filter) || back.contains(harness.filter) else {
                continue
            }
            try Self.measure(suite, harness, away: away, back: back)
        }
    }

    private static func measure(_ suite: CipherSuite, _ harness: Harness, away: String, back: String) throws {
        var configuration = DTLSConfiguration()
        configuration.suites = [suite]
        let context = try DTLSContext(role: .server, configuration: configuration)
        let clients = try DTLSContext(role: .client, configuration: configuration)
        // Connection IDs go with all suites but those with CBC.
        let hasID = suite != .pskAES128CBC
        var sessions: [DTLSSession] = []
        for index in 0..<Self.count {
            let id = hasID ? ConnectionID(node: 1, shard: 0, random: UInt64(index)) : nil
            sessions.append(try Self.session(context, clients, id))
        }
        var (best, bytes) = ((away: Int64.max, back: Int64.max), 0)
        var allocations = (away: 0, back: 0)
        for _ in 0..<10 {
            var body: [UInt8] = []
            body.reserveCapacity(Self.count * DTLSSessionState.maximumEncodedLength)
            var ends: [Int] = []
            ends.reserveCapacity(Self.count)
            var (start, before) = (Self.processorTime(), bootgate_allocations())
            for session in sessions {
                try session.exportState()?.encode(into: &body)
                ends.append(body.count)
            }
            best.away = min(best.away, Self.processorTime() - start)
            allocations.away = Int(bootgate_allocations() - before)
            sessions.removeAll(keepingCapacity: true)
            (start, before) = (Self.processorTime(), bootgate_allocations())
            try body.withUnsafeBytes { body in
                var offset = 0
                for end in ends {
                    let state = try DTLSSessionState(decoding: UnsafeRawBufferPointer(rebasing: body[offset..<end]))
                    sessions.append(try DTLSSession(restoring: state, from: Self.peer, context: context, now: .now))
                    offset = end
                }
            }
            best.back = min(best.back, Self.processorTime() - start)
            allocations.back = Int(bootgate_allocations() - before)
            bytes = body.count / Self.count
        }
        precondition(context.established == Self.count)
        let each = Int64(Self.count)
        harness.report(
            away, bytes: bytes, nanoseconds: best.away / each, allocations: Double(allocations.away) / Double(each)
        )
        harness.report(
            back, bytes: bytes, nanoseconds: best.back / each, allocations: Double(allocations.back) / Double(each)
        )
    }

    /// A server's session after a handshake in memory and one record of data.
    private static func session(
        _ context: DTLSContext, _ clients: DTLSContext, _ id: ConnectionID?
    ) throws -> DTLSSession {
        let now = Instant.now
        let identity = PSKIdentity("8988303000001234567").unsafelyUnwrapped
        var gate = CookieGate(now: now)
        let client = try DTLSSession(
            connectingAs: identity, key: Self.key, context: clients, connectionIDs: id == nil ? .none : .serversOnly,
            now: now
        )
        var server: DTLSSession?
        var reply: [UInt8] = []
        var hasSent = false
        for _ in 0..<32 {
            var datagrams: [[UInt8]] = []
            client.drainOutput { datagrams.append(Array($0)) }
            for datagram in datagrams {
                try datagram.withUnsafeBytes { datagram in
                    if let server {
                        if server.receive(datagram, now: now) == .keyNeeded(identity) {
                            _ = server.provide(key: Self.key, now: now)
                        }
                        while server.read({ _ in }) {}
                        return
                    }
                    switch gate.examine(datagram, from: Self.peer, now: now, reply: &reply) {
                    case .reply: _ = reply.withUnsafeBytes { client.receive($0, now: now) }
                    case .accept:
                        server = try DTLSSession(
                            accepting: datagram, from: Self.peer, cookies: gate, context: context, connectionID: id,
                            now: now
                        )
                    case .drop: break
                    }
                }
            }
            datagrams.removeAll()
            server?.drainOutput { datagrams.append(Array($0)) }
            for datagram in datagrams { _ = datagram.withUnsafeBytes { client.receive($0, now: now) } }
            guard client.phase == .established, let server, server.phase == .established else { continue }
            if hasSent { return server }
            hasSent = true
            try ([1] as [UInt8]).withUnsafeBytes { try client.send($0) }
        }
        preconditionFailure("the handshake does not end")
    }

    /// In nanoseconds.
    private static func processorTime() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
