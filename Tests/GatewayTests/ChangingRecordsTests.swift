import CoAP
import DTLS
import Secrets
import Synchronization
import Testing
import Timing

@testable import Gateway

/// Records that change under live sessions, over real sockets on loopback.
@Suite("Records that change", .timeLimit(.minutes(1)))
struct ChangingRecordsTests {
    @Test("A SIM that is suspended while its device shakes hands has no session in the end")
    func suspended() async throws {
        for identity in [StagedRecords.meter(1), StagedRecords.registered(1)] {
            let records = ShiftingRecords(.suspended)
            let stage = try await MovesStage(records: records)
            records.attach(stage.sessions)
            let device = try await stage.device(identity)
            try device.request(.get, ["nowhere"])
            // The end, and no answer.
            try await device.receive()
            #expect(device.dtls.phase != .established)
            #expect(await stage.sessions.sessionCount == 0)
            try await stage.stop()
        }
    }

    @Test("One that has changed otherwise is served under its new record; what its device said meanwhile is not lost")
    func changed() async throws {
        let records = ShiftingRecords(.active)
        let stage = try await MovesStage(records: records)
        records.attach(stage.sessions)
        let device = try await stage.device()
        try await device.roundTrip()
        #expect(await stage.sessions.record(of: "iccid-1")?.endpoint == "changed")
        try await stage.stop()
    }

    @Test("While the store does not tell, nobody is served who may have changed")
    func silent() async throws {
        let records = ShiftingRecords(nil)
        let stage = try await MovesStage(records: records)
        records.attach(stage.sessions)
        let device = try await stage.device()
        while device.dtls.phase == .established { try await device.receive() }
        #expect(await stage.sessions.sessionCount == 0)
        try await stage.stop()
    }

    @Test("What a session learns does not bring back the record that it began with")
    func learned() async throws {
        let stage = try await MovesStage()
        _ = try await stage.device()
        let key = Secret([UInt8](repeating: 0x77, count: 16))
        let known = await stage.sessions.learn(.instance(4), of: "iccid-1", beside: key)
        #expect(known?.key == key && known?.bootstrapPlace == .instance(4))
        try await stage.stop()
    }

    @Test("A change of one SIM makes every remembered address be looked up again: its prefix may be the longer one")
    func addresses() async throws {
        let stage = try await MovesStage()
        let address = IPAddress(ipv4: 0x0A00_0005)
        await stage.sessions.know(address, as: StagedRecords.record(1))
        let (feed, changes) = AsyncStream<RecordChange>.makeStream()
        changes.yield(.sim(iccid: "iccid-2"))
        changes.finish()
        await stage.sessions.followChanges(feed)
        #expect(await !stage.sessions.knows(address))
        try await stage.stop()
    }
}

/// Every SIM changes while its identity is looked up, and the answer is the one of before.
private final class ShiftingRecords: RecordStore, CredentialStore {
    private struct Silent: Error {}

    /// Afterwards; nil: nobody can tell.
    private let status: SIMRecord.Status?
    private let sessions = Mutex<DeviceSessions?>(nil)

    init(_ status: SIMRecord.Status?) { self.status = status }

    func attach(_ sessions: DeviceSessions) { self.sessions.withLock { $0 = sessions } }

    func resolve(identities: [PSKIdentity]) async throws -> [IdentityResolution] {
        let before = try await StagedRecords().resolve(identities: identities)
        await self.sessions.withLock(\.self)?.noteChange()
        return before
    }

    func record(iccid: String) async throws -> SIMRecord? {
        guard let status = self.status else { throw Silent() }
        guard var record = StagedRecords.record(1), record.iccid == iccid else { return nil }
        record.status = status
        record.endpoint = "changed"
        return record
    }

    func resolve(addresses: [IPAddress]) async throws -> [SIMRecord?] { addresses.map { _ in nil } }
    func remember(_ places: [String: SIMRecord.BootstrapPlace]) async throws {}
    func changes() -> AsyncStream<RecordChange> { AsyncStream { $0.finish() } }
    func store(_ credentials: [OneTimeCredential], grants: [PlainGrant]) async throws -> [OneTimeCredential] { [] }
    func prove(_ identity: PSKIdentity) async throws -> [OneTimeCredential] { [] }
    func discard(_ identities: [PSKIdentity], grants: [Int64]) async throws {}
    func grants(for keys: [PlainGrant.Key]) async throws -> [PlainGrant?] { keys.map { _ in nil } }
    func prove(grant id: Int64) async throws -> [PlainGrant] { [] }
}

extension DeviceSessions {
    /// As when a change arrives that is of nobody who has a session.
    fileprivate func noteChange() { self.recordGeneration += 1 }

    fileprivate func record(of iccid: String) -> SIMRecord? { self.byICCID[iccid]?.first?.record }

    fileprivate func know(_ address: IPAddress, as record: SIMRecord?) {
        self.addresses.insert(record, for: address)
    }

    fileprivate func knows(_ address: IPAddress) -> Bool { self.addresses.value(for: address) != nil }

    /// What is known of the SIM after its session has learned this, when its key has changed before.
    fileprivate func learn(_ place: SIMRecord.BootstrapPlace, of iccid: String, beside key: Secret) -> SIMRecord? {
        guard let session = self.byICCID[iccid]?.first else { return nil }
        var newer = session.record
        newer.key = key
        self.identities.insert(.bootstrap(newer), for: newer.identity)
        self.remember(place, of: session)
        guard case .bootstrap(let known)? = self.identities.value(for: newer.identity) else { return nil }
        return known
    }
}
