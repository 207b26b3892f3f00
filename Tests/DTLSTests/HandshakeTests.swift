import DTLS
import Secrets
import Testing
import Timing

@Suite("Handshake")
struct HandshakeTests {
    @Test("Every suite of the library completes a handshake and carries data both ways", arguments: DTLSLibrary.suites)
    func everySuite(_ suite: CipherSuite) throws {
        let link = try Self.link(suites: [suite])
        #expect(link.run(for: .seconds(5)) { $0.isEstablished })
        #expect(link.server?.suite == suite)
        #expect(link.client.suite == suite)
        #expect(link.server?.identity == LossyLink.identity)
        try link.sendFromClient([1, 2, 3])
        try link.sendFromServer([4, 5])
        link.run(for: .seconds(1))
        #expect(link.atServer == [[1, 2, 3]])
        #expect(link.atClient == [[4, 5]])
    }

    @Test("The server's order of suites decides")
    func serverOrder() throws {
        let link = try Self.link(
            suites: [.pskAES128GCM, .pskAES128CCM8],
            clientSuites: [.pskAES128CCM8, .pskAES128CCM, .pskAES128GCM]
        )
        #expect(link.run(for: .seconds(5)) { $0.isEstablished })
        #expect(link.server?.suite == .pskAES128GCM)
    }

    /// No answer, as for everything else that is wrong: the client gives up by itself.
    @Test("A client without a common suite is refused in silence")
    func noCommonSuite() throws {
        let link = try Self.link(suites: [.pskAES128CCM8], clientSuites: [.pskAES128CBC])
        link.run(for: .seconds(60))
        #expect(link.server == nil)
        #expect(link.serverContext.handshakes == 0)
        // Nothing but HelloVerifyRequests.
        let types = link.sent.filter { $0.direction == .toClient }.flatMap { Wire.records($0.bytes) }.map(\.message)
        #expect(!types.isEmpty)
        #expect(types.allSatisfy { $0 == 3 })
    }

    /// RFC 7627; spec section 5.5.
    @Test("The extended master secret is negotiated")
    func extendedMasterSecret() throws {
        let link = try Self.link()
        #expect(link.run(for: .seconds(5)) { $0.isEstablished })
        let hello = try #require(link.sent.flatMap { Wire.records($0.bytes) }.first { $0.message == 2 })
        // Type, length and so on, version, random, session ID, suite, compression; then the extensions.
        let sessionID = Int(hello.body[46])
        var extensions = hello.body.dropFirst(47 + sessionID + 3 + 2)
        var types: [Int] = []
        while extensions.count >= 4 {
            let bytes = Array(extensions)
            types.append(Int(bytes[0]) << 8 | Int(bytes[1]))
            extensions = extensions.dropFirst(4 + (Int(bytes[2]) << 8 | Int(bytes[3])))
        }
        #expect(types.contains(23))
    }

    /// A client on mbedTLS 2.28 that may speak several versions.
    @Test("Hellos in records of version FE 00 are served")
    func oddRecordVersion() throws {
        let link = try Self.link()
        link.onWire = { direction, bytes in
            var bytes = bytes
            if direction == .toServer, Wire.records(bytes).first?.message == 1 { bytes[2] = 0x00 }
            return [bytes]
        }
        #expect(link.run(for: .milliseconds(900)) { $0.isEstablished })
    }

    /// The cookie expired on the way: the client gets another one, and its third hello has message number 2. So does
    /// the answer to it (RFC 6347, section 4.2.2).
    @Test("A hello with an expired cookie gets a new one, and the handshake goes on from there", arguments: [1, 2, 3])
    func expiredCookie(_ number: UInt8) throws {
        let now = Instant.now
        var gate = CookieGate(now: now)
        var reply: [UInt8] = []
        func examine(_ hello: [UInt8]) -> CookieGate.Verdict {
            hello.withUnsafeBytes { gate.examine($0, from: LossyLink.peer, now: now, reply: &reply) }
        }
        for before in 0..<number {
            let expired = [UInt8](repeating: before, count: 32)
            #expect(examine(Wire.hello(cookie: expired, number: before, sequence: UInt64(before))) == .reply)
        }
        let hello = Wire.hello(cookie: Wire.cookie(reply), number: number, sequence: UInt64(number))
        #expect(examine(hello) == .accept)
        let session = try hello.withUnsafeBytes { bytes in
            try DTLSSession(
                accepting: bytes,
                from: LossyLink.peer,
                cookies: gate,
                context: try DTLSContext(role: .server, configuration: DTLSConfiguration()),
                now: now
            )
        }
        var flight: [Wire.Record] = []
        session.drainOutput { flight += Wire.records(Array($0)) }
        #expect(flight.map(\.message) == [2, 14])
        #expect(flight.map { $0.body[5] } == [number, number + 1])
        // mbedTLS drops a lower record number as a replay of the HelloVerifyRequest.
        #expect(flight.map(\.sequence) == [UInt64(number), UInt64(number) + 1])
    }

    /// Seen on the wire: tinydtls sends its last flight as three datagrams, and does not repeat them by itself.
    @Test(
        "The client's last flight may come as three datagrams in any order",
        arguments: [
            [0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0],
        ]
    )
    func lastFlightInAnyOrder(_ order: [Int]) throws {
        let link = try Self.link()
        link.onWire = { direction, bytes in
            let parts = Wire.split(bytes)
            return direction == .toServer && parts.count == 3 ? order.map { parts[$0] } : [bytes]
        }
        // Nobody has to repeat anything.
        #expect(link.run(for: .milliseconds(900)) { $0.isEstablished })
    }

    @Test("The server's last flight may come Finished first")
    func serverFinishedFirst() throws {
        let link = try Self.link()
        link.onWire = { direction, bytes in
            direction == .toClient ? Wire.split(bytes).reversed() : [bytes]
        }
        #expect(link.run(for: .milliseconds(900)) { $0.isEstablished })
    }

    /// RFC 6347, section 4.2.3.
    @Test(
        "A ClientKeyExchange may come in pieces, in any order, overlapping and repeated",
        arguments: [
            [0, 1, 2], [2, 1, 0], [1, 1, 2, 0], [0, 2, 2, 1],
        ],
        [CipherSuite.pskAES128CCM8, .ecdhePSKChaCha20]
    )
    func fragmentedKeyExchange(_ order: [Int], _ suite: CipherSuite) throws {
        let link = try Self.link(suites: [suite])
        link.onWire = { direction, bytes in
            let parts = Wire.split(bytes)
            guard direction == .toServer, let first = parts.first, Wire.records(first)[0].message == 16 else {
                return [bytes]
            }
            let message = Wire.records(first)[0].body
            let body = Array(message.dropFirst(12))
            let pieces = [0..<9, 6..<15, 12..<body.count].map { range in
                Wire.record(
                    22,
                    sequence: UInt64(10 + range.lowerBound),
                    Wire.message(
                        16,
                        number: message[5],
                        Array(body[range]),
                        length: body.count,
                        offset: range.lowerBound
                    )
                )
            }
            return order.map { pieces[$0] } + parts.dropFirst()
        }
        #expect(link.run(for: .milliseconds(900)) { $0.isEstablished })
        #expect(link.lookUps == [LossyLink.identity])
    }

    /// A forger who is early must not keep the real message out.
    @Test("Forged pieces of a ClientKeyExchange do not stop the real one")
    func forgedPieces() throws {
        let link = try Self.link()
        var forged = false
        link.onWire = { direction, bytes in
            guard direction == .toServer, Wire.records(bytes).first?.message == 16, !forged else { return [bytes] }
            forged = true
            let pieces = [(length: 900, count: 20), (length: 40, count: 8), (length: 5, count: 3)].map { piece in
                Wire.record(
                    22,
                    sequence: 1 << 40,
                    Wire.message(16, number: 2, [UInt8](repeating: 0xAA, count: piece.count), length: piece.length)
                )
            }
            return pieces + [bytes]
        }
        #expect(link.run(for: .milliseconds(900)) { $0.isEstablished })
    }

    /// A forged clear alert, ChangeCipherSpec or Finished ends the library's handshake, and a
    /// clear record with a high number makes it deaf.
    @Test("Forged clear records during the handshake do not stop it", arguments: [false, true])
    func forgedDuringHandshake(toClient: Bool) throws {
        let forgeries = [
            Wire.record(21, [2, 40]), Wire.record(21, [1, 0]), Wire.record(20, [2]), Wire.record(20, [1, 1]),
            Wire.record(22, sequence: 1 << 30, Wire.message(99, number: 1, [1])),
            Wire.record(22, sequence: 1 << 30, Wire.message(20, number: 1, [UInt8](repeating: 1, count: 12))),
            Wire.record(22, sequence: 1 << 30, Wire.message(16, number: 9, [0, 1, 65])),
            Wire.record(21, sequence: 1 << 40, [1, 41]), Wire.record(20, sequence: 1 << 40, [1]),
            Wire.record(22, sequence: 1 << 40, [1, 2, 3]), Wire.record(23, epoch: 0, [1]),
            Wire.record(22, epoch: 1, [UInt8](repeating: 1, count: 40)),
        ]
        for (index, forgery) in forgeries.enumerated() {
            let link = try Self.link()
            link.onWire = { direction, bytes in (direction == .toClient) == toClient ? [forgery, bytes] : [bytes] }
            #expect(link.run(for: .seconds(5)) { $0.isEstablished }, "forgery \(index): \(link.clientOutcomes)")
        }
    }

    /// What the peer said in clear is only a hint, and shows in the reason.
    @Test("A clear alert of a server that refuses is named when the client gives up")
    func alertIsAHint() throws {
        let link = try Self.link()
        link.onWire = { direction, bytes in
            direction == .toClient && Wire.records(bytes).first?.message == 2 ? [Wire.record(21, [2, 40])] : [bytes]
        }
        link.run(for: .seconds(60))
        #expect(link.client.phase == .closed(.handshakeTimeout(alert: 40)))
    }

    /// RFC 6347, section 4.2.8; spec section 5.5: what a device that lost power does.
    @Test("A restarted client at the same address gets a new session, also under another identity")
    func restartedClient() throws {
        let link = try Self.link()
        #expect(link.run(for: .seconds(5)) { $0.isEstablished })
        let first = try #require(link.server)
        let other = try #require(PSKIdentity("one-time-identity"))
        let otherKey = Secret([1, 2, 3, 4])
        link.store[other] = otherKey
        try link.restartClient(as: other, key: otherKey)
        #expect(link.run(for: .seconds(5)) { $0.isEstablished && $0.server !== first })
        #expect(link.server?.identity == other)
        #expect(first.phase == .established)
        #expect(first.identity == LossyLink.identity)
    }

    /// Spec section 5.5: a hello that was late or doubled is no reconnect.
    @Test("A late repetition of its own hellos does not touch a session")
    func lateHello() throws {
        let link = try Self.link()
        #expect(link.run(for: .seconds(5)) { $0.isEstablished })
        let session = try #require(link.server)
        let hellos = link.sent.map(\.bytes).filter { Wire.records($0).first?.message == 1 }
        #expect(hellos.count == 2)
        for hello in hellos {
            #expect(hello.withUnsafeBytes { session.isOwnHello($0) })
            link.inject(hello)
        }
        #expect(!Wire.hello().withUnsafeBytes { session.isOwnHello($0) })
        let sent = link.sent.count
        link.run(for: .seconds(1))
        #expect(link.sent.count == sent)
        try link.sendFromClient([9])
        link.run(for: .seconds(1))
        #expect(link.atServer == [[9]])
    }

    @Test(
        "Identities and keys may have any byte and every length that the records allow",
        arguments: [
            (identity: [UInt8](repeating: 0x41, count: 128), keyLength: 64),
            (identity: [0xFF], keyLength: 1),
            (identity: [0x0A, 0xFE, 0x80, 0x20], keyLength: 32),
        ]
    )
    func identitiesAndKeys(_ pair: (identity: [UInt8], keyLength: Int)) throws {
        let identity = try #require(PSKIdentity(pair.identity))
        let key = Secret((0..<pair.keyLength).map { UInt8($0) })
        let link = try LossyLink(identity: identity, key: key)
        link.store[identity] = key
        #expect(link.run(for: .seconds(5)) { $0.isEstablished })
        #expect(link.server?.identity == identity)
    }

    @Test("Handshakes above the cap are turned down, and closed ones make room")
    func cap() throws {
        var configuration = DTLSConfiguration()
        configuration.maximumHandshakes = 0
        let full = try LossyLink(server: configuration)
        full.run(for: .seconds(20))
        #expect(full.server == nil)

        configuration.maximumHandshakes = 1
        let link = try LossyLink(server: configuration)
        link.lookUpTime = nil
        link.run(for: .seconds(1)) { !$0.lookUps.isEmpty }
        #expect(link.serverContext.handshakes == 1)
        let stuck = link.server
        try link.restartClient()
        link.run(for: .seconds(1))
        #expect(link.server === stuck)
        link.lookUpTime = .zero
        link.closeServer()
        #expect(link.serverContext.handshakes == 0)
        #expect(link.run(for: .seconds(5)) { $0.isEstablished })
    }

    static func link(suites: [CipherSuite]? = nil, clientSuites: [CipherSuite]? = nil) throws -> LossyLink {
        var server = DTLSConfiguration()
        var client = DTLSConfiguration()
        if let suites {
            server.suites = suites
            client.suites = suites
        }
        if let clientSuites { client.suites = clientSuites }
        return try LossyLink(server: server, client: client)
    }
}
