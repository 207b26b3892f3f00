import CoAP
import DTLS
import Testing

@testable import Gateway

/// One run of the gateway hands over to the next, over real sockets on loopback.
@Suite("A clean restart", .timeLimit(.minutes(1)))
struct HandoverTests {
    private func update(_ device: MovingDevice, _ stage: HandoverStage) async throws {
        try device.request(.post, ["rd", "7"])
        // The script of the server sees to it that the port upstream stays.
        try stage.management.answer(.changed, to: try await stage.management.next())
        #expect(try await device.next().code == .changed)
    }

    @Test("Session, registration and observation go on, from the same port and without a handshake")
    func goesOn() async throws {
        let stage = try HandoverStage()
        let first = try await stage.start()
        let device = try await stage.register(at: first)
        let observe = stage.management.message(.get, ["3", "0", "13"], observe: 0)
        try stage.management.send(observe)
        let asked = try await device.next()
        var options = CoAPOptions()
        options.set(.observe, uint: 1)
        try device.send(
            CoAPMessage(
                type: .acknowledgement, code: .content, messageID: asked.messageID, token: asked.token,
                options: options)
        )
        #expect(try await stage.management.next().code == .content)

        let left = try await first.stop()
        #expect(left.sessions.count == 1 && left.registrations.count == 1)
        #expect(left.registrations[0].observations.count == 1)
        let second = try await stage.start(restoring: left)
        #expect(second.gateway.restored.sessions == 1 && second.gateway.restored.registrations == 1)
        try await self.update(device, stage)
        try stage.management.command(.get, ["3", "0", "0"])
        try device.answer(.content, to: try await device.next())
        #expect(try await stage.management.next().code == .content)
        options.set(.observe, uint: 2)
        try device.send(
            CoAPMessage(
                type: .nonConfirmable, code: .content, messageID: 40_000, token: asked.token, options: options)
        )
        let notification = try await stage.management.next()
        #expect(notification.token == observe.token && notification.options.uint(.observe) == 2)
        let counters = await second.gateway.statistics().counters
        #expect(counters.handshakesCompleted == 0 && counters.registrationsOpened == 0)
        #expect(stage.closed().isEmpty)
        _ = try await second.stop()
        try await stage.end()
    }

    @Test("A request that the device repeats after the restart gets its answer, and the server hears of it once")
    func repetition() async throws {
        let stage = try HandoverStage()
        let first = try await stage.start()
        let device = try await stage.register(at: first)
        let request = CoAPRequest(.post, path: ["rd", "7"])
        let update = CoAPMessage(
            type: .confirmable, code: .post, messageID: 77, token: CoAPToken(77), options: request.options)
        try device.send(update)
        try stage.management.answer(.changed, to: try await stage.management.next())
        let answer = try await device.next()
        let second = try await stage.start(restoring: try await first.stop())
        try device.send(update)
        #expect(try await device.nextTransmission() == answer)
        // The next thing that the server hears is something else.
        try await self.update(device, stage)
        _ = try await second.stop()
        try await stage.end()
    }

    @Test("The hand-over goes on and on")
    func thrice() async throws {
        let stage = try HandoverStage()
        var run = try await stage.start()
        let device = try await stage.register(at: run)
        for _ in 0..<3 {
            run = try await stage.start(restoring: try await run.stop())
            try await self.update(device, stage)
        }
        _ = try await run.stop()
        try await stage.end()
    }

    @Test(
        "What stores say meanwhile counts: the device has to shake hands again, and the journal says why",
        arguments: [FailureCause.suspended, .retired, .revoked, .storeUnavailable])
    func standing(cause: FailureCause) async throws {
        let stage = try HandoverStage()
        let first = try await stage.start()
        _ = try await stage.register(at: first)
        let left = try await first.stop()
        switch cause {
        case .suspended: stage.records.set(.suspended)
        case .retired: stage.records.set(.retired)
        case .storeUnavailable: stage.records.leave()
        default: stage.records.revoke()
        }
        let second = try await stage.start(restoring: left)
        #expect(second.gateway.restored.sessions == 0 && second.gateway.restored.registrations == 0)
        #expect(stage.closed().map(\.cause) == [cause])
        let statistics = await second.gateway.statistics()
        #expect(statistics.registrations == 0)
        // The server knows of nothing: what it still writes there must not meet another device.
        let (local, ports) = (left.registrations[0].local, try await second.stop().ports)
        let resting = try #require(ports.first { $0.local == local })
        #expect(resting.remaining > 290_000 && resting.remote == stage.management.socket.address)
        try await stage.end()
    }

    @Test("A server that has gone from the configuration, or has moved, has no registrations any more")
    func servers() async throws {
        let stage = try HandoverStage()
        let first = try await stage.start()
        _ = try await stage.register(at: first)
        let left = try await first.stop()
        let elsewhere = try TestSocket()
        let second = try await stage.start(restoring: left) {
            $0.servers[0].relay = PoolFixture.upstream(elsewhere.address)
        }
        #expect(second.gateway.restored.registrations == 0)
        #expect(stage.closed().map(\.cause) == [.noRouteForServer])
        _ = try await second.stop()
        try await stage.end()
    }

    @Test("Without its listener a device cannot be reached, and its registration ends")
    func listener() async throws {
        let stage = try HandoverStage()
        let first = try await stage.start()
        _ = try await stage.register(at: first)
        let left = try await first.stop()
        let second = try await stage.start(restoring: left) { $0.listeners[0].port = 0 }
        #expect(second.gateway.restored.sessions == 0 && second.gateway.restored.registrations == 0)
        #expect(stage.closed().map(\.cause) == [.listenerRemoved])
        // Its socket hears what comes, for the next device that gets it.
        #expect(await second.gateway.pool.muteSockets == 0)
        _ = try await second.stop()
        try await stage.end()
    }

    @Test("A port that somebody else has taken ends the registration, and the session goes on")
    func portTaken() async throws {
        let stage = try HandoverStage()
        let first = try await stage.start()
        let device = try await stage.register(at: first)
        let left = try await first.stop()
        let thief = try TestSocket("\(stage.ip)", port: left.registrations[0].local.port)
        let second = try await stage.start(restoring: left)
        #expect(second.gateway.restored.sessions == 1 && second.gateway.restored.registrations == 0)
        let closed = try #require(stage.closed().first)
        #expect(closed.cause == .portTaken)
        #expect(closed.detail.contains(.init("local", .text("\(thief.address)"))))
        // On the same session: the server, asked from a new port, knows of nothing.
        try device.request(.post, ["rd", "7"])
        let (stray, peer) = try await stage.management.socket.receiveMessage()
        #expect(peer != thief.address)
        stage.management.socket.send(CoAPCodec.encode(Dialogue.answer(.notFound, to: stray)), to: peer)
        #expect(try await device.next().code == .notFound)
        #expect(await second.gateway.statistics().counters.handshakesCompleted == 0)
        _ = try await second.stop()
        try await stage.end()
    }

    @Test("A lifetime that ends while nobody runs ends the registration")
    func lifetime() async throws {
        let stage = try HandoverStage()
        let first = try await stage.start()
        _ = try await stage.register(at: first)
        var left = try await first.stop()
        left.savedAt -= 400 * 1_000_000
        let second = try await stage.start(restoring: left)
        #expect(stage.closed().map(\.cause) == [.lifetimeOver])
        #expect(second.gateway.restored.sessions == 1)
        _ = try await second.stop()
        try await stage.end()
    }

    @Test("A port of an earlier run rests until its time is over, also when the system hands it out again")
    func quarantine() async throws {
        let stage = try HandoverStage()
        let first = try await stage.start()
        let device = try await stage.register(at: first)
        try device.request(.delete, ["rd", "7"])
        try stage.management.answer(.deleted, to: try await stage.management.next())
        #expect(try await device.next().code == .deleted)
        let used = try #require(stage.management.client)
        let left = try await first.stop()
        let port = try #require(left.ports.first { $0.local == used })
        #expect(port.remaining > 290_000 && port.remote == stage.management.socket.address)
        // Nothing was lost on the way, and it is said again at the next stop.
        let second = try await stage.start(restoring: left)
        #expect(try await second.stop().ports.contains { $0.local == used && $0.remaining > 200_000 })
        try await stage.end()
    }

    @Test("A start that fails for its listeners ends what it has taken up, and the journal says so")
    func failedStart() async throws {
        let stage = try HandoverStage()
        let first = try await stage.start()
        _ = try await stage.register(at: first)
        let left = try await first.stop()
        let thief = try TestSocket("\(stage.ip)", port: first.address.port)
        do {
            _ = try await stage.start(restoring: left)
            Issue.record("it has started")
        } catch is ListenerError {}
        #expect(stage.closed().map(\.cause) == [.shutdown])
        withExtendedLifetime(thief) {}
        try await stage.end()
    }

    @Test("A registration that could not be read again ends with the run, and takes nothing else with it")
    func unreadable() async throws {
        let stage = try HandoverStage()
        let first = try await stage.start()
        let device = try MovingDevice(StagedRecords.registered(1), offer: .none, at: first.address, socket: nil)
        try await device.connect()
        try device.request(.post, ["rd"], query: ["ep=\(StagedRecords.meter(1))", "lt=300"])
        let location = Array(repeating: "x", count: Handover.Limit.locationSegments + 1)
        try stage.management.answer(.created, to: try await stage.management.next(), location: location)
        #expect(try await device.next().code == .created)
        let left = try await first.stop()
        #expect(left.registrations.isEmpty && left.sessions.count == 1)
        #expect(stage.closed().map(\.cause) == [.shutdown])
        try await stage.end()
    }

    @Test("What a device without a record has in log-and-audit mode ends with the run")
    func stranger() async throws {
        let stage = try HandoverStage()
        let first = try await stage.start {
            $0.listeners[0].security = .plain
            $0.mode = .audit(keepDevices: true)
        }
        let device = try TestSocket()
        var dialogue = Dialogue()
        let request = dialogue.message(.post, ["rd"], query: ["ep=legacy", "lt=300"])
        device.send(CoAPCodec.encode(request), to: first.address)
        try stage.management.answer(.created, to: try await stage.management.next(), location: ["rd", "1"])
        #expect(try await device.receiveMessage().message.code == .created)
        let left = try await first.stop()
        #expect(left.registrations.isEmpty && left.sessions.isEmpty)
        #expect(stage.closed().map(\.cause) == [.shutdown])
        try await stage.end()
    }

    @Test("Without a hand-over a stray Update goes to the server, whose answer reaches the device")
    func stray() async throws {
        let stage = try HandoverStage()
        let first = try await stage.start()
        let device = try MovingDevice(StagedRecords.registered(1), offer: .none, at: first.address, socket: nil)
        try await device.connect()
        for (code, answer, expected) in [
            (CoAPCode.post, CoAPCode.notFound, CoAPCode.notFound), (.delete, .notFound, .notFound),
            // It knows devices by their locations alone: whose it was nobody can tell here.
            (.post, .changed, .notFound), (.delete, .deleted, .deleted),
        ] {
            try device.request(code, ["rd", "9"], query: code == .post ? ["lt=60"] : [])
            let (stray, peer) = try await stage.management.socket.receiveMessage()
            #expect(stray.code == code && stray.options.strings(.uriPath) == ["rd", "9"])
            stage.management.socket.send(CoAPCodec.encode(Dialogue.answer(answer, to: stray)), to: peer)
            #expect(try await device.next().code == expected)
        }
        #expect(await first.gateway.statistics().counters.registrationsOpened == 0)
        // Each had a port of its own, and each of these rests now.
        #expect(try await first.stop().ports.filter { $0.remaining > 290_000 }.count == 4)
        try await stage.end()
    }

    @Test("The location of another device's registration does not get to the server")
    func anothersLocation() async throws {
        let stage = try HandoverStage()
        let first = try await stage.start()
        let owner = try await stage.register(at: first)
        let other = try MovingDevice(StagedRecords.registered(2), offer: .none, at: first.address, socket: nil)
        try await other.connect()
        try other.request(.delete, ["rd", "7"])
        #expect(try await other.next().code == .notFound)
        // The next thing that the server hears is the owner's.
        try await self.update(owner, stage)
        _ = try await first.stop()
        try await stage.end()
    }
}

extension UpstreamPool {
    /// Sockets on which nobody looks at what comes.
    fileprivate var muteSockets: Int { self.connections.count { $0?.isMute ?? false } }
}
