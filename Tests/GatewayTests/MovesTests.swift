import CoAP
import DTLS
import LwM2M
import Secrets
import Testing

@testable import Gateway

/// RFC 9146 over real sockets on loopback.
@Suite("Devices whose address changes", .timeLimit(.minutes(1)))
struct MovesTests {
    // MARK: In the middle of something

    /// The places in which the device moves: before each of the datagrams that it sends, and before all of them.
    @Test("A bootstrap goes on from a new port, whichever message the device sends first from there", arguments: 0...5)
    func bootstrap(place: Int) async throws {
        let stage = try await MovesStage()
        let device = try await stage.device()
        let server = stage.bootstrap
        var moves = 0
        func pass(_ here: Int) throws {
            guard here == place || place == 5 else { return }
            try device.move()
            moves += 1
        }

        try pass(0)
        try device.request(.post, ["bs"], query: ["ep=\(StagedRecords.meter(1))"])
        let asked = try await server.next()
        #expect(asked.code == .post)
        try server.answer(.changed, to: asked)
        #expect(try await device.next().code == .changed)
        let account = try TLV.encode(.instance(Rewriting.server(1)))
        let commands: [(CoAPCode, [String], [UInt8], CoAPCode)] = [
            (.delete, ["0"], [], .deleted), (.put, ["0", "1"], account, .changed),
            (.put, ["3", "0"], try TLV.encode(.instance(ObjectInstance(id: 0, resources: []))), .changed),
            (.post, ["bs"], [], .changed),
        ]
        for (index, (code, path, payload, answer)) in commands.enumerated() {
            try server.command(code, path, payload)
            let command = try await device.next()
            #expect(command.code == code)
            try pass(index + 1)
            try device.answer(answer, to: command)
            #expect(try await server.next().code == answer)
        }

        let counters = await stage.counters
        #expect(counters.sessionsMoved == moves)
        #expect(counters.handshakesCompleted == 1)
        #expect(counters.bootstrapsFinished.total == 1)
        let events = stage.audit.events
        #expect(events.last?.name == .bootstrapFinished)
        #expect(events.last?.peer == "\(device.socket.address)")
        #expect(Set(events.compactMap(\.session)) == [1])
        let noted = events.filter { $0.detail.contains { $0.key == "moved-from" } }
        #expect(!noted.isEmpty)
        #expect(noted.count <= moves)
        try await stage.stop()
    }

    @Test("T2: a command that went to the old port is repeated to the new one")
    func lostCommand() async throws {
        let stage = try await MovesStage(repeating: .milliseconds(100))
        let device = try await stage.device()
        try device.request(.post, ["bs"], query: ["ep=\(StagedRecords.meter(1))"])
        try stage.bootstrap.answer(.changed, to: try await stage.bootstrap.next())
        #expect(try await device.next().code == .changed)
        try stage.bootstrap.command(.delete, ["0"])
        // The first transmission has arrived where the device is no longer.
        _ = try await device.socket.receive()
        try device.move()
        try await device.roundTrip()
        let command = try await device.next()
        #expect(command.code == .delete)
        try device.answer(.deleted, to: command)
        #expect(try await stage.bootstrap.next().code == .deleted)
        try await stage.stop()
    }

    @Test("A registration and its port upstream outlive changes of address, and the server's requests find the device")
    func registration() async throws {
        let stage = try await MovesStage()
        let device = try await stage.device(StagedRecords.registered(1))
        let server = stage.management
        try device.request(.post, ["rd"], query: ["ep=\(StagedRecords.meter(1))", "lt=300"])
        try server.answer(.created, to: try await server.next(), location: ["rd", "7"])
        #expect(try await device.next().code == .created)

        for _ in 0..<3 {
            try device.move()
            try device.request(.post, ["rd", "7"])
            try server.answer(.changed, to: try await server.next())
            #expect(try await device.next().code == .changed)
            try server.command(.get, ["3", "0", "0"])
            let read = try await device.next()
            #expect(read.code == .get)
            try device.answer(.content, to: read)
            #expect(try await server.next().code == .content)
        }

        // The answer comes from yet another port than the one that the request was sent to.
        try server.command(.get, ["3", "0", "0"])
        let read = try await device.next()
        try device.move()
        try device.answer(.content, to: read)
        #expect(try await server.next().code == .content)

        let old = device.socket
        try device.move()
        try device.request(.delete, ["rd", "7"])
        try server.answer(.deleted, to: try await server.next())
        #expect(try await device.next().code == .deleted)
        #expect(old.poll() == nil)
        let counters = await stage.counters
        #expect(counters.sessionsMoved == 5)
        #expect(counters.sessionsOpened == 1)
        #expect(stage.audit.events.map(\.name) == [.registrationOpened, .registrationClosed])
        let closed = try #require(stage.audit.events.last)
        #expect(closed.peer == "\(device.socket.address)")
        let former = try #require(stage.audit.events.first?.peer)
        #expect(closed.detail.contains(.init("moved-from", .text(former))))
        try await stage.stop()
    }

    // MARK: What does not move a session

    @Test("Forged and repeated datagrams with the right connection ID move nothing and are not answered")
    func forgeries() async throws {
        let stage = try await MovesStage()
        let device = try await stage.device()
        try await device.roundTrip()
        try await device.roundTrip()
        let stranger = try TestSocket()
        let real = try #require(device.sent.last)
        let id = try #require(real.withUnsafeBytes { ConnectionID(of: $0) })
        #expect(id.node == MovesStage.node)
        #expect(id.shard == MovesStage.shard)
        var forged = device.sent
        for index in real.indices {
            var bytes = real
            bytes[index] ^= 0x10
            // A newer number, and everything else as it was.
            bytes[10] &+= 100
            forged.append(bytes)
        }
        for count in 0..<real.count { forged.append(Array(real.prefix(count))) }
        for bytes in forged { stranger.send(bytes, to: device.gateway) }
        try await device.roundTrip()
        // Neither the cookie for a new handshake, which the first hello still gets, nor anything else that follows.
        var answers: [[UInt8]] = []
        while let (bytes, _) = stranger.poll() { answers.append(bytes) }
        #expect(answers.allSatisfy { $0.count == CookieGate.replyLength && $0[13] == 3 })
        #expect(answers.count <= 2)
        let counters = await stage.counters
        #expect(counters.sessionsMoved == 0)
        #expect(counters.sessionsOpened == 1)
        #expect((counters.dropped["connection_id_not_newer"] ?? 0) > 30)
        #expect((counters.dropped["connection_id_unknown"] ?? 0) >= 8)
        #expect((counters.dropped["connection_id_malformed"] ?? 0) > 0)
        try await stage.stop()
    }

    @Test("A late record counts, is answered where the device is, and moves nothing")
    func late() async throws {
        let stage = try await MovesStage()
        let device = try await stage.device()
        try await device.roundTrip()
        let nowhere = try TestSocket()
        let (first, gateway) = (device.socket, device.gateway)
        // This one is overtaken by the next.
        device.gateway = nowhere.address
        try device.request(.get, ["nowhere"])
        device.gateway = gateway
        let late = try await nowhere.receive().bytes
        try device.move()
        try await device.roundTrip()
        first.send(late, to: gateway)
        #expect(try await device.next().code == .notFound)
        try await device.roundTrip()
        #expect(first.poll() == nil)
        let counters = await stage.counters
        #expect(counters.sessionsMoved == 1)
        #expect(counters.dropped["connection_id_not_newer"] == 1)
        try await stage.stop()
    }

    @Test("T48: without a connection ID a new port is a stranger")
    func withoutConnectionID() async throws {
        let stage = try await MovesStage()
        let device = try await stage.device(offer: .none)
        try await device.roundTrip()
        let home = device.socket
        try device.move()
        try device.request(.get, ["nowhere"])
        let elsewhere = device.socket
        device.socket = home
        try await device.roundTrip()
        #expect(elsewhere.poll() == nil)
        let counters = await stage.counters
        #expect(counters.sessionsMoved == 0)
        #expect(counters.dropped["unknown_session"] == 1)
        try await stage.stop()
    }

    // MARK: Who else is there

    @Test("Two devices that exchange their ports both go on")
    func exchange() async throws {
        let stage = try await MovesStage()
        let one = try await stage.device(StagedRecords.meter(1))
        let other = try await stage.device(StagedRecords.meter(2))
        for _ in 0..<3 {
            (one.socket, other.socket) = (other.socket, one.socket)
            try await one.roundTrip()
            try await other.roundTrip()
            try await one.roundTrip()
        }
        let counters = await stage.counters
        #expect(counters.sessionsOpened == 2)
        #expect(counters.sessionsClosed == 0)
        #expect(counters.sessionsMoved == 6)
        try await stage.stop()
    }

    /// A device may forge where it is. It must not end another's session by that.
    @Test("A session without a connection ID keeps its address, whoever moves to it")
    func resident() async throws {
        let stage = try await MovesStage()
        let resident = try await stage.device(StagedRecords.meter(1), offer: .none)
        let mover = try await stage.device(StagedRecords.meter(2))
        let home = mover.socket
        mover.socket = resident.socket
        for _ in 0..<3 {
            try await mover.roundTrip()
            try await resident.roundTrip()
        }
        #expect(await stage.counters.sessionsMoved == 1)
        mover.socket = home
        try await mover.roundTrip()
        try await resident.roundTrip()
        let counters = await stage.counters
        #expect(counters.sessionsMoved == 2)
        #expect(counters.sessionsClosed == 0)
        try await stage.stop()
    }

    @Test("A new handshake at its address ends a session that nothing else names, but not one that has moved there")
    func provedAddress() async throws {
        let stage = try await MovesStage()
        let resident = try await stage.device(StagedRecords.meter(1), offer: .none)
        let mover = try await stage.device(StagedRecords.meter(2))
        mover.socket = resident.socket
        try await mover.roundTrip()
        let newcomer = try await stage.device(StagedRecords.meter(3), socket: resident.socket)
        try await newcomer.roundTrip()
        try await mover.roundTrip()
        let counters = await stage.counters
        #expect(counters.sessionsMoved == 1)
        #expect(counters.sessionsOpened == 3)
        #expect(counters.sessionsClosed == 1)
        try await stage.stop()
    }

    @Test("A new handshake at the address of another device's session leaves that one alive under its connection ID")
    func handshakeAtTakenAddress() async throws {
        let stage = try await MovesStage()
        let first = try await stage.device(StagedRecords.meter(1))
        try await first.roundTrip()
        let second = try await stage.device(StagedRecords.meter(2), socket: first.socket)
        try await second.roundTrip()
        try first.move()
        try await first.roundTrip()
        try await second.roundTrip()
        let counters = await stage.counters
        #expect(counters.sessionsOpened == 2)
        #expect(counters.sessionsClosed == 0)
        #expect(counters.sessionsMoved == 1)
        try await stage.stop()
    }

    @Test("A handshake under way at the new address goes on, and takes the address when it is proved")
    func handshakeUnderWay() async throws {
        let stage = try await MovesStage()
        let mover = try await stage.device(StagedRecords.meter(1))
        let socket = try TestSocket()
        let newcomer = try MovingDevice(
            StagedRecords.meter(2), offer: .serversOnly, at: mover.gateway, socket: socket
        )
        try await newcomer.connect(pausing: {
            mover.socket = socket
            try mover.request(.get, ["nowhere"])
        })
        try await newcomer.roundTrip()
        try mover.move()
        try await mover.roundTrip()
        let counters = await stage.counters
        #expect(counters.sessionsOpened == 2)
        #expect(counters.sessionsClosed == 0)
        #expect(counters.sessionsMoved == 2)
        try await stage.stop()
    }

    @Test("A device that comes anew from its own address ends its former session, and that one's connection ID with it")
    func sameDevice() async throws {
        let stage = try await MovesStage()
        let former = try await stage.device()
        try await former.roundTrip()
        let latter = try await stage.device(socket: former.socket)
        try await latter.roundTrip()
        let elsewhere = try TestSocket()
        former.socket = elsewhere
        try former.request(.get, ["nowhere"])
        try await latter.roundTrip()
        #expect(elsewhere.poll() == nil)
        let counters = await stage.counters
        #expect(counters.sessionsClosed == 1)
        #expect(counters.sessionsMoved == 0)
        #expect(counters.dropped["connection_id_unknown"] == 1)
        try await stage.stop()
    }

    // MARK: Listeners

    @Test("A session moves to another listener, and to another address family, and is answered from there")
    func listeners() async throws {
        let stage = try await MovesStage([("127.0.0.1", nil), ("127.0.0.2", nil), ("::1", nil)])
        let device = try await stage.device()
        try await device.roundTrip()
        device.gateway = stage.listeners[1].address
        try await device.roundTrip()
        try device.move("::1")
        device.gateway = stage.listeners[2].address
        try await device.roundTrip()
        #expect(await stage.counters.sessionsMoved == 2)
        try await stage.stop()
    }

    @Test("A listener without connection IDs neither gives them nor looks at them")
    func switchedOff() async throws {
        let stage = try await MovesStage([("127.0.0.1", nil), ("127.0.0.2", false)])
        let device = try await stage.device()
        try await device.roundTrip()
        let home = device.gateway
        device.gateway = stage.listeners[1].address
        try device.request(.get, ["nowhere"])
        device.gateway = home
        let plain = try MovingDevice(
            StagedRecords.meter(2), offer: .serversOnly, at: stage.listeners[1].address, socket: nil
        )
        try await plain.connect()
        try await plain.roundTrip()
        #expect(plain.sent.last?.first == 23)
        #expect(device.sent.last?.first == 25)
        try await device.roundTrip()
        let counters = await stage.counters
        #expect(counters.sessionsMoved == 0)
        #expect(counters.dropped["connection_id_unknown"] == 1)
        try await stage.stop()
    }
}
