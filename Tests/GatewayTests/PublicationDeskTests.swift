import Gateway
import Logging
import Secrets
import Synchronization
import Testing

@Suite("The desk that tells servers of keys")
struct PublicationDeskTests {
    /// A server, a store and a journal in memory. Each publication waits until the test lets it go on.
    private final class World: CredentialPublisher, PublicationStore, AuditSink {
        struct State {
            var log: [String] = []
            var events: [AuditEvent] = []
            var failure: PublicationFailure?
            var duties: [PublicationDuty] = []
            var isStoreBroken = false
        }

        let state = Mutex(State())
        let started: AsyncStream<String>
        private let starting: AsyncStream<String>.Continuation
        private let gate: AsyncStream<Void>
        private let opening: AsyncStream<Void>.Continuation
        private let isGated: Bool

        init(isGated: Bool = false) {
            (self.started, self.starting) = AsyncStream.makeStream()
            (self.gate, self.opening) = AsyncStream.makeStream()
            self.isGated = isGated
        }

        var log: [String] { self.state.withLock { $0.log } }
        func letGo() { self.opening.yield() }
        private func note(_ text: String) { self.state.withLock { $0.log.append(text) } }

        // MARK: Server

        func publish(_ credential: OneTimeCredential) async throws(PublicationFailure) {
            let name = credential.identity.text ?? ""
            self.note("publish \(name)")
            self.starting.yield(name)
            if self.isGated { for await _ in self.gate { break } }
            if let failure = self.state.withLock({ $0.failure }) { throw failure }
            self.note("published \(name)")
        }

        func withdraw(
            endpoint: String, identity: PSKIdentity?, from server: String
        ) async throws(PublicationFailure) {
            if let failure = self.state.withLock({ $0.failure }) { throw failure }
            self.note("withdrawn \(endpoint)")
        }

        // MARK: Store

        func open(_ credentials: [OneTimeCredential], keys: GatewayConfiguration.KeysPerEndpoint) async throws {
            if self.state.withLock({ $0.isStoreBroken }) { throw Broken() }
            self.note("open \(credentials.map { $0.identity.text ?? "" }.joined())")
        }

        struct Broken: Error {}

        func commit(
            _ identity: PSKIdentity, keys: GatewayConfiguration.KeysPerEndpoint
        ) async throws -> [OneTimeCredential] { [] }
        func review(_ credentials: [OneTimeCredential]) async throws {}
        func reviewUnconcluded() async throws {}

        func dueLines(limit: Int) async throws -> [PublicationLine] {
            self.state.withLock { state in
                state.duties.prefix(limit).map { PublicationLine(id: $0.id, server: $0.server, endpoint: $0.endpoint) }
            }
        }

        func duty(_ line: Int64) async throws -> PublicationDuty? {
            self.state.withLock { state in state.duties.first { $0.id == line } }
        }

        func settle(_ duty: PublicationDuty) async throws {
            self.state.withLock { state in state.duties.removeAll { $0.id == duty.id } }
            self.note("settled \(duty.id)")
        }

        func postpone(_ duty: PublicationDuty) async throws {
            self.state.withLock { state in state.duties.removeAll { $0.id == duty.id } }
            self.note("postponed \(duty.id)")
        }

        func record(_ events: [AuditEvent]) { self.state.withLock { $0.events += events } }
    }

    private func desk(_ world: World) -> PublicationDesk {
        PublicationDesk(
            publisher: world, store: world, audit: world, wallClock: { 0 },
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
    }

    private func credential(_ name: String, endpoint: String = "meter-1") throws -> OneTimeCredential {
        OneTimeCredential(
            identity: try #require(PSKIdentity(name)), key: Secret([UInt8](0..<16)), iccid: BootstrapScript.iccid,
            endpoint: endpoint, server: "trackers", shortServerID: 2000, state: .pending, mintedAt: 0
        )
    }

    private func duty(_ id: Int64, wanted: OneTimeCredential?, endpoint: String = "meter-1") -> PublicationDuty {
        PublicationDuty(
            id: id, version: 1, server: "trackers", iccid: BootstrapScript.iccid, endpoint: endpoint, identity: nil,
            held: nil, wanted: wanted, attempts: 0
        )
    }

    @Test("It is written down before anything is sent; the outcome is in the journal, the key by its fingerprint")
    func order() async throws {
        let world = World()
        #expect(await self.desk(world).publish([try self.credential("new")], keys: .one) == nil)
        #expect(world.log == ["open new", "publish new", "published new"])
        let event = try #require(world.state.withLock { $0.events }.first)
        #expect(event.name == .credentialPublished && event.cause == nil)
        #expect(event.detail.contains(.init("outcome", .text("accepted"))))
        #expect(event.detail.contains(.init("server", .text("trackers"))))
        #expect(event.detail.contains(.init("key", .text("be45cb26"))))
    }

    @Test("A refusal is the cause of the end, and nothing more is published")
    func refused() async throws {
        let world = World()
        world.state.withLock { $0.failure = PublicationFailure(.refused, "status 400") }
        let two = [try self.credential("a", endpoint: "e-1"), try self.credential("b", endpoint: "e-2")]
        #expect(await self.desk(world).publish(two, keys: .one) == .publicationRefused)
        #expect(world.log == ["open a", "publish a"])
        let event = try #require(world.state.withLock { $0.events }.first)
        #expect(event.cause == .publicationRefused)
        #expect(event.detail.contains(.init("outcome", .text("refused"))))
        #expect(event.detail.contains(.init("reason", .text("status 400"))))
    }

    @Test("What cannot be written down is not sent")
    func storeBroken() async throws {
        let world = World()
        world.state.withLock { $0.isStoreBroken = true }
        #expect(await self.desk(world).publish([try self.credential("a")], keys: .one) == .storeUnavailable)
        #expect(world.log.isEmpty)
    }

    @Test("Two keys for a place that holds one are refused before anything is sent; a place that holds many takes both")
    func twoAccounts() async throws {
        let world = World()
        let two = [try self.credential("a"), try self.credential("b")]
        #expect(await self.desk(world).publish(two, keys: .one) == .publicationRefused)
        #expect(world.log.isEmpty)
        #expect(await self.desk(world).publish(two, keys: .many) == nil)
    }

    @Test("What concerns one endpoint happens in order; another endpoint does not wait for it")
    func exclusive() async throws {
        let world = World(isGated: true)
        let desk = self.desk(world)
        let (first, second) = (try self.credential("first"), try self.credential("second"))
        let other = try self.credential("other", endpoint: "meter-2")
        var started = world.started.makeAsyncIterator()
        async let one = desk.publish([first], keys: .one)
        #expect(await started.next() == "first")
        async let two = desk.publish([second], keys: .one)
        async let three = desk.publish([other], keys: .one)
        // The second one stands behind the first, so the next to begin is the other endpoint's.
        #expect(await started.next() == "other")
        world.letGo()
        world.letGo()
        world.letGo()
        #expect(await [one, two, three] == [nil, nil, nil])
        let order = world.log.filter { !$0.hasSuffix("other") }
        #expect(
            order == [
                "open first", "publish first", "published first", "open second", "publish second", "published second",
            ])
    }

    @Test("The list is worked off; what fails is postponed")
    func list() async throws {
        let world = World()
        let old = try self.credential("old")
        world.state.withLock { state in
            state.duties = [self.duty(1, wanted: old), self.duty(2, wanted: nil, endpoint: "meter-2")]
        }
        #expect(try await self.desk(world).workOff() == 2)
        #expect(Set(world.log) == ["publish old", "published old", "settled 1", "withdrawn meter-2", "settled 2"])
        let actions = world.state.withLock { $0.events }.flatMap(\.detail).filter { $0.key == "action" }.map(\.value)
        #expect(actions.contains(.text("restored")) && actions.contains(.text("withdrawn")))

        world.state.withLock { state in
            state.failure = PublicationFailure(.unreachable, "gone")
            state.duties = [self.duty(3, wanted: nil)]
        }
        #expect(try await self.desk(world).workOff() == 1)
        #expect(world.log.last == "postponed 3")
        #expect(try await self.desk(world).workOff() == 0)
    }
}
